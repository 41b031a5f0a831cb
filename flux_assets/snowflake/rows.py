"""The rows of one source, streamed once as Arrow batches in the declared types."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from flux_assets.errors import SourceError, plainly
from flux_assets.snowflake.columns import arrow_type, cast, in_microseconds
from flux_assets.snowflake.mapping import Mapping

# A result of the stand-in is one piece; in pieces of this size a million rows take as little memory as a thousand.
BATCH_ROWS = 65_536
_Opened = Callable[[], AbstractContextManager[Iterable[pa.Table | pa.RecordBatch]]]


class Rows:
    """Batches in the declared target types and in the order of `table.source_filled`; to be iterated once.

    `only` are the columns to read, when not all. Rows are `counted` where the last column has the number of rows that
    the query found: reading them raises SourceError at the end when fewer came. `rows`, `bytes` (as they arrived) and
    `newest_change` (UTC, of the source's change column) grow as it is iterated.
    """

    def __init__(
        self, mapping: Mapping, opened: _Opened, only: Sequence[str] | None = None, *, counted: bool = False
    ) -> None:
        columns = [mapping.table.table.columns[name] for name in only or mapping.table.source_filled]
        self.schema = pa.schema([pa.field(column.name, arrow_type(column)) for column in columns])
        self.rows = 0
        self.bytes = 0
        self.newest_change: datetime | None = None
        self._mapping = mapping
        self._columns = columns
        self._places = {column.target: place for place, column in enumerate(mapping.columns)}
        self._opened = opened
        self._counted = counted
        self._found = 0

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        with self._opened() as pieces:
            for piece in pieces:
                for batch in _in_batches(piece):
                    yield self._taken(batch)
        if self._counted:
            _require_found(self._mapping.table.name, self._mapping.object, self.rows, self._found)

    def _taken(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        self.rows += batch.num_rows
        self.bytes += batch.nbytes
        if self._mapping.change_column is not None:
            self._note_change(batch.column(len(self._mapping.columns)))
        if self._counted and batch.num_rows:
            self._found = int(batch.column(batch.num_columns - 1)[0].as_py())
        return pa.record_batch([self._column(batch, place) for place in range(len(self._columns))], schema=self.schema)

    def _column(self, batch: pa.RecordBatch, place: int) -> pa.Array[Any]:
        column = self._columns[place]
        if column.name not in self._places:
            nulls: pa.Array[Any] = pa.nulls(batch.num_rows, self.schema.field(place).type)
            return nulls
        arrived = batch.column(self._places[column.name])
        return cast(column, arrived, self._mapping.table.name, lambda rows: self._keys(batch, rows))

    def _keys(self, batch: pa.RecordBatch, rows: Sequence[int]) -> list[str]:
        columns = [batch.column(self._places[name]) for name in self._mapping.table.key]
        return ["/".join(plainly(str(column[row].as_py())) for column in columns) for row in rows]

    def _note_change(self, changed: pa.Array[Any]) -> None:
        found: datetime | None = pc.max(in_microseconds(changed)).as_py()
        if found is not None:
            newest = found.replace(tzinfo=UTC)
            self.newest_change = max(newest, self.newest_change or newest)


def _in_batches(piece: pa.Table | pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    if isinstance(piece, pa.Table):
        yield from piece.to_batches(max_chunksize=BATCH_ROWS)
        return
    for start in range(0, piece.num_rows, BATCH_ROWS):
        yield piece.slice(start, BATCH_ROWS)


def _require_found(table: str, object_: str, received: int, found: int) -> None:
    """Raise SourceError unless as many rows came as the query itself counted: a limit cut off the others."""
    if received != found:
        raise SourceError(
            f"{table}: the query found {found:,} rows in {object_}, and Snowflake gave {received:,} of them: a limit"
            " cuts results.",
            "Look for it with SHOW PARAMETERS LIKE 'ROWS_PER_RESULTSET' FOR USER …; then ALTER USER … UNSET"
            " ROWS_PER_RESULTSET; or remove it from the account, or from a program between here and Snowflake. The"
            " table is as it was.",
        )
