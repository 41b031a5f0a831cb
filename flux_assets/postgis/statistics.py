"""The planner's statistics: of a version before it is published, of the public table above it afterwards.

Here: ANALYZE, once for each of the two. Planning a scan reads the version's statistics; joins, groups and
ST_EstimatedExtent read the public table's. Not here: what is analyzed when (loading/candidate.py, load.py,
rollback.py).
"""

from __future__ import annotations

from collections.abc import Mapping

import psycopg
from psycopg import sql

from flux_assets.postgis.names import own_rows, version_table

PATIENCE = "10s"  # for somebody else's maintenance of the same table
# Of the usual sample, for the public table: its columns are those of the version, which has had the whole sample.
_SMALLER = (
    "SELECT set_config('default_statistics_target',"
    " greatest(1, current_setting('default_statistics_target')::int * 3 / 10)::text, true)"
)
_TARGETS = """
SELECT attname::text, coalesce(attstattarget, -1) FROM pg_attribute
WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped
"""
_HAS_ONLY = 180000


def analyze(session: psycopg.Connection, table: sql.Composable) -> None:
    """Collect the statistics of a table; of a public table those of its version as well.

    Gives up with LockNotAvailable when somebody else's maintenance holds the table for PATIENCE.
    """
    with session.transaction():
        _patiently(session)
        session.execute(sql.SQL("ANALYZE {}").format(table))


def analyze_own_rows(session: psycopg.Connection, table: sql.Identifier) -> None:
    """Collect the statistics of a table that others may inherit from, without reading what inherits where possible.

    Before PostgreSQL 18 a sample of those tables is read as well; they are not written to, or locked against writing.
    """
    analyze(session, own_rows(table) if session.info.server_version >= _HAS_ONLY else table)


def analyze_public(session: psycopg.Connection, public: sql.Identifier, relation: str) -> None:
    """Collect the statistics of a public table whose version has been analyzed, without reading that twice.

    Before PostgreSQL 18, ANALYZE of a partitioned table cannot be told to leave its partition out, but a column whose
    target is 0 keeps the statistics that it has. The targets are put back in the same transaction, so that nothing of
    this is ever left behind; like ANALYZE itself it locks out no reader and no writer.
    """
    with session.transaction():
        _patiently(session)
        session.execute(_SMALLER)
        if session.info.server_version >= _HAS_ONLY:
            session.execute(sql.SQL("ANALYZE ONLY {}").format(public))
            return
        version = version_table(relation)
        targets: dict[str, int] = dict(session.execute(_TARGETS, [version.as_string(session)]).fetchall())
        session.execute(_with_targets(version, dict.fromkeys(targets, 0)))
        session.execute(sql.SQL("ANALYZE {}").format(public))
        session.execute(_with_targets(version, targets))


def _patiently(session: psycopg.Connection) -> None:
    session.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(PATIENCE)))


def _with_targets(table: sql.Identifier, targets: Mapping[str, int]) -> sql.Composed:
    change = sql.SQL("ALTER COLUMN {} SET STATISTICS {}")
    changes = [change.format(sql.Identifier(name), sql.Literal(target)) for name, target in targets.items()]
    return sql.SQL("ALTER TABLE {} {}").format(table, sql.SQL(", ").join(changes))
