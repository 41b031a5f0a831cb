"""Filling the source tables, once or again: circuits, the past, and the state of the simulation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from flux_assets.errors import EmbeddedError, reported
from flux_assets.sample.city.frame import random_stream
from flux_assets.sample.simulation.grid import Grid, grid_of
from flux_assets.sample.simulation.history import past_orders, past_outages
from flux_assets.sample.simulation.state import Clock
from flux_assets.sample.simulation.store import SourceTables
from flux_assets.sample.simulation.tables import (
    CIRCUITS,
    DEVICES,
    ORDERS,
    OUTAGES,
    Shape,
    circuit_row,
    order_row,
    outage_row,
)
from flux_assets.sample.stand_in.layout import Layout
from flux_assets.snowflake.account import Account
from flux_assets.snowflake.mapping import quoted
from flux_assets.spec import DynamicTable
from flux_assets.spec.facts import SourceColumn

if TYPE_CHECKING:
    from snowflake.connector import SnowflakeConnection

    from flux_assets.release.release import Release

SEED = 7
_STREAM = 30
# What a source has for a column of this type; text for any other.
_KINDS = (
    (sa.Integer, "NUMBER(38,0)"),
    (sa.Float, "FLOAT"),
    (sa.Numeric, "NUMBER(38,12)"),
    (sa.DateTime, "TIMESTAMP_NTZ"),
    (sa.Date, "DATE"),
)


def ensure_seeded(layout: Layout, release: Callable[[], Release], account: Account) -> None:
    """Fill the account's schema from the release if that was never done; concurrent callers fill it once.

    A file beside the data marks a filled schema, so that the server is not asked.
    """
    if not _done(layout, account).exists():
        with layout.writing():
            if not _done(layout, account).exists():
                _fill(layout, release, account, SEED)


def ensure_empty(layout: Layout, account: Account, tables: Iterable[DynamicTable]) -> None:
    """Make sources that the simulation does not know, once, without rows: what they feed is synced, and is empty."""
    made = {table: layout.data / f"{_place(account)}.{table.source}.made" for table in tables}
    if missing := {table: file for table, file in made.items() if not file.exists()}:
        with layout.writing(), _connected(account) as connection, connection.cursor() as cursor:
            for table, file in missing.items():
                columns = ", ".join(_column(table, each) for each in table.source_columns)
                name = f"{quoted(account.database)}.{quoted(account.schema)}.{quoted(table.source)}"
                cursor.execute(f"CREATE TABLE IF NOT EXISTS {name} ({columns})")
                file.touch()


def _column(table: DynamicTable, column: SourceColumn) -> str:
    kind = table.table.columns[column.target].type
    return f"{quoted(column.names[0])} {next((name for each, name in _KINDS if isinstance(kind, each)), 'VARCHAR')}"


def refill(layout: Layout, release: Callable[[], Release], account: Account, seed_number: int = SEED) -> None:
    """Fill the account's schema from the release again, whatever it holds."""
    with layout.writing():
        _done(layout, account).unlink(missing_ok=True)
        _fill(layout, release, account, seed_number)


def seed(
    connection: SnowflakeConnection,
    grid: Grid,
    *,
    shape: Shape = "a",
    now: datetime | None = None,
    seed_number: int = SEED,
) -> None:
    """Create the tables in the connection's schema again and fill them, in the given shape.

    The same grid, seed and `now` (UTC, without a zone; by default the present) give the same rows.
    """
    now = (now or datetime.now(UTC).replace(tzinfo=None)).replace(microsecond=0)
    random = random_stream(seed_number, _STREAM)
    outages, orders = past_outages(grid, random, now), past_orders(grid, random, now)
    clock = Clock(now=now, seed=seed_number, outages=len(outages), orders=len(orders))
    store = SourceTables(connection)
    store.make(shape)
    with store.transaction():
        store.insert(CIRCUITS, [circuit_row(circuit, number) for number, circuit in enumerate(grid.circuits)])
        store.insert(OUTAGES[shape], [outage_row(outage, shape, now) for outage in outages])
        store.insert(ORDERS[shape], [order_row(order, shape, now) for order in orders])
        store.insert(DEVICES, [{name.upper(): value for name, value in asdict(d).items()} for d in grid.devices])
        store.set_clock(clock, shape)


def _fill(layout: Layout, release: Callable[[], Release], account: Account, seed_number: int) -> None:
    import snowflake.connector

    grid, database = grid_of(release()), quoted(account.database)
    schema = f"{database}.{quoted(account.schema)}"
    with _connected(account) as connection, connection.cursor() as cursor:
        try:
            cursor.execute(f"CREATE DATABASE IF NOT EXISTS {database}")
            cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
            cursor.execute(f"USE SCHEMA {schema}")
        except snowflake.connector.Error as error:
            raise EmbeddedError(
                f"The Snowflake stand-in cannot create {schema}: {reported(error)}.",
                "Set SNOWFLAKE_DATABASE and SNOWFLAKE_SCHEMA to names that are not SQL keywords, such as FLUX_DB.",
            ) from error
        seed(connection, grid, seed_number=seed_number)
    _done(layout, account).touch()


def _done(layout: Layout, account: Account) -> Path:
    return layout.data / f"{_place(account)}.filled"


def _place(account: Account) -> str:
    return f"{account.database}.{account.schema}"


def _connected(account: Account) -> SnowflakeConnection:
    import snowflake.connector

    return snowflake.connector.connect(**account.arguments())
