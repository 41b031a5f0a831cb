"""One table's way through a sync: what is known of it, and whether it has to be read.

Here: the gate's judgement and what each step leaves behind. Not here: the steps (sync.py, write.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Literal

from flux_assets.errors import FluxError
from flux_assets.ledger.entries import Entry, Synced
from flux_assets.postgis.names import LiveTable
from flux_assets.step_timer import StepTimer
from flux_assets.sync.diff import Difference
from flux_assets.sync.gate import LastSync, TableMark
from flux_assets.sync.reader import TableRead
from flux_assets.sync.record import SyncState
from flux_assets.sync.result import TableResult
from flux_assets.sync.spool import Snapshot

SAME_ROWS = "the source's rows are the same"
NOTHING_CHANGED = "nothing changed"
# The same of a table that was written all the same, because it has columns computed from others.
_BUT_COMPUTED = {
    SAME_ROWS: "the source's rows are the same; what is computed from other tables changed",
    NOTHING_CHANGED: "nothing changed but what is computed from other tables",
}
UNREAD = frozenset({NOTHING_CHANGED, _BUT_COMPUTED[NOTHING_CHANGED]})
# Of `read_every`, how much sooner a tick may come.
_EARLY = 0.1
Step = Literal["waiting", "unchanged", "read", "written", "failed"]


@dataclass(kw_only=True)
class TableSync:
    """A table in one sync. Without an `entry` nobody asked for it: only columns derived from the others may change.

    One that is not `is_fit` is there, but not as declared; it has failed before this. `heirs` inherit from it. The sync
    began `at`, by the target's clock.
    """

    live: LiveTable
    shape: str
    origins: Mapping[str, str | None]
    last: LastSync | None
    standing: TableMark | None
    entry: Entry | None
    is_fit: bool = True
    heirs: tuple[str, ...] = ()
    configuration: str = ""
    at: datetime | None = None
    step: Step = "waiting"
    gate: str = ""
    token: str | None = None
    mapping: str | None = None
    missing: tuple[str, ...] = ()
    snapshot: Snapshot | None = None
    difference: Difference = field(default_factory=lambda: Difference(inserts=0, updates=0, deletes=0))
    refreshed: int = 0
    locked_mark: str = ""
    vanished: int = 0
    rows: int = 0
    error: FluxError | None = None
    clock: StepTimer = field(default_factory=StepTimer)

    @property
    def name(self) -> str:
        return self.live.name

    @cached_property
    def declared(self) -> str:
        """SHA-256 over all of the declaration and configuration that decides which rows with which values it holds."""
        table = self.live.table
        parts = (table.source, table.source_columns, table.row_filter, table.derived, table.positions)
        return hashlib.sha256("\n".join([table.digest, self.configuration, *map(repr, parts)]).encode()).hexdigest()

    @property
    def before(self) -> int:
        """Rows of the table before this sync."""
        return int(self.standing.mark.partition(":")[0]) if self.standing else 0

    @property
    def is_adrift(self) -> bool:
        """Whether others wrote it since the last sync, or may have, and this one does not put it right."""
        if not self.is_fit:
            return True
        written = self.last is not None and self.standing is not None and self.last.mark != self.standing.mark
        return written and self.step != "written"

    @property
    def is_trusted(self) -> bool:
        """Whether it held what the last sync left until this one began to write it, which nobody can since."""
        marks = {self.last and self.last.mark, self.standing and self.standing.mark, self.locked_mark}
        return len(marks) == 1 and self.last is not None

    @property
    def changed(self) -> bool:
        """Whether any row of the table was written."""
        return bool(self.difference.rows or self.refreshed)

    def leave(self) -> None:
        """The gate stays closed: all that the last sync left still holds."""
        if self.last is not None:
            self.token, self.mapping = self.last.token, self.last.mapping
        self.gate, self.rows, self.step = NOTHING_CHANGED, self.before, "unchanged"

    def receive(self, reason: str, token: str | None, taken: TableRead) -> None:
        """The gate was open for this reason, and the table was read, or could not be."""
        self.token, self.gate, self.rows = token, reason, self.before
        self.snapshot, self.mapping, self.missing = taken.snapshot, taken.mapping, taken.missing
        self.clock = taken.clock
        if taken.error is not None:
            self.fail(taken.error)
        elif taken.snapshot is not None and self.is_same(taken.snapshot):
            self.step, self.gate = "unchanged", SAME_ROWS
        else:
            self.step = "read"

    def fail(self, error: FluxError) -> None:
        """The table stays as it was."""
        self.step, self.error = "failed", error
        self.difference = Difference(inserts=0, updates=0, deletes=0)

    def reason(self, token: str | None, mapping: str | None, *, force: bool) -> str | None:
        """Why the table has to be read; None when all that the last sync left still holds."""
        last = self.last
        if last is None or self.standing is None:
            return "first sync"
        moved = [name for name, version in self.origins.items() if last.origins.get(name) != version]
        reasons = {
            "asked for": force,
            "its declaration or configuration changed": last.declaration != self.declared,
            "rows here were written by others": self.standing.mark != last.mark,
            "the table's columns or indexes changed": last.shape != self.shape,
            "rows have left their time window": self.standing.expired,
            f"{', '.join(moved)} changed": bool(moved),
            **self._unread(last, token),
            "the source's columns changed": mapping is None or mapping != last.mapping,
        }
        return next((reason for reason, holds in reasons.items() if holds), None)

    def _unread(self, last: LastSync, token: str | None) -> dict[str, bool]:
        """Why what the source said, or how long ago it was read, opens the gate.

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

    @property
    def is_reading_noted(self) -> bool:
        """Whether the next sync has to know when the source was read, which it was by this one."""
        return self.snapshot is not None and (self.token is not None or self.live.table.tokens.read_every is not None)

    def is_same(self, snapshot: Snapshot) -> bool:
        """Whether what was read is what the table was last brought into step with, and is still what it holds."""
        return (
            self.last is not None
            and self.standing is not None
            and self.gate != "asked for"
            and self.last.fingerprint == snapshot.fingerprint
            and self.last.declaration == self.declared
            and self.last.origins == self.origins
            and self.last.mark == self.standing.mark
            # A column that was dropped and made again is empty, and no row's mark tells.
            and self.last.shape == self.shape
        )

    def seen(self, instant: datetime) -> SyncState:
        """What the next sync is to compare with."""
        fingerprint = self.snapshot.fingerprint if self.snapshot else ""
        return SyncState(
            declaration=self.declared, token=self.token, mapping=self.mapping, fingerprint=fingerprint,
            origins=self.origins, shape=self.shape, source_instant=instant, read_at=self.at,
            source_changed_at=self.source_changed_at(instant),
        )  # fmt: skip

    def source_changed_at(self, instant: datetime) -> datetime:
        """When the source last changed: as its rows say, else the instant at which the change was first seen."""
        fingerprint = self.snapshot.fingerprint if self.snapshot else None
        if self.last is not None and fingerprint in {None, self.last.fingerprint}:
            return self.last.source_changed_at
        said = self.snapshot.newest_change if self.snapshot else None
        newest = min(said, instant) if said else instant
        return max(newest, self.last.source_changed_at) if self.last else newest

    def synced(self, instant: datetime) -> Synced:
        """For the ledger."""
        found = self.difference
        return Synced(
            inserted=found.inserts, updated=found.updates + self.refreshed, deleted=found.deletes,
            source_instant=instant, source_changed_at=self.source_changed_at(instant),
        )  # fmt: skip

    def result(self, instant: datetime | None, visible: datetime | None, whole: StepTimer) -> TableResult:
        """What the sync says of this table; `visible` is when readers could see what was written."""
        failed, snapshot = self.step == "failed", self.snapshot
        changed_at = self.source_changed_at(instant) if instant and not failed else None
        before = self.last.source_changed_at if self.last else None
        return TableResult(
            table=self.name,
            outcome="failed" if failed else "changed" if self.changed else "unchanged",
            gate=_BUT_COMPUTED.get(self.gate, self.gate) if self.refreshed else self.gate,
            rows=self.rows,
            rows_read=snapshot.rows if snapshot else 0,
            inserted=self.difference.inserts,
            updated=self.difference.updates + self.refreshed,
            deleted=self.difference.deletes,
            bytes=snapshot.bytes if snapshot else 0,
            vanished=self.vanished,
            source_instant=None if failed else instant,
            source_changed_at=changed_at,
            published_at=visible if self.changed or self.last is None else self.last.changed_at,
            lag_seconds=_lag(changed_at, visible) if self.difference.rows and changed_at != before else None,
            seconds={**whole.seconds, **self.clock.seconds},
            total_seconds=whole.total,
            missing=self.missing,
            heirs=self.heirs,
            error=self.error,
        )


def _lag(changed_at: datetime | None, visible: datetime | None) -> float | None:
    """Never negative: the source has a clock of its own."""
    return max(0.0, (visible - changed_at).total_seconds()) if visible and changed_at else None
