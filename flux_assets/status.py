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
from flux_assets.postgis.overview import Run, Standing
from flux_assets.postgis.register import Version
from flux_assets.spec import DynamicTable, StaticTable

State = Literal["live", "loading", "failed", "interrupted", "broken", "never loaded", "not synced"]
_WRONG: frozenset[State] = frozenset({"failed", "interrupted", "broken"})
_NOTHING = Standing(current=None, broken=None)


@dataclass(frozen=True, kw_only=True)
class TableStatus:
    """One table: `version`, `rows` and `release_tag` of what is live; `last` is the last success, `age_seconds` since.

    `detail` says in one line what the state means here; `run_id` is that of the last run, however it ended.
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
            return [_status(table, _NOTHING, None, None, now) for table in tables]
        runs = overview.last_runs(session, target.schema, names)
        successes = overview.last_successes(session, target.schema, names)
        return [
            _status(
                table,
                overview.standing(session, Layer(target.schema, table)) if isinstance(table, StaticTable) else _NOTHING,
                runs.get(table.name),
                successes.get(table.name),
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
    table: StaticTable | DynamicTable, standing: Standing, run: Run | None, last: datetime | None, now: datetime
) -> TableStatus:
    state, detail = _judged(table, standing, run, now)
    current = standing.current
    return TableStatus(
        table=table.name,
        kind="static" if isinstance(table, StaticTable) else "dynamic",
        state=state,
        detail=detail,
        version=current.version if current else None,
        release_tag=current.release_tag if current else None,
        rows=current.rows if current else None,
        last=last,
        age_seconds=(now - last).total_seconds() if last else None,
        run_id=run.run_id if run else None,
    )


def _judged(table: StaticTable | DynamicTable, standing: Standing, run: Run | None, now: datetime) -> tuple[State, str]:
    if standing.broken:
        return "broken", f"{standing.broken}; `flux-assets doctor` says what to do"
    if run is not None and run.status != "SUCCESS":
        return _unfinished(run, standing, now)
    if standing.current is not None or (run is not None and isinstance(table, DynamicTable)):
        return "live", ""
    if run is not None:
        return "broken", "its last load succeeded, and the register has no current version; load it again"
    in_the_way = f"{standing.foreign} of another origin has its name" if standing.foreign else ""
    return ("never loaded" if isinstance(table, StaticTable) else "not synced"), in_the_way


def _unfinished(run: Run, standing: Standing, now: datetime) -> tuple[State, str]:
    begun = _ago(run.started_at, now)
    if run.alive:
        doing = "rolling back" if run.sync_type == "ROLLBACK" else "under way"
        return "loading", f"{doing}, begun {begun}; {_serving(standing)}"
    if run.status == "RUNNING":
        return "interrupted", f"the run begun {begun} died without finishing; {_serving(standing)}; load it again"
    said = (run.error_message or "no reason given").strip().splitlines()[0]
    return "failed", f"{_ago(run.completed_at or run.started_at, now)}: {said} ({_serving(standing)})"


def _serving(standing: Standing) -> str:
    if standing.current is None:
        return "nothing was published before"
    return f"still serving version {standing.current.version[:12]}"


def _ago(then: datetime, now: datetime) -> str:
    return in_words((now - then).total_seconds())
