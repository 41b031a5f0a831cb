"""Our sync as the benchmarks call it: work orders alone, of the family as declared, both sessions opened within.

Here: from the stand-in, and from Arrow batches that are there already (`Fed`), which leaves the source's part out.
Not here: the way before (sync_published.py).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pyarrow as pa

from flux_assets.postgis.connect import Target
from flux_assets.snowflake.account import Account
from flux_assets.snowflake.columns import arrow_type
from flux_assets.snowflake.overrides import Overrides
from flux_assets.snowflake.source import open_source
from flux_assets.spec import DynamicTable
from flux_assets.sync.result import SyncOptions, TableResult
from flux_assets.sync.sync import Family, sync_tables
from flux_assets.tables import dynamic_tables

NAME = "work_orders"
Batches = Callable[[], Iterator[pa.RecordBatch]]


def table() -> DynamicTable:
    """The declared table that is synced."""
    return next(table for table in dynamic_tables() if table.name == NAME)


def all_names() -> list[str]:
    """The whole family; the others have no rows here, and a first sync of all makes their tables."""
    return [each.name for each in dynamic_tables()]


def schema(declared: DynamicTable | None = None) -> pa.Schema:
    """What a source hands over: the fed columns in the declared types."""
    declared = declared or table()
    return pa.schema([pa.field(name, arrow_type(declared.table.columns[name])) for name in declared.source_filled])


def sync(account: Account, target: Target, names: Collection[str] = (NAME,)) -> TableResult:
    """Sync from Snowflake, or what stands in for it, in fresh sessions on both ends."""
    return _synced(partial(open_source, account, Overrides(), log=_ignore), target, names)


def sync_fed(
    batches: Batches, target: Target, token: str | None = None, names: Collection[str] = (NAME,)
) -> TableResult:
    """Sync from batches; with a `token`, from a source that has change tokens."""
    return _synced(partial(_fed, Fed(batches, token)), target, names)


def steps(found: TableResult) -> dict[str, float]:
    """What a timed run keeps of a sync: seconds by step, and the rows written."""
    return {**found.seconds, "written": float(found.inserted + found.updated + found.deleted)}


def _synced(source: Callable[[], Any], target: Target, names: Collection[str]) -> TableResult:
    result = sync_tables(names, Family(tables=dynamic_tables()), source, target, SyncOptions(), _ignore)
    (found,) = (each for each in result.tables if each.table == NAME)
    if found.error:
        raise found.error
    return found


def _ignore(_: str) -> None:
    pass


@dataclass
class _Rows:
    batches: Batches
    schema: pa.Schema
    rows: int = 0
    bytes: int = 0
    newest_change: datetime | None = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self.batches():
            self.rows += batch.num_rows
            self.bytes += batch.nbytes
            yield batch


@dataclass(frozen=True)
class _Mapping:
    table: DynamicTable
    missing: tuple[str, ...] = ()
    digest: str = ""


@dataclass(frozen=True)
class Fed:
    """What a sync asks of its source, answered from batches in the declared types."""

    batches: Batches
    token: str | None

    def instant(self, statements: int) -> datetime:  # noqa: ARG002 - as the real one is asked
        return datetime.now(UTC)

    def look_ahead(self, tables: Sequence[DynamicTable]) -> None: ...

    def tokens(self, tables: Sequence[DynamicTable]) -> dict[str, str] | None:
        return {each.name: self.token for each in tables} if self.token else None

    def mappings(self, tables: Sequence[DynamicTable]) -> dict[str, str]:
        return {each.name: self.mapping(each).digest for each in tables}

    def mapping(self, table: DynamicTable) -> _Mapping:
        return _Mapping(table)

    def rows(self, mapping: _Mapping, instant: datetime) -> _Rows:  # noqa: ARG002 - as the real one is asked
        batches = self.batches if mapping.table.name == NAME else lambda: iter(())
        return _Rows(batches, schema(mapping.table))

    def retrying(self, work: Callable[[], Any]) -> Any:
        return work()


@contextmanager
def _fed(fed: Fed) -> Iterator[Fed]:
    yield fed
