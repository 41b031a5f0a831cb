"""The ledger in schema postgres_sync: whether it is complete, and the user may read and write it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import psycopg

from flux_assets.doctor.finding import Finding, Group
from flux_assets.errors import TargetError
from flux_assets.postgis import bootstrap
from flux_assets.postgis.row_security import hidden
from flux_assets.sqlfiles import query, script

_GROUP = Group("Rights")
_CREATED = re.compile(
    r"^ *CREATE (?:OR REPLACE )?(TABLE|VIEW|FUNCTION) (?:IF NOT EXISTS )?postgres_sync\.(\w+)", re.MULTILINE
)
_BODY = re.compile(r"^CREATE TABLE IF NOT EXISTS postgres_sync\.(\w+) \((.*?)^\);", re.MULTILINE | re.DOTALL)
_ADDED = re.compile(r"^ALTER TABLE postgres_sync\.(\w+)\n(.*?);", re.MULTILINE | re.DOTALL)
_COLUMN, _ADDED_COLUMN = re.compile(r"^    ([a-z]\w*) ", re.MULTILINE), re.compile(r"ADD COLUMN IF NOT EXISTS (\w+)")
_REVISION = "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = 'postgres_sync'"
_RECREATE = (
    "Run COMMENT ON SCHEMA postgres_sync IS NULL as its owner: the next load or sync then creates what is missing,"
    " empty."
    " Or restore both schemas from a backup."
)


def findings(session: psycopg.Connection) -> Iterator[Finding]:
    """Yield what the ledger lacks or the user may not use; nothing for a ledger that the next load upgrades."""
    row = session.execute(_REVISION).fetchone()
    if row is None or not bootstrap.is_current(row[0]):
        return
    if session.execute("SELECT FROM pg_namespace WHERE nspname = 'flux_versions'").fetchone() is None:
        yield _GROUP.failed("schema flux_versions is missing, and with it every version", _RECREATE)
    there = {name for (name,) in session.execute(query("doctor", "ledger_parts"))}
    if gone := [name for name in _parts() if name not in there and name.partition(".")[0] in {name, *there}]:
        remedy = "Restore the schema postgres_sync from a backup." if "." in "".join(gone) else _RECREATE
        yield _GROUP.failed(f"schema postgres_sync lacks {', '.join(gone)}", remedy)
    user = f'"{session.info.user}"'
    for name, rights in session.execute(query("doctor", "ledger_rights_lacking")).fetchall():
        yield _GROUP.failed(
            f"user {user} may not {rights} on postgres_sync.{name}",
            f"Run GRANT {rights} ON postgres_sync.{name} TO {user} as its owner.",
        )
    for (name,) in session.execute(query("doctor", "tables_hiding_rows")).fetchall():
        error = hidden(TargetError, session, name)
        yield _GROUP.failed(error.problem.rstrip("."), error.remedy)
    for (name,) in session.execute(query("doctor", "ledger_functions_refused")).fetchall():
        yield _GROUP.failed(
            f"user {user} may not call {name}", f"Run GRANT EXECUTE ON FUNCTION {name} TO {user} as its owner."
        )


def _parts() -> list[str]:
    """Return tables, views and functions by name, columns of tables as `table.column`."""
    ledger = script("postgis/ledger.sql")
    columns = [f"{table}.{name}" for table, body in _BODY.findall(ledger) for name in _COLUMN.findall(body)]
    columns += [f"{table}.{name}" for table, more in _ADDED.findall(ledger) for name in _ADDED_COLUMN.findall(more)]
    return list(dict.fromkeys([*(name for _, name in _CREATED.findall(ledger)), *columns]))
