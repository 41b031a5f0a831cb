"""The state of every table: which version is live, since when, and whether it can be trusted.

Here: the judgement and its words. Not here: reading the database (postgis/overview.py) and showing (cli.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from flux_assets.postgis import overview, register
from flux_assets.postgis.connect import Target
from flux_assets.postgis.layer import Layer
from flux_assets.postgis.overview import Picture, Run, Standing
from flux_assets.postgis.register import Version
from flux_assets.spec import DynamicTable, StaticTable

State = Literal["live", "loading", "failed", "interrupted", "broken", "never loaded", "not synced", "late"]
_WRONG: frozenset[State] = frozenset({"failed", "interrupted", "broken", "late"})
_NOTHING = Standing(current=None, broken=None)


@dataclass(frozen=True, kw_only=True)
class TableStatus:
    """One table: `version`, `rows` and `release_tag` of what is live; `last` is the last success, `age_seconds` since.

    Of a dynamic table, `lag_seconds` is how old the picture is that it gives of the source, and `source_changed_at`
    when the source last changed. `detail` says in one line what the state means here; `run_id` is that of the last
    run, however it ended.
    """

    table: str
    kind: Literal["static", "dynamic"]
    state: State
    detail: str
    version: str | None
    release_tag: str | None
    rows: int | None
    last: datetime | None
    age_seconds: float | None
    lag_seconds: float | None
    source_changed_at: datetime | None
    run_id: str | None

    @property
    def wrong(self) -> bool:
        """Whether somebody has to look: the table is not what it should be, or its last load did not end well."""
        return self.state in _WRONG


def table_statuses(target: Target, tables: Sequence[StaticTable | DynamicTable]) -> list[TableStatus]:
    """The state of each table, in the order given. Raises TargetError when the database cannot be reached."""
    names = [table.name for table in tables]
    with target.session("status") as session:
        now = overview.now(session)
        if not overview.is_prepared(session):
            return [_status(table, _NOTHING, None, None, None, now) for table in tables]
        runs = overview.last_runs(session, target.schema, names)
        successes = overview.last_successes(session, target.schema, names)
        pictures = overview.pictures(session, target.schema, names)
        return [
            _status(
                table,
                overview.standing(session, Layer(target.schema, table)) if isinstance(table, StaticTable) else _NOTHING,
                runs.get(table.name),
                successes.get(table.name),
                pictures.get(table.name),
                now,
            )
            for table in tables
        ]


def layer_versions(target: Target, tables: Sequence[StaticTable]) -> list[tuple[str, Version]]:
    """Each layer's versions that still have a table, the newest lease first."""
    with target.session("versions") as session:
        if not overview.is_prepared(session):
            return []
        return [
            (table.name, version)
            for table in tables
            for version in register.versions(session, Layer(target.schema, table))
        ]


def in_words(seconds: float) -> str:
    """An age as people say it: `just now`, `5 minutes ago`, `2 days ago`."""
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if (count := int(seconds // size)) >= 1:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


def _status(
    table: StaticTable | DynamicTable,
    standing: Standing,
    run: Run | None,
    last: datetime | None,
    picture: Picture | None,
    now: datetime,
) -> TableStatus:
    state, detail = _judged(table, standing, run, picture, now)
    current = standing.current
    lag = _since(picture.source_instant, now) if picture else None
    if isinstance(table, DynamicTable) and state == "live":
        state, detail = _timely(table, lag)
    return TableStatus(
        table=table.name,
        kind="static" if isinstance(table, StaticTable) else "dynamic",
        state=state,
        detail=detail,
        version=current.version if current else None,
        release_tag=current.release_tag if current else None,
        rows=current.rows if current else picture.rows if picture else None,
        last=last,
        age_seconds=_since(last, now),
        lag_seconds=lag,
        source_changed_at=picture.source_changed_at if picture else None,
        run_id=run.run_id if run else None,
    )


def _since(then: datetime | None, now: datetime) -> float | None:
    return (now - then).total_seconds() if then else None


def _timely(table: DynamicTable, lag: float | None) -> tuple[State, str]:
    """A table that nobody syncs any more shows an old picture, and looks as good as a fresh one."""
    if lag is None or lag <= table.freshness.fail.total_seconds():
        return "live", ""
    limit = in_words(table.freshness.fail.total_seconds()).removesuffix(" ago")
    return "late", f"expected within {limit}; is dynamic_sync_schedule running?"


def _judged(
    table: StaticTable | DynamicTable, standing: Standing, run: Run | None, picture: Picture | None, now: datetime
) -> tuple[State, str]:
    if standing.broken:
        return "broken", f"{standing.broken}; `flux-assets doctor` says what to do"
    if run is not None and run.status != "SUCCESS":
        return _unfinished(run, _serving(standing, picture, now), now)
    if standing.current is not None or (run is not None and isinstance(table, DynamicTable)):
        return "live", ""
    if run is not None:
        return "broken", "its last load succeeded, and the register has no current version; load it again"
    in_the_way = f"{standing.foreign} of another origin has its name" if standing.foreign else ""
    return ("never loaded" if isinstance(table, StaticTable) else "not synced"), in_the_way


def _unfinished(run: Run, serving: str, now: datetime) -> tuple[State, str]:
    begun = _ago(run.started_at, now)
    if run.alive:
        doing = "rolling back" if run.sync_type == "ROLLBACK" else "under way"
        return "loading", f"{doing}, begun {begun}; {serving}"
    if run.status == "RUNNING":
        return "interrupted", f"the run begun {begun} died without finishing; {serving}; run it again"
    said = (run.error_message or "no reason given").strip().splitlines()[0]
    return "failed", f"{_ago(run.completed_at or run.started_at, now)}: {said} ({serving})"


def _serving(standing: Standing, picture: Picture | None, now: datetime) -> str:
    if picture is not None and picture.source_instant is not None:
        return f"it shows the source of {_ago(picture.source_instant, now)}"
    if standing.current is None:
        return "nothing was published before"
    return f"still serving version {standing.current.version[:12]}"


def _ago(then: datetime, now: datetime) -> str:
    return in_words((now - then).total_seconds())
