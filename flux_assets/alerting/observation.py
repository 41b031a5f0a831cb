"""What is wrong at this moment, and from when on it is worth a message."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

# sync, load: the ledger says so. layer: readers see another version than the register says. check: a check of severity
# ERROR fails. late: a picture older than its budget. run: a run failed and left nothing in the ledger. schedule,
# daemon: nobody starts syncs. dagster: its storage, or our definitions, are unavailable. target: PostGIS is.
Kind = Literal["sync", "load", "layer", "check", "late", "run", "schedule", "daemon", "dagster", "target"]
# What an incident is about: how an attempt to load or sync ended, which changes nothing that readers see; what readers
# see; or what loads, syncs and reading need.
About = Literal["attempt", "published", "service"]
ABOUT: dict[Kind, About] = {
    "sync": "attempt",
    "load": "attempt",
    "run": "attempt",
    "layer": "published",
    "check": "published",
    "late": "published",
    "schedule": "service",
    "daemon": "service",
    "dagster": "service",
    "target": "service",
}
# Of tables that one of these covers, the others tell nothing new.
CAUSES: frozenset[Kind] = frozenset({"sync", "schedule", "daemon"})
_TICK = timedelta(minutes=5)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """From when on something is worth a message, and how often it is repeated; no time is never."""

    after: int | timedelta = 3
    remind: timedelta = timedelta(days=1)

    def reached(self, ticks: int, since: datetime, now: datetime) -> bool:
        """Return whether that many failures in a row, the first at `since`, are enough."""
        return ticks >= self.after if isinstance(self.after, int) else now - since >= self.after

    @property
    def patience(self) -> timedelta:
        """Return how long something may be wrong that does not fail in ticks."""
        return self.after * _TICK if isinstance(self.after, int) else self.after


@dataclass(frozen=True, kw_only=True)
class Observation:
    """Something that is wrong now, of one table or of several that suffer from one cause.

    `cause` is equal for what goes wrong for one reason, whatever the table, and does not change from tick to tick;
    `apart` keeps apart what says the same and has nothing to do with each other. `ready` says that it is worth a
    message, `settled` that it would be if it had begun with the present cause. `symptom` says that it follows from what
    keeps the table from being synced, where anything does. `not_before` is when a message is due at the earliest, where
    that is not at once.
    """

    kind: Kind
    cause: str
    problem: str
    remedy: str
    since: datetime
    tables: tuple[str, ...] = ()
    apart: str = ""
    ticks: int = 1
    run_id: str | None = None
    ready: bool = True
    settled: bool = True
    symptom: bool = False
    not_before: datetime | None = None

    def touches(self, tables: Collection[str]) -> bool:
        return not set(self.tables).isdisjoint(tables)


def join_causes(observed: Iterable[Observation]) -> list[Observation]:
    """Return what has one cause as one observation. What is late already is not waited for any longer."""
    found = list(observed)
    late = {table for each in found if each.kind == "late" for table in each.tables}
    groups: dict[tuple[str, str, str], list[Observation]] = {}
    for each in found:
        groups.setdefault((each.kind, each.cause, each.apart), []).append(each)
    return [_one(group, late) for group in groups.values()]


def _one(group: list[Observation], late: set[str]) -> Observation:
    """Return the group as one observation, in the words of its longest lasting member."""
    first = min(group, key=lambda each: each.since)
    tables = dict.fromkeys(table for each in group for table in each.tables)
    return replace(
        first,
        tables=tuple(tables),
        ticks=max(each.ticks for each in group),
        ready=any(each.ready for each in group) or (first.kind == "sync" and not late.isdisjoint(tables)),
        settled=any(each.settled for each in group),
        symptom=all(each.symptom for each in group),
    )
