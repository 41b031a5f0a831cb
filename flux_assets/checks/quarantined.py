"""The audit of what a layer lacks: WARN, records of its file are in quarantine.

Here: counting them for the version that readers see, with lines and reasons. Not here: other audits (audits.py), and
the records (quarantine.py).
"""

from __future__ import annotations

from collections.abc import Iterator

from psycopg import sql

from flux_assets.checks.audit import SAMPLE_KEYS, Audit, AuditFinding, Case
from flux_assets.spec import Declaration, StaticTable

QUARANTINED = "quarantined"
_WAITING = """
FROM postgres_sync.quarantine AS held JOIN postgres_sync.layer_versions AS live USING (schema_name, layer_name, lease)
WHERE live.current AND schema_name = {schema} AND layer_name = {name}
"""
_COUNTED = """
SELECT count(*) FILTER (WHERE replayed_at IS NULL), count(replayed_at),
       coalesce((array_agg(format('%s, line %s%s: %s', file, line, ', column ' || column_name, reason)
                           ORDER BY record) FILTER (WHERE replayed_at IS NULL))[:{limit}], '{{}}')
"""
_LISTED = "SELECT file, line, column_name, reason, raw_record"


def audits(table: Declaration) -> Iterator[Audit]:
    """The audit of a layer's quarantine."""
    if isinstance(table, StaticTable):
        yield Audit(
            name=QUARANTINED,
            severity="WARN",
            description="No record of the release file was refused and set aside in postgres_sync.quarantine.",
            judge=_quarantined,
        )


def _quarantined(case: Case) -> AuditFinding:
    row = case.connection.execute(_query(case, _COUNTED + _WAITING)).fetchone()
    waiting, replayed, sample = row or (0, 0, [])
    listed = _query(case, f"{_LISTED}{_WAITING.rstrip()} AND replayed_at IS NULL ORDER BY record")
    return AuditFinding(
        passed=not waiting,
        numbers={"quarantined": waiting, "replayed": replayed},
        sample=tuple(sample),
        sql=listed.as_string(case.connection) if waiting else "",
    )


def _query(case: Case, text: str) -> sql.Composed:
    return sql.SQL(text).format(
        schema=sql.Literal(case.layer.schema), name=sql.Literal(case.layer.name), limit=sql.Literal(SAMPLE_KEYS)
    )
