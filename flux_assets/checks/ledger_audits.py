"""Audits of what the ledger and the quarantine say of a table: recent_failures and quarantined."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from psycopg import sql

from flux_assets.checks.audit import SAMPLE_KEYS, Audit, AuditFinding, Case
from flux_assets.spec import Declaration, DynamicTable, StaticTable
from flux_assets.sqlfiles import query

_SPAN = timedelta(hours=1)
# A table that is synced twelve times an hour may fail once: the next run puts that right.
_FEWEST = 2
_SHARE = 0.25
# As many in a row, and nothing but failures, is an outage.
_FEWEST_OF_ALL = 3


def audits(table: Declaration) -> Iterator[Audit]:
    """Yield the audits of a table's runs and of its quarantine."""
    claim = f"Of the last hour's runs not more than {_SHARE:.0%} failed (WARN, from {_FEWEST} failures on)"
    outage = f"; nor all (ERROR, from {_FEWEST_OF_ALL} on)" if isinstance(table, DynamicTable) else ""
    yield Audit("recent_failures", "WARN", f"{claim}{outage}.", _recent_failures)
    if isinstance(table, StaticTable):
        complete = "No record of the release file was refused and set aside in postgres_sync.quarantine."
        yield Audit("quarantined", "WARN", complete, _quarantined)


def _recent_failures(case: Case) -> AuditFinding:
    runs, failed, errors = case.connection.execute(_query(case, "count_runs")).fetchone() or (0, 0, [])
    passed = failed < _FEWEST or failed / runs <= _SHARE
    all_failed = failed == runs >= _FEWEST_OF_ALL and isinstance(case.layer.table, DynamicTable)
    last = {"last_error": errors[0].partition(": ")[2]} if errors else {}
    return AuditFinding(
        passed=passed,
        severity="ERROR" if all_failed else "WARN",
        numbers={"runs": runs, "failed": failed, "share_failed": round(failed / max(1, runs), 3), **last},
        sample=() if passed else tuple(f"ledger row {text}" for text in errors),
        sql="" if passed else _query(case, "list_failed_runs").as_string(case.connection),
    )


def _quarantined(case: Case) -> AuditFinding:
    waiting, replayed, sample = case.connection.execute(_query(case, "count_quarantined")).fetchone() or (0, 0, [])
    return AuditFinding(
        passed=not waiting,
        numbers={"quarantined": waiting, "replayed": replayed},
        sample=tuple(sample),
        sql=_query(case, "list_quarantined").as_string(case.connection) if waiting else "",
    )


def _query(case: Case, name: str) -> sql.Composed:
    return query("ledger_audits", name).format(
        schema=sql.Literal(case.layer.schema),
        name=sql.Literal(case.layer.name),
        span=sql.Literal(_SPAN),
        limit=sql.Literal(SAMPLE_KEYS),
    )
