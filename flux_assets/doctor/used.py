"""What the tables of layers and syncs use that belongs to others, and whether we may use it.

Here: tables that columns are computed from or keys point at, functions, sequences and types. Not here: the tables
themselves (rights.py, layers.py, live_tables.py), and what functions of triggers do when they run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import psycopg

from flux_assets.doctor.finding import Finding, Group
from flux_assets.errors import SyncError
from flux_assets.postgis.row_security import hidden, hides_rows
from flux_assets.spec import DynamicTable, StaticTable

_GROUP = Group("Rights")
# Constraints, defaults, generated columns and indexes run functions and take numbers as whoever writes the row.
_USED = """
WITH ours AS (
    SELECT c.oid, c.oid::regclass::text AS name FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = %(schema)s AND c.relname = ANY (%(names)s) AND c.relkind IN ('r', 'p')
), makers AS (
    SELECT 'pg_constraint'::regclass AS classid, k.oid, ours.name
    FROM pg_constraint AS k JOIN ours ON conrelid = ours.oid
    UNION ALL SELECT 'pg_attrdef'::regclass, d.oid, ours.name FROM pg_attrdef AS d JOIN ours ON adrelid = ours.oid
    UNION ALL SELECT 'pg_class'::regclass, indexrelid, ours.name FROM pg_index JOIN ours ON indrelid = ours.oid
)
SELECT DISTINCT 'EXECUTE', 'FUNCTION ' || p.oid::regprocedure, makers.name
FROM makers JOIN pg_depend AS d ON (d.classid, d.objid) = (makers.classid, makers.oid)
JOIN pg_proc AS p ON d.refclassid = 'pg_proc'::regclass AND p.oid = d.refobjid
WHERE NOT has_function_privilege(p.oid, 'EXECUTE')
UNION SELECT 'USAGE', 'SEQUENCE ' || s.oid::regclass, makers.name
FROM makers JOIN pg_depend AS d ON (d.classid, d.objid) = (makers.classid, makers.oid)
JOIN pg_class AS s ON d.refclassid = 'pg_class'::regclass AND s.oid = d.refobjid
WHERE CASE WHEN s.relkind = 'S' THEN NOT has_sequence_privilege(s.oid, 'USAGE') END
UNION SELECT 'USAGE', 'TYPE ' || t.oid::regtype, ours.name
FROM ours JOIN pg_attribute AS a ON a.attrelid = ours.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type AS t ON t.oid = a.atttypid WHERE NOT has_type_privilege(t.oid, 'USAGE')
UNION SELECT 'REFERENCES', 'TABLE ' || k.confrelid::regclass, ours.name
FROM pg_constraint AS k JOIN ours ON k.conrelid = ours.oid
WHERE k.contype = 'f' AND NOT has_table_privilege(k.confrelid, 'REFERENCES')
UNION SELECT 'USAGE', 'SCHEMA ' || n.nspname, ours.name
FROM pg_constraint AS k JOIN ours ON k.conrelid = ours.oid JOIN pg_class AS c ON c.oid = k.confrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE k.contype = 'f' AND NOT has_schema_privilege(n.oid, 'USAGE')
ORDER BY 2, 3
"""
_ORIGIN = """
SELECT c.oid, has_table_privilege(c.oid, 'SELECT'), pg_get_userbyid(c.relowner)
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s
"""


def findings(
    session: psycopg.Connection, schema: str, static: Sequence[StaticTable], dynamic: Sequence[DynamicTable]
) -> Iterator[Finding]:
    """Every right on what is used that is missing, with the GRANT that gives it."""
    user = f'"{session.info.user}"'
    names = [table.name for table in (*static, *dynamic)]
    for right, what, table in session.execute(_USED, {"schema": schema, "names": names}).fetchall():
        yield _GROUP.failed(
            f"user {user} lacks {right} on {what.lower().split()[0]} {what.partition(' ')[2]}, which {table} uses",
            f"Run GRANT {right} ON {what} TO {user} as its owner.",
        )
    for table in dynamic:
        for name in sorted({derived.from_table for derived in table.derived} - {each.name for each in dynamic}):
            yield from _origin(session, schema, name, table)


def _origin(session: psycopg.Connection, schema: str, name: str, table: DynamicTable) -> Iterator[Finding]:
    row = session.execute(_ORIGIN, [schema, name]).fetchone()
    if row is None:
        return
    oid, may_read, owner = row
    user = f'"{session.info.user}"'
    if not may_read:
        yield _GROUP.failed(
            f"user {user} may not read {schema}.{name} of {owner}, from which columns of {table.name} are computed",
            f"Run GRANT SELECT ON {schema}.{name} TO {user} as its owner.",
        )
    elif hides_rows(session, oid):
        error = hidden(SyncError, session, f"{schema}.{name}")
        yield _GROUP.failed(f"{error.problem.rstrip('.')}; columns of {table.name} are computed from it", error.remedy)
