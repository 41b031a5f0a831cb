"""What may be asked of a sync, and what it reports."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from flux_assets.errors import FluxError
from flux_assets.postgis.liveness import Stop


@dataclass(frozen=True, kw_only=True)
class SyncOptions:
    """What may be asked of a sync. `force` writes what differs also when nothing seems to have changed;
    `accept_vanished` lets any number of rows vanish from the source, this once. `take_over` replaces a plain table of
    other columns by one that fits, with its rows and all that hangs on it; with `drop_foreign_keys`, but for foreign
    keys of other tables. `run_id` is noted in the ledger."""

    force: bool = False
    accept_vanished: bool = False
    take_over: bool = False
    drop_foreign_keys: bool = False
    run_id: str | None = None
    stop: Stop = field(default_factory=Stop)

    @property
    def once(self) -> tuple[str, ...]:
        """What was asked for beyond bringing the tables into step, this once, as it is written in a run's config."""
        asked = {"force: true": self.force, "accept_vanished: true": self.accept_vanished}
        asked["take_over: true"] = self.take_over
        return tuple(name for name, holds in asked.items() if holds)


@dataclass(frozen=True, kw_only=True)
class TableResult:
    """What a sync did to one table; times are UTC.

    `gate` says why it was, or was not, looked at. `rows` is what it holds now, `rows_read` and `bytes` what the source
    sent, `lag_seconds` the age of the newest source change when readers could see it, where any arrived; `published_at`
    is when readers last saw a change, now or long ago. `seconds` go by step, and steps overlap. `missing` are columns
    that the source does not have, `heirs` the tables that inherit from it, which a sync leaves alone. Where it failed
    with an `error` it is as it was, but for columns derived from tables that did change.
    """

    table: str
    outcome: Literal["changed", "unchanged", "failed"]
    gate: str
    was_read: bool = False
    rows: int = 0
    rows_read: int = 0
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    bytes: int = 0
    vanished: int = 0
    source_instant: datetime | None = None
    source_changed_at: datetime | None = None
    published_at: datetime | None = None
    lag_seconds: float | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    total_seconds: float = 0.0
    missing: tuple[str, ...] = ()
    heirs: tuple[str, ...] = ()
    error: FluxError | None = None

    @property
    def unchanged(self) -> int:
        """Rows that were not written."""
        return self.rows - self.inserted - self.updated


@dataclass(frozen=True, kw_only=True)
class SyncResult:
    """One sync: what became of each table, or that somebody else is syncing and nothing was done (`busy`, in words).

    `warnings` say which materialized views could not follow.
    """

    tables: tuple[TableResult, ...] = ()
    warnings: tuple[str, ...] = ()
    busy: str | None = None
