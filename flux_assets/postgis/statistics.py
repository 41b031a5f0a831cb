"""The planner's statistics: of a version before it is published, and of the public table above it afterwards.

Planning a scan reads the version's statistics; joins, groups and ST_EstimatedExtent read the public table's.
"""

from __future__ import annotations

from collections.abc import Mapping

import psycopg
from psycopg import sql

from flux_assets.postgis.batch import run
from flux_assets.postgis.names import own_rows, version_table
from flux_assets.sqlfiles import query

LOCK_TIMEOUT = "10s"  # for somebody else's maintenance of the same table
_LIMIT_WAIT = sql.SQL(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
_HAS_ONLY = 180000


def analyze(session: psycopg.Connection, table: sql.Composable) -> None:
    """Collect the statistics of a table; of a public table those of its version as well.

    Gives up with LockNotAvailable when somebody else's maintenance holds the table for LOCK_TIMEOUT.
    """
    run(session, [_LIMIT_WAIT, sql.SQL("ANALYZE {}").format(table)])


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
    prepared = [_LIMIT_WAIT, query("statistics", "smaller_sample")]
    if session.info.server_version >= _HAS_ONLY:
        run(session, [*prepared, sql.SQL("ANALYZE ONLY {}").format(public)])
        return
    version = version_table(relation)
    targets: dict[str, int] = dict(
        session.execute(query("statistics", "targets"), [version.as_string(session)]).fetchall()
    )
    analyze_alone = [
        _with_targets(version, dict.fromkeys(targets, 0)),
        sql.SQL("ANALYZE {}").format(public),
        _with_targets(version, targets),
    ]
    run(session, [*prepared, *analyze_alone])


def _with_targets(table: sql.Identifier, targets: Mapping[str, int]) -> sql.Composed:
    change = sql.SQL("ALTER COLUMN {} SET STATISTICS {}")
    changes = [change.format(sql.Identifier(name), sql.Literal(target)) for name, target in targets.items()]
    return sql.SQL("ALTER TABLE {} {}").format(table, sql.SQL(", ").join(changes))
