"""Whether the last hour's loads or syncs of a table went well: the check recent_failures.

Here: the share of failures among the ledger's rows of the last hour. Not here: the table's rows, which may be right
although the last runs failed, and why a run failed beyond its first line (the ledger has all of it).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from psycopg import sql

from flux_assets.checks.audit import SAMPLE_KEYS, Audit, AuditFinding, Case
from flux_assets.spec import Declaration, DynamicTable

SPAN = timedelta(hours=1)
# One failure that the next run puts right is not worth a look, of a table that is synced twelve times an hour.
FEWEST = 2
SHARE = 0.25
# As many in a row, and nothing but failures, is an outage.
FEWEST_OF_ALL = 3
_FAILED = """
SELECT sync_id, started_at, error_message, run_id FROM postgres_sync.sync_status
WHERE schema_name = {schema} AND layer_name = {name} AND started_at > clock_timestamp() - {span}
  AND status = 'FAILED' AND sync_type NOT IN ('ROLLBACK', 'REPLAY') ORDER BY started_at DESC
"""
# Ordered by time of the start; a rollback or replay that was refused says nothing about the table.
_JUDGED = """
SELECT count(*), count(*) FILTER (WHERE status = 'FAILED'),
       coalesce((array_agg(sync_id || ': ' || split_part(coalesce(error_message, 'no message'), E'\\n', 1)
                           ORDER BY started_at DESC) FILTER (WHERE status = 'FAILED'))[:{limit}], '{{}}')
FROM postgres_sync.sync_status
WHERE schema_name = {schema} AND layer_name = {name} AND started_at > clock_timestamp() - {span}
  AND status IN ('SUCCESS', 'FAILED') AND sync_type NOT IN ('ROLLBACK', 'REPLAY')
"""


def audits(table: Declaration) -> Iterator[Audit]:
    """The audit of a table's own runs."""
    claim = f"Of the last hour's runs not more than {SHARE:.0%} failed (WARN, from {FEWEST} failures on)"
    grave = f"; nor all (ERROR, from {FEWEST_OF_ALL} on)" if isinstance(table, DynamicTable) else ""
    yield Audit(
        name="recent_failures",
        severity="WARN",
        description=f"{claim}{grave}.",
        judge=_recent_failures,
    )


def _recent_failures(case: Case) -> AuditFinding:
    runs, failed, said = _counted(case)
    passed = failed < FEWEST or failed / runs <= SHARE
    all_failed = failed == runs >= FEWEST_OF_ALL and isinstance(case.layer.table, DynamicTable)
    last = {"last_error": said[0].partition(": ")[2]} if said else {}
    return AuditFinding(
        passed=passed,
        severity="ERROR" if all_failed else "WARN",
        numbers={"runs": runs, "failed": failed, "share_failed": round(failed / max(1, runs), 3), **last},
        sample=() if passed else tuple(f"ledger row {text}" for text in said),
        sql="" if passed else _query(case, _FAILED).as_string(case.connection).strip(),
    )


def _counted(case: Case) -> tuple[int, int, list[str]]:
    row = case.connection.execute(_query(case, _JUDGED)).fetchone()
    return (row[0], row[1], row[2]) if row else (0, 0, [])


def _query(case: Case, text: str) -> sql.Composed:
    return sql.SQL(text).format(
        schema=sql.Literal(case.layer.schema), name=sql.Literal(case.layer.name), span=sql.Literal(SPAN),
        limit=sql.Literal(SAMPLE_KEYS),
    )  # fmt: skip
