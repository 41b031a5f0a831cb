"""One table in a sync: what stood in the target before, what came out, and the owner of the steps in between."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any, Literal

from flux_assets.errors import FluxError
from flux_assets.ledger.entries import Entry
from flux_assets.postgis.relations import LiveTable
from flux_assets.steps import StepTimer
from flux_assets.sync.diff import NO_DIFFERENCE, Difference
from flux_assets.sync.gate import LastSync, TableMark
from flux_assets.sync.reader import Snapshot, TableRead
from flux_assets.sync.result import TableResult

_ASKED_FOR = "asked for"
_SAME_ROWS = "the source's rows are the same"
_NOTHING_CHANGED = "nothing changed"
# The same of a table that was written all the same, because it has columns computed from others.
_BUT_COMPUTED = {
    _SAME_ROWS: "the source's rows are the same; what is computed from other tables changed",
    _NOTHING_CHANGED: "nothing changed but what is computed from other tables",
}
UNREAD = frozenset({_NOTHING_CHANGED, _BUT_COMPUTED[_NOTHING_CHANGED]})
# Of `read_every`, how much sooner a tick may come.
_EARLY = 0.1
# Above this share of rows inserted and deleted, the planner's statistics no longer fit.
_STALE_SHARE = 0.1
_Step = Literal["waiting", "unchanged", "read", "written", "failed"]


@dataclass(frozen=True, kw_only=True)
class TableState:
    """What stood in the target before a sync: a table's shape and mark, and what its last sync left.

    `present` names the tables that exist there, with their kinds; `heirs` inherit from this one. One that is not
    `is_fit` is missing, not as declared, or cannot be read. The sync began `at`, by the target's clock.
    """

    live: LiveTable
    shape: str
    origins: Mapping[str, str | None]
    last: LastSync | None
    present: Mapping[str, str]
    configuration: str
    mark: TableMark | None = None
    heirs: tuple[str, ...] = ()
    at: datetime | None = None
    is_fit: bool = True

    @property
    def exists(self) -> bool:
        return self.live.name in self.present

    @cached_property
    def declared(self) -> str:
        """SHA-256 over all of the declaration and configuration that decides which rows with which values it holds."""
        table = self.live.table
        parts = (table.source, table.source_columns, table.row_filter, table.derived, table.positions)
        return hashlib.sha256("\n".join([table.digest, self.configuration, *map(repr, parts)]).encode()).hexdigest()

    @property
    def rows(self) -> int:
        """How many rows the table held."""
        return int(self.mark.mark.partition(":")[0]) if self.mark else 0

    @property
    def is_written_by_others(self) -> bool:
        return self.last is not None and self.mark is not None and self.last.mark != self.mark.mark

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
            "the table's columns or indexes changed": last.shape != self.shape,
            "rows have left their time window": self.mark.expired,
            f"{', '.join(self.moved)} changed": bool(self.moved),
            **self._reasons_of_source(last, token),
            "the source's columns changed": mapping is None or mapping != last.mapping,
        }
        return next((reason for reason, holds in reasons.items() if holds), None)

    def _reasons_of_source(self, last: LastSync, token: str | None) -> dict[str, bool]:
        """Return why the source's token, or how long ago it was read, opens the gate.

        The last sync noted a token only where that is believed.
        """
        rule = self.live.table.tokens
        age = self.at - last.read_at if self.at and last.read_at else None
        if token is not None and last.token is not None and rule.change_token is not False:
            old = f"its change token has been believed for {rule.token_lasts}"
            return {"the source changed": token != last.token, old: age is None or age >= rule.token_lasts}
        # Ticks are not to the second: one that comes a little early is not put off to the next.
        waits = rule.read_every is not None and age is not None and age < rule.read_every - _EARLY * rule.read_every
        return {"the source has no change token": not waits}

    def holds(self, snapshot: Snapshot) -> bool:
        """Tell whether what was read is what the table was last brought into step with, and what it still holds."""
        return (
            self.last is not None
            and self.mark is not None
            and self.last.fingerprint == snapshot.fingerprint
            and self.last.declaration == self.declared
            and self.last.origins == self.origins
            and not self.is_written_by_others
            # A column that was dropped and made again is empty, and no row's mark tells.
            and self.last.shape == self.shape
        )


@dataclass(frozen=True, kw_only=True)
class TableOutcome:
    """What came out of the steps that a table has gone through so far.

    `gate` is why it was read, or was not; `missing` are columns that its source lacks. `locked_mark` is its mark once
    nobody else could write it, `refreshed` how many rows follow other tables, `vanished` how many the source lost.
    """

    step: _Step = "waiting"
    gate: str = ""
    token: str | None = None
    mapping: str | None = None
    missing: tuple[str, ...] = ()
    snapshot: Snapshot | None = None
    difference: Difference = NO_DIFFERENCE
    locked_mark: str = ""
    refreshed: int = 0
    vanished: int = 0
    rows: int = 0
    error: FluxError | None = None


@dataclass(kw_only=True, eq=False)
class TableSync:
    """A table in one sync. Its steps are taken here, and nowhere else.

    Without an `entry` nobody asked for it: only columns derived from the others may change.
    """

    state: TableState
    entry: Entry | None
    outcome: TableOutcome = field(default_factory=TableOutcome)
    clock: StepTimer = field(default_factory=StepTimer)

    @property
    def live(self) -> LiveTable:
        return self.state.live

    @property
    def name(self) -> str:
        return self.state.live.name

    @property
    def step(self) -> _Step:
        return self.outcome.step

    @property
    def difference(self) -> Difference:
        return self.outcome.difference

    @property
    def is_changed(self) -> bool:
        """Whether any row of the table was written."""
        return bool(self.difference.rows or self.outcome.refreshed)

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
        last, mark = self.state.last, self.state.mark
        return last is not None and mark is not None and last.mark == mark.mark == self.outcome.locked_mark

    def found(self, mark: TableMark) -> None:
        """Take the table's mark, which completes what stood in the target."""
        self.state = replace(self.state, mark=mark)

    def found_unfit(self, error: FluxError) -> None:
        """Fail before anything was read: the table is missing, not as declared, or cannot be read."""
        self.state = replace(self.state, is_fit=False)
        self.fail(error)

    def leave(self) -> None:
        """Stay unchanged: the gate is closed, for all that the last sync left still holds."""
        if last := self.state.last:
            self._become(token=last.token, mapping=last.mapping)
        self._become(step="unchanged", gate=_NOTHING_CHANGED, rows=self.state.rows)

    def receive(self, reason: str, token: str | None, read: TableRead) -> None:
        """Take what was read, for this reason, or why it could not be."""
        self.clock = read.clock
        self._become(gate=reason, token=token, rows=self.state.rows)
        self._become(snapshot=read.snapshot, mapping=read.mapping, missing=read.missing)
        if read.error is not None:
            self.fail(read.error)
        elif read.snapshot is not None and reason != _ASKED_FOR and self.state.holds(read.snapshot):
            self._become(step="unchanged", gate=_SAME_ROWS)
        else:
            self._become(step="read")

    def compared(self, difference: Difference) -> None:
        """Take what differs between the source and the table."""
        self._become(difference=difference)

    def lost(self, vanished: int) -> None:
        """Take how many rows the source lost."""
        self._become(vanished=vanished)

    def written(self) -> None:
        """Take the last step: the differences are written."""
        self._become(step="written")

    def refreshed(self, rows: int, locked_mark: str = "") -> None:
        """Take how many rows follow other tables, and the mark once nobody else could write."""
        self._become(refreshed=rows, locked_mark=locked_mark)

    def counted(self, rows: int) -> None:
        """Take how many rows the table holds now."""
        self._become(rows=rows)

    def fail(self, error: FluxError) -> None:
        """Leave the table as it was."""
        self._become(step="failed", error=error, difference=NO_DIFFERENCE)

    def _become(self, **changes: Any) -> None:
        self.outcome = replace(self.outcome, **changes)

    def source_changed_at(self, instant: datetime) -> datetime:
        """Return when the source last changed: as its rows say, else the instant at which that was first seen."""
        last, snapshot = self.state.last, self.outcome.snapshot
        if last is not None and (snapshot is None or snapshot.fingerprint == last.fingerprint):
            return last.source_changed_at
        by_its_rows = snapshot.newest_change if snapshot else None
        newest = min(by_its_rows, instant) if by_its_rows else instant
        return max(newest, last.source_changed_at) if last else newest

    def result(self, instant: datetime | None, visible: datetime | None, whole: StepTimer) -> TableResult:
        """Return what the sync reports of the table; `visible` is when readers could see what was written."""
        outcome, failed, snapshot, last = self.outcome, self.step == "failed", self.outcome.snapshot, self.state.last
        if not self.state.is_fit:
            return TableResult(table=self.name, outcome="failed", gate="", error=outcome.error)
        changed_at = self.source_changed_at(instant) if instant and not failed else None
        is_new = self.difference.rows and changed_at != (last and last.source_changed_at)
        return TableResult(
            table=self.name,
            outcome="failed" if failed else "changed" if self.is_changed else "unchanged",
            gate=_BUT_COMPUTED.get(outcome.gate, outcome.gate) if outcome.refreshed else outcome.gate,
            rows=outcome.rows,
            rows_read=snapshot.rows if snapshot else 0,
            inserted=self.difference.inserts,
            updated=self.difference.updates + outcome.refreshed,
            deleted=self.difference.deletes,
            bytes=snapshot.bytes if snapshot else 0,
            vanished=outcome.vanished,
            source_instant=None if failed else instant,
            source_changed_at=changed_at,
            published_at=visible if self.is_changed or last is None else last.changed_at,
            lag_seconds=_lag(changed_at, visible) if is_new else None,
            seconds={**whole.seconds, **self.clock.seconds},
            total_seconds=whole.total,
            missing=outcome.missing,
            heirs=self.state.heirs,
            error=outcome.error,
        )


def _lag(changed_at: datetime | None, visible: datetime | None) -> float | None:
    """Return the seconds between, never negative: the source has its own clock."""
    return max(0.0, (visible - changed_at).total_seconds()) if visible and changed_at else None
