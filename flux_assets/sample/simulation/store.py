"""Reading and writing the simulation's tables through a connection of the Snowflake connector.

Names in the statements are our own; values travel as one bound JSON text, which Snowflake and the stand-in unfold
alike.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from flux_assets.errors import EmbeddedError, reported
from flux_assets.sample.simulation.grid import Device, Grid
from flux_assets.sample.simulation.state import Changes, Clock, State
from flux_assets.sample.simulation.tables import (
    CIRCUITS,
    CLOCK,
    DEVICES,
    OPEN_STATUSES,
    ORDERS,
    OUTAGES,
    Row,
    Shape,
    SourceTable,
    order_of,
    order_row,
    outage_of,
    outage_row,
)
from flux_assets.snowflake.mapping import quoted

if TYPE_CHECKING:
    from snowflake.connector import SnowflakeConnection

_ROWS_PER_STATEMENT = 5000
_LOCAL = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class SourceTables:
    """The tables of the connection's schema, and those of the simulation itself in the schema beside it."""

    connection: SnowflakeConnection

    def __post_init__(self) -> None:
        if self.connection.host not in _LOCAL:
            raise EmbeddedError(
                f"The simulation does not write to {self.connection.host}, which is not on this machine.",
                "Connect to the stand-in.",
            )

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit the block, or roll it back where it raises."""
        self._run("BEGIN")
        try:
            yield
        except BaseException:
            self._run("ROLLBACK")
            raise
        self._run("COMMIT")

    def make(self, shape: Shape) -> None:
        """Make all tables anew, empty."""
        schema = f"{self._database}.{quoted(self._schema)}"
        self._run(f"CREATE SCHEMA IF NOT EXISTS {self._database}.{self._own}")
        # A session goes on in the schema that it has just made.
        self._run(f"USE SCHEMA {schema}")
        for table in (CIRCUITS, OUTAGES[shape], ORDERS[shape], DEVICES, CLOCK):
            columns = ", ".join(f"{name} {kind}" for name, kind in table.columns.items())
            self._run(f"CREATE OR REPLACE TABLE {self._name(table)} ({columns})")

    def insert(self, table: SourceTable, rows: Sequence[Row]) -> None:
        """Add rows, by the thousands."""
        columns = ", ".join(table.columns)
        for start in range(0, len(rows), _ROWS_PER_STATEMENT):
            part = rows[start : start + _ROWS_PER_STATEMENT]
            # Names and types are constants of tables.py.
            self._run(f"INSERT INTO {self._name(table)} ({columns}) {_unfolded(table)}", _packed(part))

    def update(self, table: SourceTable, rows: Sequence[Row]) -> None:
        """Give the rows of these keys these values."""
        if rows:
            name, key = self._name(table), table.key
            values = ", ".join(f"{column} = fresh.{column}" for column in table.columns if column != key)
            statement = f"UPDATE {name} SET {values} FROM ({_unfolded(table)}) fresh WHERE {name}.{key} = fresh.{key}"
            self._run(statement, _packed(rows))

    def set_clock(self, clock: Clock, shape: Shape) -> None:
        """Remember the simulation's own state."""
        self._run(f"DELETE FROM {self._name(CLOCK)}")
        self.insert(CLOCK, [{"SHAPE": shape} | {name.upper(): value for name, value in asdict(clock).items()}])

    def clock(self) -> Clock:
        """Return the time of the last tick and the simulation's counters. Raises EmbeddedError as `read` does."""
        return self._clock()[0]

    def read(self) -> tuple[State, Shape]:
        """Return the state before a tick. Raises EmbeddedError when the schema was never filled for a simulation."""
        clock, shape = self._clock()
        outages, orders = self._open(OUTAGES[shape]), self._open(ORDERS[shape])
        devices = (Device(**{k.lower(): v for k, v in row.items()}) for row in self._rows(DEVICES))
        dead = self._rows(CIRCUITS, "STATUS = 'DE_ENERGIZED'")
        state = State(
            grid=Grid(devices=tuple(devices)),
            clock=clock,
            outages=tuple(outage_of(row, shape) for row in outages),
            orders=tuple(order_of(row, shape) for row in orders),
            dead=frozenset(row["CIRCUIT_ID"] for row in dead),
        )
        return state, shape

    def write(self, changes: Changes, shape: Shape) -> None:
        """Put a tick's changes down, in one transaction."""
        now = changes.clock.now
        with self.transaction():
            self.insert(OUTAGES[shape], [outage_row(row, shape, now) for row in changes.begun])
            self.update(OUTAGES[shape], [outage_row(row, shape, now) for row in changes.changed])
            self.insert(ORDERS[shape], [order_row(row, shape, now) for row in changes.ordered])
            self.update(ORDERS[shape], [order_row(row, shape, now) for row in changes.worked])
            self._set_status("DE_ENERGIZED", changes.died)
            self._set_status("ENERGIZED", changes.revived)
            self.set_clock(changes.clock, shape)

    def _clock(self) -> tuple[Clock, Shape]:
        from snowflake.connector.errors import ProgrammingError

        try:
            rows = self._rows(CLOCK)
        except ProgrammingError as error:
            raise EmbeddedError(
                f"Schema {self._schema} of database {self.connection.database} is not filled for a simulation:"
                f" {reported(error)}.",
                "Run `flux-assets simulate --reset`.",
            ) from None
        if len(rows) != 1:
            raise EmbeddedError("The simulation has lost its clock.", "Run `flux-assets simulate --reset`.")
        row = rows[0]
        shape: Shape = row.pop("SHAPE")
        return Clock(**{name.lower(): value for name, value in row.items()}), shape

    def _open(self, table: SourceTable) -> list[Row]:
        listed = ", ".join(f"'{status}'" for status in OPEN_STATUSES[table.name])
        return self._rows(table, f"STATUS IN ({listed})")

    def _rows(self, table: SourceTable, where: str = "TRUE") -> list[Row]:
        statement = f"SELECT {', '.join(table.columns)} FROM {self._name(table)} WHERE {where} ORDER BY {table.key}"
        with self.connection.cursor() as cursor:
            cursor.execute(statement)
            return [dict(zip(table.columns, row, strict=True)) for row in cursor.fetchall()]

    def _set_status(self, status: str, circuits: Iterable[str]) -> None:
        for circuit in circuits:
            self._run("UPDATE CIRCUIT_METADATA SET STATUS = %s WHERE CIRCUIT_ID = %s", status, circuit)

    def _run(self, statement: str, *values: object) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(statement, values or None)

    def _name(self, table: SourceTable) -> str:
        return f"{self._own}.{table.name}" if table in (DEVICES, CLOCK) else table.name

    @property
    def _database(self) -> str:
        return quoted(str(self.connection.database))

    @property
    def _schema(self) -> str:
        return str(self.connection.schema)

    @property
    def _own(self) -> str:
        return quoted(f"{self._schema}_SIMULATION")


def _unfolded(table: SourceTable) -> str:
    """Return a query of the bound JSON text's rows."""
    columns = ", ".join(f"value:{name}::{kind} AS {name}" for name, kind in table.columns.items())
    return f"SELECT {columns} FROM TABLE(FLATTEN(input => PARSE_JSON(%s)))"


def _packed(rows: Sequence[Row]) -> str:
    return json.dumps(rows, default=_as_text)


def _as_text(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    raise TypeError(f"{value!r} has no place in a source table")
