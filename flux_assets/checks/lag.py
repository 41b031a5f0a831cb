"""How far a dynamic table is behind its source: the check lag, and the three clocks that it is read from.

Here: when the source last changed, when it was last looked at, when the table was last written, and what that amounts
to. Not here: asking the source for its change token (syncing/live_audit.py), and how long ago the last sync was, which
Dagster's freshness policy watches.
"""

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
from flux_assets.words import span_in_words

_CLOCKS = """
SELECT state.layer_name, state.token, state.source_changed_at, state.changed_at AS published_at,
       greatest(last.source_instant, state.source_instant) AS picture_at,
       coalesce(last.completed_at, state.changed_at) AS checked_at, clock_timestamp() AS now
FROM postgres_sync.sync_state AS state
LEFT JOIN LATERAL (
    SELECT source_instant, completed_at FROM postgres_sync.sync_status AS entry
    WHERE entry.schema_name = state.schema_name AND entry.layer_name = state.layer_name AND status = 'SUCCESS'
      AND source_instant IS NOT NULL
    ORDER BY started_at DESC LIMIT 1) AS last ON true
WHERE state.schema_name = %s AND state.layer_name = ANY (%s)
"""
_RUNS = """
SELECT sync_id, sync_type, status, started_at, completed_at, source_instant, source_changed_at, error_message
FROM postgres_sync.sync_status WHERE schema_name = {} AND layer_name = {} ORDER BY started_at DESC LIMIT 20
"""


@dataclass(frozen=True, kw_only=True)
class SyncTimes:
    """The three clocks of a table, the source's instant that it shows (`picture_at`), the token of then, and now."""

    layer_name: str
    token: str | None
    source_changed_at: datetime
    published_at: datetime
    picture_at: datetime
    checked_at: datetime
    now: datetime


def read_sync_times(session: psycopg.Connection, schema: str, names: Sequence[str]) -> dict[str, SyncTimes]:
    """The clocks of each table that was ever synced."""
    with session.cursor(row_factory=class_row(SyncTimes)) as cursor:
        found = cursor.execute(_CLOCKS, [schema, list(names)]).fetchall()
    return {clocks.layer_name: clocks for clocks in found}


def claim(freshness: Freshness) -> str:
    """What the check says, for its description."""
    spans = (freshness.warn, freshness.fail, freshness.still)
    warn, fail, still = (span_in_words(span.total_seconds()) for span in spans)
    return (
        f"Changes of the source are here within {warn} (WARN), at most {fail} (ERROR); and the source, looked at all"
        f" the time, has not stood still for {still} (WARN)."
    )


def judge_lag(freshness: Freshness, clocks: SyncTimes | None, token: str | None) -> AuditFinding:
    """What is told of a table by its clocks; `token` is the source's change token of now, None where it is unknown."""
    if clocks is None:
        return AuditFinding(passed=False, severity="ERROR", sample=("the table was never synced",))
    current = token is not None and token == clocks.token
    lag = 0.0 if current else _seconds(clocks.picture_at, clocks.now)
    still = _seconds(clocks.source_changed_at, clocks.now if current else clocks.picture_at)
    severity, said = _judged(freshness, lag, still)
    numbers: Numbers = {
        "lag_seconds": lag,
        "lag_is": "none: the source's change token is that of the last sync" if current
        else "at most this, the age of the picture that the table shows",
        "source_stood_still_seconds": still,
        "warn_seconds": freshness.warn.total_seconds(),
        "fail_seconds": freshness.fail.total_seconds(),
        "still_seconds": freshness.still.total_seconds(),
        "source_changed_at": clocks.source_changed_at.isoformat(timespec="seconds"),
        "checked_at": clocks.checked_at.isoformat(timespec="seconds"),
        "published_at": clocks.published_at.isoformat(timespec="seconds"),
    }  # fmt: skip
    return AuditFinding(passed=said is None, severity=severity, numbers=numbers, sample=(said,) if said else ())


def runs_query(live: PublicTable, session: psycopg.Connection) -> str:
    """The query that shows a table's last syncs with what they saw of the source."""
    return sql.SQL(_RUNS).format(sql.Literal(live.schema), sql.Literal(live.name)).as_string(session).strip()


def _judged(freshness: Freshness, lag: float, still: float) -> tuple[Severity, str | None]:
    """The severity, and what is wrong where something is."""
    behind = f"changes of the source of the last {span_in_words(lag)} may be missing"
    if lag > freshness.fail.total_seconds():
        return "ERROR", behind
    if lag > freshness.warn.total_seconds():
        return "WARN", behind
    if still > freshness.still.total_seconds():
        return "WARN", f"the source was looked at and has not changed for {span_in_words(still)}"
    return "ERROR", None


def _seconds(since: datetime, until: datetime) -> float:
    """Never negative: the source has a clock of its own."""
    return round(max(0.0, (until - since).total_seconds()), 1)
