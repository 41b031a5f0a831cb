"""One table in a sync: what stood in the target before, what comes of its steps, and what is reported in the end."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Literal

import psycopg

from flux_assets.errors import FluxError
from flux_assets.ledger.runs import Entry, Lease, StepTimer
from flux_assets.postgis.relations import LiveTable
from flux_assets.postgis.session import Target
from flux_assets.spec import DynamicTable
from flux_assets.sync.diff import Difference
from flux_assets.sync.gate import LastSync, TargetState
from flux_assets.sync.reader import Snapshot, SourceSide, TableRead
from flux_assets.sync.result import SyncOptions, TableResult

_ASKED_FOR = "asked for"
_SAME_ROWS = "the source's rows are the same"
_NOTHING_CHANGED = "nothing changed"
# The same of a table that was written all the same, because it has columns computed from others.
_BUT_COMPUTED = {
    _SAME_ROWS: "the source's rows are the same; what is computed from other tables changed",
    _NOTHING_CHANGED: "nothing changed but what is computed from other tables",
}
# Of `read_every`, how much sooner a tick may come.
_EARLY = 0.1
# Above this share of rows inserted and deleted, the planner's statistics no longer fit.
_STALE_SHARE = 0.1


@dataclass(frozen=True, kw_only=True)
class Family:
    """The dynamic tables of one database, overrides applied, and a digest of the `configuration` they came with."""

    tables: Sequence[DynamicTable]
    configuration: str = ""


@dataclass(frozen=True, kw_only=True)
class TableState:
    """What stood in the target before a sync: a table's shape and mark, and what its last sync left.

    The `mark` changes with every row that anybody writes; `expired`: rows have left their time window. A table that is
    not `is_fit` is missing, not as declared, or cannot be read. The sync began `at`, by the target's clock.
    """

    live: LiveTable
    family: Family
    target: TargetState
    mark: str | None = None
    expired: bool = False
    at: datetime | None = None
    is_fit: bool = True

    @property
    def exists(self) -> bool:
        return self.live.name in self.target.kinds

    @property
    def last(self) -> LastSync | None:
        return self.target.last.get(self.live.name)

    @property
    def shape(self) -> str:
        """What tells whether the table, or its declaration, changed since it was last found fit."""
        aliases = hashlib.sha256(repr(self.live.table.aliases).encode()).hexdigest()
        return f"{self.target.shapes.get(self.live.name, '')} {self.live.table.digest} {aliases}"

    @property
    def has_last_shape(self) -> bool:
        return self.last is not None and self.last.shape == self.shape

    @cached_property
    def declared(self) -> str:
        """SHA-256 over all of the declaration and configuration that decides which rows with which values it holds."""
        table = self.live.table
        parts = (table.source, table.source_columns, table.row_filter, table.derived, table.positions)
        return hashlib.sha256(
            "\n".join([table.digest, self.family.configuration, *map(repr, parts)]).encode()
        ).hexdigest()

    @cached_property
    def origins(self) -> dict[str, str | None]:
        """Versions and shapes of the tables outside the family that columns are derived from, None if missing.

        A version stays in the register when a view, or another table, takes the place of its layer.
        """
        shapes, versions = self.target.shapes, self.target.versions
        inside = {table.name for table in self.family.tables}
        static = [name for name in self.live.table.origins if name not in inside]
        return {
            name: f"{versions.get(name, 'of others')} {shapes[name]}" if name in shapes else None for name in static
        }

    @property
    def rows(self) -> int:
        """How many rows the table held."""
        return int(self.mark.partition(":")[0]) if self.mark else 0

    @property
    def is_written_by_others(self) -> bool:
        return self.last is not None and self.mark is not None and self.last.mark != self.mark

    @property
    def is_replaced(self) -> bool:
        """Whether another table stands where the last sync left its own."""
        known = self.last.relation if self.last else None
        return known is not None and known != self.target.relations.get(self.live.name)

    @property
    def moved(self) -> list[str]:
        """Names of the tables outside the family that have changed since the last sync derived columns from them."""
        return [name for name, version in self.origins.items() if self.last and self.last.origins.get(name) != version]

    def reason(self, token: str | None, mapping: str | None, *, force: bool) -> str | None:
        """Return why the table has to be read; None when all that the last sync left still holds."""
        last = self.last
        if last is None or self.mark is None:
            return "first sync"
        reasons = {
            _ASKED_FOR: force,
            "its declaration or configuration changed": last.declaration != self.declared,
            "rows here were written by others": self.is_written_by_others,
            "the table's columns or indexes changed": not self.has_last_shape,
            "rows have left their time window": self.expired,
            f"{', '.join(self.moved)} changed": bool(self.moved),
            **self._reasons_of_source(last, token),
            "the source's columns changed": mapping is None or mapping != last.mapping,
        }
        return next((reason for reason, holds in reasons.items() if holds), None)

    def _reasons_of_source(self, last: LastSync, token: str | None) -> dict[str, bool]:
        """Return why the source's token, noted only where it is believed, or the age of the reading opens the gate."""
        rule = self.live.table
        age = self.at - last.read_at if self.at and last.read_at else None
        if token is not None and last.token is not None and rule.change_token is not False:
            old = f"its change token has been believed for {rule.token_lasts}"
            return {"the source changed": token != last.token, old: age is None or age >= rule.token_lasts}
        # Ticks are not to the second: one that comes a little early is not put off to the next.
        waits = rule.read_every is not None and age is not None and age < rule.read_every - _EARLY * rule.read_every
        return {"the source has no change token": not waits}

    def holds(self, snapshot: Snapshot) -> bool:
        """Tell whether what was read is what the table was last brought into step with, and what it still holds."""
        last = self.last
        return (
            last is not None
            and self.mark is not None
            and (last.fingerprint, last.declaration, last.origins)
            == (snapshot.fingerprint, self.declared, self.origins)
            and not self.is_written_by_others
            # A column that was dropped and made again is empty, and no row's mark tells.
            and self.has_last_shape
        )


