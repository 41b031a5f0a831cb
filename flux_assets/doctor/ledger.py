"""The ledger in schema postgres_sync: whether all of it is there, and ours to read and write.

Here: its tables, columns, views and functions, against the script that makes them. Not here: what it says (status.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import psycopg

from flux_assets.doctor.finding import Finding, Group
from flux_assets.errors import TargetError
from flux_assets.postgis import bootstrap
from flux_assets.postgis.row_security import hidden
from flux_assets.sqlfiles import script

_GROUP = Group("Rights")
_MADE = re.compile(
    r"^ *CREATE (?:OR REPLACE )?(TABLE|VIEW|FUNCTION) (?:IF NOT EXISTS )?postgres_sync\.(\w+)", re.MULTILINE
)
_BODY = re.compile(r"^CREATE TABLE IF NOT EXISTS postgres_sync\.(\w+) \((.*?)^\);", re.MULTILINE | re.DOTALL)
_ADDED = re.compile(r"^ALTER TABLE postgres_sync\.(\w+)\n(.*?);", re.MULTILINE | re.DOTALL)
_COLUMN, _ADDED_COLUMN = re.compile(r"^    ([a-z]\w*) ", re.MULTILINE), re.compile(r"ADD COLUMN IF NOT EXISTS (\w+)")
_REVISION = "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = 'postgres_sync'"
_THERE = """
SELECT relname::text FROM pg_class WHERE relnamespace = 'postgres_sync'::regnamespace AND relkind IN ('r', 'v')
UNION ALL SELECT proname::text FROM pg_proc WHERE pronamespace = 'postgres_sync'::regnamespace
UNION ALL SELECT relname || '.' || attname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
WHERE relnamespace = 'postgres_sync'::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped
"""
_REFUSED = """
SELECT relname::text, string_agg(wanted, ', ' ORDER BY wanted)
FROM pg_class AS c, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS wanted
WHERE relnamespace = 'postgres_sync'::regnamespace AND (relkind = 'r' OR relkind = 'v' AND wanted = 'SELECT')
  AND NOT has_table_privilege(c.oid, wanted) GROUP BY 1 ORDER BY 1
"""
_HIDING = """
SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND row_security_active(oid)
AND relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname IN ('postgres_sync', 'flux_versions')) ORDER BY 1
"""
_UNCALLABLE = """
SELECT oid::regprocedure::text FROM pg_proc
WHERE pronamespace = 'postgres_sync'::regnamespace AND NOT has_function_privilege(oid, 'EXECUTE') ORDER BY 1
"""
_MADE_AGAIN = (
    "Run COMMENT ON SCHEMA postgres_sync IS NULL as its owner: the next load or sync then makes what is missing, empty."
    " Or restore both schemas from a backup."
)


def findings(session: psycopg.Connection) -> Iterator[Finding]:
    """What of the ledger is missing or refused to us; nothing of a ledger that the next load brings up to date."""
    row = session.execute(_REVISION).fetchone()
    if row is None or not bootstrap.is_current(row[0]):
        return
    if session.execute("SELECT FROM pg_namespace WHERE nspname = 'flux_versions'").fetchone() is None:
        yield _GROUP.failed("schema flux_versions is gone, and with it every version", _MADE_AGAIN)
    there = {name for (name,) in session.execute(_THERE)}
    if gone := [name for name in _parts() if name not in there and name.partition(".")[0] in {name, *there}]:
        remedy = "Restore the schema postgres_sync from a backup." if "." in "".join(gone) else _MADE_AGAIN
        yield _GROUP.failed(f"schema postgres_sync lacks {', '.join(gone)}", remedy)
    user = f'"{session.info.user}"'
    for name, rights in session.execute(_REFUSED).fetchall():
        yield _GROUP.failed(
            f"user {user} may not {rights} on postgres_sync.{name}",
            f"Run GRANT {rights} ON postgres_sync.{name} TO {user} as its owner.",
        )
    for (name,) in session.execute(_HIDING).fetchall():
        error = hidden(TargetError, session, name)
        yield _GROUP.failed(error.problem.rstrip("."), error.remedy)
    for (name,) in session.execute(_UNCALLABLE).fetchall():
        yield _GROUP.failed(
            f"user {user} may not call {name}", f"Run GRANT EXECUTE ON FUNCTION {name} TO {user} as its owner."
        )


def _parts() -> list[str]:
    """Tables, views and functions by name, columns of tables as `table.column`."""
    made = script("postgis/ledger.sql")
    columns = [f"{table}.{name}" for table, body in _BODY.findall(made) for name in _COLUMN.findall(body)]
    columns += [f"{table}.{name}" for table, more in _ADDED.findall(made) for name in _ADDED_COLUMN.findall(more)]
    return list(dict.fromkeys([*(name for _, name in _MADE.findall(made)), *columns]))
