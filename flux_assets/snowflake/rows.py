"""Rows of a source as batches in the declared types, and the refusal of values that do not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from flux_assets.errors import SourceError, abbreviated
from flux_assets.snowflake.columns import arrow_type
from flux_assets.snowflake.mapping import Mapping
from flux_assets.spec import type_ddl

# A result of the stand-in is one piece; in pieces of this size a million rows take as little memory as a thousand.
_BATCH_ROWS = 65_536
_SHOWN = 5
_Keys = Callable[[Sequence[int]], list[str]]


class Rows:
    """Batches in the declared target types and in the order of `table.source_filled`; to be iterated once.

    `only` are the columns to read, when not all. Rows are `counted` where the last column has the number of rows that
    the query found: reading them raises SourceError at the end when fewer came. `rows`, `bytes` (as they arrived) and
    `newest_change` (UTC, of the source's change column) grow as it is iterated.
    """

    def __init__(
        self,
        mapping: Mapping,
        opened: Callable[[], AbstractContextManager[Iterable[pa.Table | pa.RecordBatch]]],
        only: Sequence[str] | None = None,
        *,
        counted: bool = False,
    ) -> None:
        self._columns = [mapping.table.table.columns[name] for name in only or mapping.table.source_filled]
        self.schema = pa.schema([pa.field(column.name, arrow_type(column)) for column in self._columns])
        self.rows = 0
        self.bytes = 0
        self.newest_change: datetime | None = None
        self._mapping = mapping
        self._places = {column.target: place for place, column in enumerate(mapping.columns)}
        self._opened = opened
        self._counted = counted

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        found = 0
        with self._opened() as pieces:
            for piece in pieces:
                table = pa.Table.from_batches([piece]) if isinstance(piece, pa.RecordBatch) else piece
                for batch in table.to_batches(max_chunksize=_BATCH_ROWS):
                    if self._counted and batch.num_rows:
                        found = int(batch.column(batch.num_columns - 1)[0].as_py())
                    yield self._taken(batch)
        if self._counted and self.rows != found:
            raise SourceError(
                f"{self._mapping.table.name}: the query found {found:,} rows in {self._mapping.object}, and Snowflake"
                f" gave {self.rows:,} of them: a limit cuts results.",
                "Look for it with SHOW PARAMETERS LIKE 'ROWS_PER_RESULTSET' FOR USER …; then ALTER USER … UNSET"
                " ROWS_PER_RESULTSET; or remove it from the account, or from a program between here and Snowflake. The"
                " table is as it was.",
            )

    def _taken(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        self.rows += batch.num_rows
        self.bytes += batch.nbytes
        if self._mapping.change_column is not None:
            changed = pc.max(_in_microseconds(batch.column(len(self._mapping.columns)))).as_py()
            if changed is not None:
                newest = changed.replace(tzinfo=UTC)
                self.newest_change = max(newest, self.newest_change or newest)
        return pa.record_batch([self._column(batch, column.name) for column in self._columns], schema=self.schema)

    def _column(self, batch: pa.RecordBatch, name: str) -> pa.Array[Any]:
        table = self._mapping.table
        if name not in self._places:
            nulls: pa.Array[Any] = pa.nulls(batch.num_rows, self.schema.field(name).type)
            return nulls
        arrived = batch.column(self._places[name])
        return _cast(table.table.columns[name], arrived, table.name, partial(self._keys, batch))

    def _keys(self, batch: pa.RecordBatch, rows: Sequence[int]) -> list[str]:
        columns = [batch.column(self._places[name]) for name in self._mapping.table.key]
        return ["/".join(abbreviated(str(column[row].as_py()), bare=True) for column in columns) for row in rows]


def _cast(column: sa.Column[object], values: pa.Array[Any], table: str, keys: _Keys) -> pa.Array[Any]:
    """Return the values in the declared type. Raises SourceError naming table, column, value, up to five keys.

    `keys` returns the keys of rows by their numbers, as text.
    """
    wanted = arrow_type(column)
    if isinstance(values, pa.DictionaryArray):
        values = values.dictionary_decode()
    try:
        arrived = _converted(values, wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise _refused(column, values, _not_convertible(values, wanted), f"{table}.{column.name}", keys) from None
    if isinstance(arrived, pa.StringArray) and (offenders := _unstorable(column, arrived)):
        raise _refused(column, arrived, offenders, f"{table}.{column.name}", keys)
    return arrived


def _converted(values: pa.Array[Any], wanted: pa.DataType) -> pa.Array[Any]:
    if pa.types.is_timestamp(wanted):
        return _in_microseconds(values)
    if pa.types.is_floating(wanted) and pa.types.is_integer(values.type):
        # Counts above 2^53 lose digits, as they do in double precision anywhere.
        return values.cast(wanted, safe=False)
    if pa.types.is_decimal(wanted) and not pa.types.is_decimal(values.type):
        return values.cast(pa.string()).cast(wanted)
    return values.cast(wanted)


def _in_microseconds(values: pa.Array[Any]) -> pa.Array[Any]:
    """Return times in microseconds, rounded down; times with a zone stay in UTC without it."""
    if pa.types.is_timestamp(values.type) and values.type.unit == "ns":
        # Arrow divides towards zero, which would move times before 1970 forwards.
        nanoseconds = values.cast(pa.int64())
        microseconds = pc.divide(nanoseconds, 1000)
        early = pc.less(nanoseconds, pc.multiply(microseconds, 1000))
        values = pc.if_else(early, pc.subtract(microseconds, 1), microseconds)
    return values.cast(pa.timestamp("us"))


def _not_convertible(values: pa.Array[Any], wanted: pa.DataType) -> list[int]:
    """Return the numbers of the first rows whose value does not convert; called only when some value does not."""
    offenders: list[int] = []
    for row, value in enumerate(values):
        try:
            _converted(pa.array([value.as_py()], values.type), wanted)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            offenders.append(row)
            if len(offenders) == _SHOWN:
                break
    return offenders


def _unstorable(column: sa.Column[object], values: pa.StringArray) -> list[int]:
    """Return the numbers of the first rows whose text is too long, or holds a NUL character."""
    wrong = pc.match_substring(values, "\x00")
    if (longest := getattr(column.type, "length", None)) is not None:
        wrong = pc.or_(wrong, pc.greater(pc.utf8_length(values), longest))
    return [row for row in pc.indices_nonzero(wrong)[:_SHOWN].to_pylist() if row is not None]


def _refused(
    column: sa.Column[object], values: pa.Array[Any], rows: Sequence[int], title: str, keys: _Keys
) -> SourceError:
    value = values[rows[0]].as_py() if rows else None
    shown, why = str(value), f"is not a value of {type_ddl(column)}"
    if isinstance(value, str):
        shown = abbreviated(value)
        if isinstance(column.type, sa.String) and "\x00" in value:
            why = "holds a NUL character, which PostgreSQL cannot store"
        elif isinstance(column.type, sa.String):
            why = f"has {len(value)} characters, {type_ddl(column)} takes {column.type.length}"
    others = ", among others" if len(rows) == _SHOWN else ""
    return SourceError(
        f"{title}: {shown} {why} (key {', '.join(keys(rows))}{others}).",
        "Correct the rows in the source, or set in FLUX_CONFIG how to read the column (columns."
        f"{column.name} = {{ expression = … }}).",
    )