@dataclass(frozen=True, kw_only=True)
class SyncContext:
    """What the steps of one sync share: its source, its session and lease in the target, what was asked for."""

    source: SourceSide
    target: Target
    session: psycopg.Connection
    lease: Lease
    options: SyncOptions
    log: Callable[[str], None]
    clock: StepTimer = field(default_factory=StepTimer)


@dataclass(kw_only=True, eq=False)
class TableSync:
    """A table in one sync: what stood in the target, and what came of the steps that it has gone through so far.

    Without an `entry` nobody asked for it: only columns derived from the others may change. `gate` is why it was read,
    or was not; `missing` are columns that its source lacks. `locked_mark` is its mark once nobody else could write it,
    `refreshed` how many rows follow other tables, `vanished` how many the source lost, `rows` how many it holds.
    `others` is what others did to it since the last sync, in words.
    """

    state: TableState
    entry: Entry | None
    step: Literal["waiting", "unchanged", "read", "written", "failed"] = "waiting"
    gate: str = ""
    token: str | None = None
    read: TableRead = field(default_factory=TableRead)
    difference: Difference = field(default_factory=Difference)
    locked_mark: str = ""
    refreshed: int = 0
    vanished: int = 0
    rows: int = 0
    others: str = ""
    error: FluxError | None = None

    @property
    def live(self) -> LiveTable:
        return self.state.live

    @property
    def name(self) -> str:
        return self.state.live.name

    @property
    def is_changed(self) -> bool:
        """Whether any row of the table was written."""
        return bool(self.difference.rows or self.refreshed)

    @property
    def is_stale(self) -> bool:
        """Whether so many rows came and went that the planner's statistics no longer fit."""
        return self.difference.inserts + self.difference.deletes > _STALE_SHARE * self.state.rows

    @property
    def is_adrift(self) -> bool:
        """Whether others wrote it since the last sync, or may have, and this one does not put it right."""
        return not self.state.is_fit or (self.state.is_written_by_others and self.step != "written")

    @property
    def is_trusted(self) -> bool:
        """Whether it held what the last sync left until this one began to write it, which nobody can since."""
        last = self.state.last
        return last is not None and last.mark == self.state.mark == self.locked_mark

    def found_unfit(self, error: FluxError) -> None:
        """Fail before anything was read: the table is missing, not as declared, or cannot be read."""
        self.state = replace(self.state, is_fit=False)
        self.fail(error)

    def leave(self) -> None:
        """Stay unchanged: the gate is closed, for all that the last sync left still holds."""
        if last := self.state.last:
            self.token, self.read.mapping = last.token, last.mapping
        self.step, self.gate, self.rows = "unchanged", _NOTHING_CHANGED, self.state.rows

    def receive(self, reason: str, token: str | None, read: TableRead) -> None:
        """Take what was read, for this reason, or why it could not be."""
        self.gate, self.token, self.read, self.rows = reason, token, read, self.state.rows
        self.step = "read"
        if read.error is not None:
            self.fail(read.error)
        elif read.snapshot is not None and reason != _ASKED_FOR and self.state.holds(read.snapshot):
            self.step, self.gate = "unchanged", _SAME_ROWS

    def fail(self, error: FluxError) -> None:
        """Leave the table as it was."""
        self.step, self.error, self.difference = "failed", error, Difference()

    def source_changed_at(self, instant: datetime) -> datetime:
        """Return when the source last changed: as its rows say, else the instant at which that was first seen."""
        last, snapshot = self.state.last, self.read.snapshot
        if last is not None and (snapshot is None or snapshot.fingerprint == last.fingerprint):
            return last.source_changed_at
        by_its_rows = snapshot.newest_change if snapshot else None
        newest = min(by_its_rows, instant) if by_its_rows else instant
        return max(newest, last.source_changed_at) if last else newest

    def result(self, instant: datetime | None, visible: datetime | None, whole: StepTimer) -> TableResult:
        """Return what the sync reports of the table; `visible` is when readers could see what was written."""
        if not self.state.is_fit:
            return TableResult(table=self.name, outcome="failed", gate="", error=self.error)
        failed, snapshot, last = self.step == "failed", self.read.snapshot, self.state.last
        changed_at = self.source_changed_at(instant) if instant and not failed else None
        lag_seconds = None
        if self.difference.rows and changed_at and visible and changed_at != (last and last.source_changed_at):
            # Never negative: the source has its own clock.
            lag_seconds = max(0.0, (visible - changed_at).total_seconds())
        return TableResult(
            table=self.name,
            outcome="failed" if failed else "changed" if self.is_changed else "unchanged",
            gate=_BUT_COMPUTED.get(self.gate, self.gate) if self.refreshed else self.gate,
            was_read=snapshot is not None,
            rows=self.rows,
            rows_read=snapshot.rows if snapshot else 0,
            inserted=self.difference.inserts,
            updated=self.difference.updates + self.refreshed,
            deleted=self.difference.deletes,
            bytes=snapshot.bytes if snapshot else 0,
            vanished=self.vanished,
            source_instant=None if failed else instant,
            source_changed_at=changed_at,
            published_at=visible if self.is_changed or last is None else last.changed_at,
            lag_seconds=lag_seconds,
            seconds={**whole.seconds, **self.read.clock.seconds},
            total_seconds=whole.total,
            missing=self.read.missing,
            heirs=self.state.target.heirs.get(self.name, ()),
            error=self.error,
        )
