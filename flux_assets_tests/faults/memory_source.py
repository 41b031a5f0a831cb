"""A source in memory, for thousands of syncs: what it holds is a list, and so is what the oracle expects of it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, TypeVar

import pyarrow as pa

from flux_assets.errors import WarehouseError
from flux_assets.snowflake.columns import arrow_type
from flux_assets.spec import DynamicTable
from flux_assets_tests.faults.oracle import Fault, State, sync_state

T = TypeVar("T")
_FEEDERS = [f"L{number}" for number in range(5)]


@dataclass
class _Rows:
    """The rows of one table, as the warehouse package gives them."""

    schema: pa.Schema
    content: list[tuple[Any, ...]]
    rows: int = 0
    bytes: int = 0
    newest_change: datetime | None = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        columns = list(zip(*self.content, strict=True)) or [()] * len(self.schema)
        arrays = [pa.array(list(column), kind.type) for column, kind in zip(columns, self.schema, strict=True)]
        batch = pa.record_batch(arrays, schema=self.schema)
        self.rows, self.bytes = batch.num_rows, batch.nbytes
        yield batch


@dataclass
class MemorySource:
    """Faults on feeders, all open and recent; `fails` makes the next reading fail."""

    dice: random.Random
    faults: dict[str, Fault] = field(default_factory=dict)
    feeders: dict[str, tuple[str, int]] = field(default_factory=lambda: dict.fromkeys(_FEEDERS, ("at first", 1)))
    fails: bool = False

    def change(self, tick: int) -> None:
        """A few things that happen to a utility's tables, or nothing."""
        begun = f"{datetime.now(UTC) - timedelta(minutes=5):%Y-%m-%d %H:%M:%S}"
        for number in range(self.dice.choice([0, 0, 1, 3, 8])):
            key = f"T{tick % 10_000}N{number}"
            feeder = self.dice.choice(_FEEDERS)
            self.faults[key] = Fault(key, feeder, "OPEN", begun, self.dice.randrange(100), -95.5, 29.5, is_taken=True)
        for key in self.dice.sample(sorted(self.faults), min(len(self.faults), self.dice.choice([0, 0, 1, 2]))):
            self.faults.pop(key)
        while len(self.faults) > 60:
            self.faults.pop(next(iter(self.faults)))
        if self.dice.random() < 0.2:
            self.feeders[self.dice.choice(_FEEDERS)] = (f"tick {tick}", tick % 1000)

    def state(self) -> State:
        return sync_state(list(self.faults.values()), self.feeders)

    @contextmanager
    def open(self) -> Iterator[MemorySource]:
        yield self

    # What the sync asks of a source.

    def look_ahead(self, tables: Sequence[DynamicTable]) -> None:
        """Nothing has to be prepared."""

    def retrying(self, work: Callable[[], T]) -> T:
        return work()

    def tokens(self, tables: Sequence[DynamicTable]) -> dict[str, str] | None:
        return None

    def mappings(self, tables: Sequence[DynamicTable]) -> Mapping[str, str]:
        return {table.name: "in memory" for table in tables}

    def instant(self, statements: int = 2) -> datetime:
        return datetime.now(UTC)

    def mapping(self, table: DynamicTable) -> Any:
        return SimpleNamespace(table=table, missing=(), digest="in memory")

    def rows(self, mapping: Any, instant: datetime) -> _Rows:
        if self.fails:
            self.fails = False
            raise WarehouseError("The source fails.", "Try again.")
        table: DynamicTable = mapping.table
        schema = pa.schema([pa.field(name, arrow_type(table.table.columns[name])) for name in table.source_filled])
        return _Rows(schema, self._content(table.name, table.source_filled))

    def existing(
        self, mapping: Any, keys: Sequence[tuple[object, ...]], instant: datetime, *, only_taken: bool = False
    ) -> set[tuple[object, ...]]:
        held = self.faults if mapping.table.name == "faults" else self.feeders
        return {key for key in keys if key[0] in held}

    def _content(self, name: str, wanted: Sequence[str]) -> list[tuple[Any, ...]]:
        if name == "feeders":
            rows = [{"feeder": each, "title": title, "homes": homes} for each, (title, homes) in self.feeders.items()]
        else:
            rows = [
                {"fault_id": f.fault_id, "feeder": f.feeder, "state": f.state, "homes": f.homes, "lon": f.lon,
                 "lat": f.lat, "begun": datetime.strptime(f.begun, "%Y-%m-%d %H:%M:%S").replace(tzinfo=None)}
                for f in self.faults.values()
            ]  # fmt: skip
        return [tuple(row[column] for column in wanted) for row in rows]
