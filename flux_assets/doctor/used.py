"""Rights on what tables use: tables that columns are computed from or keys point at, functions, sequences, types."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import psycopg

from flux_assets.doctor.finding import Finding, Group
from flux_assets.errors import SyncError
from flux_assets.postgis.row_security import hidden, hides_rows
from flux_assets.spec import DynamicTable, StaticTable
from flux_assets.sqlfiles import query

_GROUP = Group("Rights")


def findings(
    session: psycopg.Connection, schema: str, static: Sequence[StaticTable], dynamic: Sequence[DynamicTable]
) -> Iterator[Finding]:
    """Yield every missing right on what the tables use, with the GRANT that gives it."""
    user = f'"{session.info.user}"'
    names = [table.name for table in (*static, *dynamic)]
    for right, what, table in session.execute(
        query("doctor", "rights_on_used_objects"), {"schema": schema, "names": names}
    ).fetchall():
        yield _GROUP.failed(
            f"user {user} lacks {right} on {what.lower().split()[0]} {what.partition(' ')[2]}, which {table} uses",
            f"Run GRANT {right} ON {what} TO {user} as its owner.",
        )
    for table in dynamic:
        for name in sorted({derived.from_table for derived in table.derived} - {each.name for each in dynamic}):
            yield from _origin(session, schema, name, table)


def _origin(session: psycopg.Connection, schema: str, name: str, table: DynamicTable) -> Iterator[Finding]:
    row = session.execute(query("doctor", "table_by_name"), [schema, name]).fetchone()
    if row is None:
        return
    oid, may_read, owner = row
    user = f'"{session.info.user}"'
    if not may_read:
        yield _GROUP.failed(
            f"user {user} may not read {schema}.{name} of {owner}, which columns of {table.name} are computed from",
            f"Run GRANT SELECT ON {schema}.{name} TO {user} as its owner.",
        )
    elif hides_rows(session, oid):
        error = hidden(SyncError, session, f"{schema}.{name}")
        yield _GROUP.failed(f"{error.problem.rstrip('.')}; columns of {table.name} are computed from it", error.remedy)
