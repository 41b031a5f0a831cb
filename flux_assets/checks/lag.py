"""How far a dynamic table is behind its source: the check lag, and the times that it is judged by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from flux_assets.checks.audit import AuditFinding, Numbers, Severity
from flux_assets.postgis.names import PublicTable
from flux_assets.spec import Freshness
from flux_assets.sqlfiles import query
from flux_assets.words import span_in_words

_NO_LAG = "none: the source's change token is that of the last sync"


@dataclass(frozen=True, kw_only=True)
class SyncTimes:
    """When a table's source last changed, when the table was written and checked, and the server's time now.

    `picture_at` is the instant of the source that the table shows, `token` the source's change token of then.
    """

    layer_name: str
    token: str | None
    source_changed_at: datetime
    published_at: datetime
    picture_at: datetime
    checked_at: datetime
    now: datetime


def read_sync_times(session: psycopg.Connection, schema: str, names: Sequence[str]) -> dict[str, SyncTimes]:
    """Return the times of each table that was ever synced."""
    with session.cursor(row_factory=class_row(SyncTimes)) as cursor:
        found = cursor.execute(query("lag", "sync_times"), [schema, list(names)]).fetchall()
    return {times.layer_name: times for times in found}


def claim(freshness: Freshness) -> str:
    """Return what the check claims, for its description."""
    spans = (freshness.warn, freshness.fail, freshness.still)
    warn, fail, still = (span_in_words(span.total_seconds()) for span in spans)
    return (
        f"Changes of the source are here within {warn} (WARN), at most {fail} (ERROR); and the source, looked at all"
        f" the time, has not stood still for {still} (WARN)."
    )


def judge_lag(freshness: Freshness, times: SyncTimes | None, token: str | None) -> AuditFinding:
    """Judge a table by its times; `token` is the source's change token of now, None where it is unknown."""
    if times is None:
        return AuditFinding(passed=False, severity="ERROR", sample=("the table was never synced",))
    current = token is not None and token == times.token
    lag = 0.0 if current else _seconds(times.picture_at, times.now)
    still = _seconds(times.source_changed_at, times.now if current else times.picture_at)
    severity, problem = _judged(freshness, lag, still)
    numbers: Numbers = {
        "lag_seconds": lag,
        "lag_is": _NO_LAG if current else "at most this, the age of the picture that the table shows",
        "source_stood_still_seconds": still,
        "warn_seconds": freshness.warn.total_seconds(),
        "fail_seconds": freshness.fail.total_seconds(),
        "still_seconds": freshness.still.total_seconds(),
        "source_changed_at": times.source_changed_at.isoformat(timespec="seconds"),
        "checked_at": times.checked_at.isoformat(timespec="seconds"),
        "published_at": times.published_at.isoformat(timespec="seconds"),
    }
    return AuditFinding(
        passed=problem is None, severity=severity, numbers=numbers, sample=(problem,) if problem else ()
    )


def runs_query(live: PublicTable, session: psycopg.Connection) -> str:
    """Return the query that shows a table's last syncs with what they saw of the source."""
    return query("lag", "last_runs").format(sql.Literal(live.schema), sql.Literal(live.name)).as_string(session)


def _judged(freshness: Freshness, lag: float, still: float) -> tuple[Severity, str | None]:
    """Return the severity, and what is wrong where something is."""
    behind = f"changes of the source of the last {span_in_words(lag)} may be missing"
    if lag > freshness.fail.total_seconds():
        return "ERROR", behind
    if lag > freshness.warn.total_seconds():
        return "WARN", behind
    if still > freshness.still.total_seconds():
        return "WARN", f"the source was looked at and has not changed for {span_in_words(still)}"
    return "ERROR", None


def _seconds(since: datetime, until: datetime) -> float:
    """Return the seconds between; never negative, although the source's clock may differ."""
    return round(max(0.0, (until - since).total_seconds()), 1)
