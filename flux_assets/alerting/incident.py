"""What is wrong right now, and the incidents that it belongs to, from beginning to end. No clock and no database."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

# sync, load: the ledger says so. layer: readers see another version than the register says. writers: others write, and
# syncs put it right. check: a check of severity ERROR fails. late: a picture older than its budget. run: a run failed
# and left nothing in the ledger. schedule, daemon: nobody starts syncs. dagster: its storage, or our definitions, are
# unavailable. target: PostGIS is.
Kind = Literal["sync", "load", "layer", "writers", "check", "late", "run", "schedule", "daemon", "dagster", "target"]
Event = Literal["opened", "changed", "reminder", "recovered"]
_BEGINS: dict[Event, str] = {"opened": "", "changed": "For another reason: ", "reminder": "Still: "}
_WHOLE: dict[Kind, str] = {
    "schedule": "Syncs are not started",
    "daemon": "Dagster's daemon is dead",
    "dagster": "Dagster cannot be used",
    "target": "PostGIS cannot be used",
}
# What is wrong with one table, and with several.
_OF_TABLES: dict[Kind, tuple[str, str]] = {
    "sync": ("cannot be synced", "cannot be synced"),
    "load": ("could not be loaded", "could not be loaded"),
    "layer": ("is not what was published", "are not what was published"),
    "writers": ("is written by others too", "are written by others too"),
    "check": ("fails a check", "fail a check"),
    "late": ("is late", "are late"),
}
# Of tables that one of these covers, the others tell nothing new.
_CAUSES: frozenset[Kind] = frozenset({"sync", "schedule", "daemon"})
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

    @classmethod
    def late(cls, table: str, problem: str, since: datetime) -> Observation:
        """Return that a table is not as fresh as it has to be; a symptom, where something keeps it from syncing."""
        return cls(
            kind="late",
            cause="late",
            problem=problem,
            tables=(table,),
            since=since,
            symptom=True,
            remedy="Check that dynamic_sync_schedule runs; `flux-assets status` shows the last attempt.",
        )

    def touches(self, tables: Collection[str]) -> bool:
        return not set(self.tables).isdisjoint(tables)


@dataclass(frozen=True)
class Observed:
    """All that is wrong now, of the kinds that could be observed."""

    wrong: Sequence[Observation]
    kinds: Collection[Kind]
    now: datetime


@dataclass(frozen=True, kw_only=True)
class Incident:
    """One cause and all who suffer from it. `tables` are all that ever did, `failing` those that still do.

    `told_at` is when the last message about it arrived, `told_cause` the cause that it named; `resolved_at` is when it
    was seen to be over, `closed_at` when nothing more was to be sent. None is undone. `id` is None until stored.
    """

    id: int | None = None
    kind: Kind
    cause: str
    apart: str
    problem: str
    remedy: str
    tables: tuple[str, ...]
    failing: tuple[str, ...]
    since: datetime
    not_before: datetime
    ticks: int
    settled: bool
    run_id: str | None
    told_at: datetime | None = None
    told_cause: str | None = None
    resolved_at: datetime | None = None
    closed_at: datetime | None = None

    @property
    def about(self) -> Literal["attempt", "published", "service"]:
        """An attempt to load or sync, which changes nothing that readers see; what they see; or what all this needs."""
        if self.kind in {"sync", "load", "run"}:
            return "attempt"
        return "published" if self.kind in {"layer", "writers", "check", "late"} else "service"

    def title(self, event: Event) -> str:
        """Return one line: what is wrong with which tables, or that it is over."""
        if event == "recovered":
            return f"Recovered: {self._subject(self.tables)}"
        return f"{_BEGINS[event]}{self._subject(self.failing)}"

    def _subject(self, tables: tuple[str, ...]) -> str:
        if self.kind in _WHOLE:
            return _WHOLE[self.kind]
        if self.kind == "run":
            return f"a run of {self.cause} failed"
        one, several = _OF_TABLES[self.kind]
        return f"{tables[0]} {one}" if len(tables) == 1 else f"{len(tables)} tables {several}"


def decide(so_far: Sequence[Incident], observed: Observed) -> list[Incident]:
    """Return the incidents as they are now, new ones at the end.

    A table that fails for another reason than before has not recovered: its incident continues. What follows from an
    incident of another kind begins none, and keeps an older one from ending.
    """
    groups = join_causes(observed.wrong)
    covered = {table for group in groups if group.kind in _CAUSES and group.ready for table in group.tables}
    open_ = [incident for incident in so_far if incident.resolved_at is None]
    continued: dict[int, Incident] = {}
    new: list[Incident] = []
    for group in groups:
        place = _matching(group, open_, continued)
        if place is not None:
            continued[place] = _continued(open_[place], group)
        elif group.ready and not _already_sent(group, open_):
            tables = tuple(table for table in group.tables if not (group.symptom and table in covered))
            if tables or not group.symptom:
                new.append(_begun(group, tables))
    over = [incident for incident in so_far if incident.resolved_at is not None]
    still = (continued.get(place) or _ended(incident, groups, observed) for place, incident in enumerate(open_))
    return [*over, *still, *new]


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


def _matching(group: Observation, open_: Sequence[Incident], taken: Collection[int]) -> int | None:
    """Return the place of the incident that continues in the group: of the same cause, else one of the same tables."""
    free = [place for place, incident in enumerate(open_) if place not in taken and incident.kind == group.kind]
    same = [place for place in free if (open_[place].cause, open_[place].apart) == (group.cause, group.apart)]
    touched = [place for place in free if group.touches(open_[place].failing)]
    return next(iter(same + touched), None)


def _already_sent(group: Observation, open_: Sequence[Incident]) -> bool:
    """Return whether other groups continue the incidents of its tables, and it has not lasted by itself."""
    failing = {table for incident in open_ if incident.kind == group.kind for table in incident.failing}
    return bool(group.tables) and set(group.tables) <= failing and not group.settled


def _said(group: Observation) -> dict[str, Any]:
    """Return what an incident has of its newest observation."""
    return {name: getattr(group, name) for name in ("cause", "apart", "problem", "remedy", "settled", "run_id")}


def _begun(group: Observation, tables: tuple[str, ...]) -> Incident:
    due, since = group.not_before or group.since, group.since
    return Incident(
        kind=group.kind, tables=tables, failing=tables, since=since, not_before=due, ticks=group.ticks, **_said(group)
    )


def _continued(incident: Incident, group: Observation) -> Incident:
    return replace(
        incident,
        tables=tuple(dict.fromkeys([*incident.tables, *group.tables])),
        failing=group.tables,
        since=min(incident.since, group.since),
        ticks=max(incident.ticks, group.ticks),
        **_said(group),
    )


def _ended(incident: Incident, groups: Iterable[Observation], observed: Observed) -> Incident:
    """Return it as over when nothing of its kind is wrong any more with any of its tables, and that was observed."""
    lasts = any(group.kind == incident.kind and group.touches(incident.failing) for group in groups)
    return incident if lasts or incident.kind not in observed.kinds else replace(incident, resolved_at=observed.now)
