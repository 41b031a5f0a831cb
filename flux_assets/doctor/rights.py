"""The rights that a load or sync needs, each with the GRANT that gives it, and rights that others have too many."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence

import psycopg
from psycopg import sql

from flux_assets.doctor.finding import Finding, Group
from flux_assets.errors import SyncError, TargetError, reported
from flux_assets.ledger import status
from flux_assets.postgis.catalog import hidden, hides_rows
from flux_assets.postgis.session import is_current
from flux_assets.spec import DynamicTable, StaticTable
from flux_assets.sqlfiles import query, script

_RIGHTS = Group("Rights")
_MAY_CREATE = "SELECT has_schema_privilege(%s, 'CREATE') AND has_schema_privilege(%s, 'USAGE')"


def findings(session: psycopg.Connection, schema: str, tables: Sequence[StaticTable]) -> Iterator[Finding]:
    """Yield the rights of the session's user, and of others on the schema of versions."""
    if session.execute("SELECT FROM pg_namespace WHERE nspname = %s", [schema]).fetchone() is None:
        yield _RIGHTS.failed(
            f"schema {schema} does not exist",
            f"Run CREATE SCHEMA {schema}, or set FLUX_POSTGRES_SCHEMA to an existing schema.",
        )
        return
    prepared = status.is_prepared(session)
    yield from _allowed(session, schema, prepared=prepared)
    yield from _owned(session, schema, [table.name for table in tables])
    if session.execute(_MAY_CREATE, [schema, schema]).fetchone() == (True,):
        yield _tried(session, schema)
    if prepared:
        yield from _ledger_schema(session)
        yield from _unreadable(session)
        yield _tried(session, "flux_versions")
        yield from _granted(session)
        yield from _other_roles(session)


def _allowed(session: psycopg.Connection, schema: str, *, prepared: bool) -> Iterator[Finding]:
    user = f'"{session.info.user}"'
    row = session.execute(query("doctor", "rights_on_schemas"), [schema, schema]).fetchone() or [False] * 5
    on_database, temporary, create, usage, sees_others = row
    if prepared:
        yield _RIGHTS.ok("the schemas postgres_sync and flux_versions exist")
    elif on_database:
        yield _RIGHTS.ok("the first load can create the schemas postgres_sync and flux_versions")
    else:
        yield _RIGHTS.failed(
            f"user {user} may not create the schemas postgres_sync and flux_versions",
            f'Run GRANT CREATE ON DATABASE "{session.info.dbname}" TO {user} as the database\'s owner.',
        )
    if temporary:
        yield _RIGHTS.ok("temporary tables can be created, which syncs and comparisons need")
    else:
        yield _RIGHTS.failed(
            f"user {user} may not create temporary tables, which syncs and comparisons need",
            f'Run GRANT TEMPORARY ON DATABASE "{session.info.dbname}" TO {user} as the database\'s owner.',
        )
    if create and usage:
        yield _RIGHTS.ok(f"tables can be created in schema {schema}")
    else:
        yield _RIGHTS.failed(
            f"user {user} may not create tables in schema {schema}",
            f"Run GRANT USAGE, CREATE ON SCHEMA {schema} TO {user} as the schema's owner.",
        )
    if sees_others:
        yield _RIGHTS.ok("a publish that has to wait can name what it waits for")
    else:
        yield _RIGHTS.warning(
            "a publish that has to wait cannot name what it waits for, and a load cannot tell whether another one"
            " is alive",
            f"Run GRANT pg_read_all_stats TO {user} as a superuser.",
        )


def _owned(session: psycopg.Connection, schema: str, names: list[str]) -> Iterator[Finding]:
    foreign = session.execute(query("doctor", "tables_of_others"), [schema, names]).fetchall()
    for name, owner in foreign:
        yield _RIGHTS.failed(
            f"{name} belongs to {owner}, and only its owner can publish into it, take it over or change it",
            f'Run ALTER TABLE {name} OWNER TO "{session.info.user}", or GRANT "{owner}" TO "{session.info.user}".',
        )
    if not foreign:
        yield _RIGHTS.ok("this user owns every table of the layers, of the ledger and of the versions")


def _ledger_schema(session: psycopg.Connection) -> Iterator[Finding]:
    row = session.execute("SELECT has_schema_privilege('postgres_sync', 'USAGE')").fetchone()
    if row and not row[0]:
        user = f'"{session.info.user}"'
        yield _RIGHTS.failed(
            f"user {user} may not use schema postgres_sync, which holds ledger and register",
            f"Run GRANT USAGE, CREATE ON SCHEMA postgres_sync TO {user} as its owner.",
        )


def _unreadable(session: psycopg.Connection) -> Iterator[Finding]:
    """Yield versions that the user may not read or fill: an owner may have lost rights on its tables."""
    if names := [name for (name,) in session.execute(query("doctor", "unreadable_versions"))]:
        user = f'"{session.info.user}"'
        yield _RIGHTS.failed(
            f"user {user} may not read or fill {', '.join(names)}",
            f"Run GRANT ALL ON ALL TABLES IN SCHEMA flux_versions TO {user} as their owner.",
        )


def _tried(session: psycopg.Connection, schema: str) -> Finding:
    """Return whether a table can be created: an event trigger or a quota may refuse it in spite of all rights."""
    table = sql.Identifier(schema, f"flux_doctor_{os.getpid()}")
    try:
        with session.transaction(force_rollback=True):
            session.execute(query("doctor", "try_table").format(table))
    except psycopg.Error as error:
        refusal = reported(error.diag.message_primary or error)
        return _RIGHTS.failed(
            f"a table could not be created and dropped in schema {schema}: {refusal}",
            f'Run GRANT USAGE, CREATE ON SCHEMA {schema} TO "{session.info.user}" as its owner'
            + ("." if error.sqlstate == "42501" else ", or remove the event trigger or limit that refuses it."),
        )
    return _RIGHTS.ok(f"a table was created and dropped in schema {schema}")


def _granted(session: psycopg.Connection) -> Iterator[Finding]:
    """Yield rights granted on the tables themselves, mostly by default privileges."""
    for schema, role, is_quarantine, count in session.execute(query("doctor", "grants_on_versions")).fetchall():
        if is_quarantine:
            yield _RIGHTS.warning(
                f"{role} has rights on postgres_sync.quarantine, which holds unchecked records of releases",
                f"Run REVOKE ALL ON postgres_sync.quarantine FROM {role}; unless that is intended.",
            )
            continue
        yield _RIGHTS.warning(
            f"{role} has rights on {count} {'version' if count == 1 else 'versions'} in {schema}: map tools list"
            " those layers twice for it, and policies of the public tables do not apply there",
            f"Run REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {role}; reading layers takes the public"
            " tables only, and nothing is granted on later versions.",
        )
    if readers := [f'"{name}"' for (name,) in session.execute(query("doctor", "roles_reading_all"))]:
        yield _RIGHTS.note(
            f"{', '.join(readers)} may read every table (pg_read_all_data), so map tools list layers twice for"
            " them, with"
            " their versions",
            "Grant SELECT on the public tables instead of pg_read_all_data where that is not wanted.",
        )


def _other_roles(session: psycopg.Connection) -> Iterator[Finding]:
    public = session.execute(query("doctor", "versions_granted_to_public")).fetchone()
    roles = (
        ["PUBLIC"]
        if public and public[0]
        else [f'"{name}"' for (name,) in session.execute(query("doctor", "roles_on_versions"))]
    )
    if roles:
        named = ", ".join(roles)
        yield _RIGHTS.warning(
            f"map tools will list layers twice, with their versions, for {named}",
            f"Run REVOKE ALL ON SCHEMA flux_versions FROM {named}; reading layers takes the public tables only.",
        )
    else:
        yield _RIGHTS.ok("nobody else has a right on schema flux_versions, so map tools list each layer once")


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


def ledger(session: psycopg.Connection) -> Iterator[Finding]:
    """Yield what the ledger lacks or the user may not use; nothing for a ledger that the next load upgrades."""
    row = session.execute(_REVISION).fetchone()
    if row is None or not is_current(row[0]):
        return
    if session.execute("SELECT FROM pg_namespace WHERE nspname = 'flux_versions'").fetchone() is None:
        yield _RIGHTS.failed("schema flux_versions is missing, and with it every version", _RECREATE)
    there = {name for (name,) in session.execute(query("doctor", "ledger_parts"))}
    if gone := [name for name in _parts() if name not in there and name.partition(".")[0] in {name, *there}]:
        remedy = "Restore the schema postgres_sync from a backup." if "." in "".join(gone) else _RECREATE
        yield _RIGHTS.failed(f"schema postgres_sync lacks {', '.join(gone)}", remedy)
    user = f'"{session.info.user}"'
    for name, rights in session.execute(query("doctor", "ledger_rights_lacking")).fetchall():
        yield _RIGHTS.failed(
            f"user {user} may not {rights} on postgres_sync.{name}",
            f"Run GRANT {rights} ON postgres_sync.{name} TO {user} as its owner.",
        )
    for (name,) in session.execute(query("doctor", "tables_hiding_rows")).fetchall():
        error = hidden(TargetError, session, name)
        yield _RIGHTS.failed(error.problem.rstrip("."), error.remedy)
    for (name,) in session.execute(query("doctor", "ledger_functions_refused")).fetchall():
        yield _RIGHTS.failed(
            f"user {user} may not call {name}", f"Run GRANT EXECUTE ON FUNCTION {name} TO {user} as its owner."
        )


def _parts() -> list[str]:
    """Return tables, views and functions by name, columns of tables as `table.column`."""
    ledger = script("postgis/ledger.sql")
    columns = [f"{table}.{name}" for table, body in _BODY.findall(ledger) for name in _COLUMN.findall(body)]
    columns += [f"{table}.{name}" for table, more in _ADDED.findall(ledger) for name in _ADDED_COLUMN.findall(more)]
    return list(dict.fromkeys([*(name for _, name in _CREATED.findall(ledger)), *columns]))


def used(
    session: psycopg.Connection, schema: str, static: Sequence[StaticTable], dynamic: Sequence[DynamicTable]
) -> Iterator[Finding]:
    """Yield every missing right on what the tables use, with the GRANT that gives it."""
    user = f'"{session.info.user}"'
    names = [table.name for table in (*static, *dynamic)]
    for right, what, table in session.execute(
        query("doctor", "rights_on_used_objects"), {"schema": schema, "names": names}
    ).fetchall():
        yield _RIGHTS.failed(
            f"user {user} lacks {right} on {what.lower().split()[0]} {what.partition(' ')[2]}, which {table} uses",
            f"Run GRANT {right} ON {what} TO {user} as its owner.",
        )
    for table in dynamic:
        for name in sorted({derived.from_table for derived in table.derived} - {each.name for each in dynamic}):
            yield from _used_origin(session, schema, name, table)


def _used_origin(session: psycopg.Connection, schema: str, name: str, table: DynamicTable) -> Iterator[Finding]:
    row = session.execute(query("doctor", "table_by_name"), [schema, name]).fetchone()
    if row is None:
        return
    oid, may_read, owner = row
    user = f'"{session.info.user}"'
    if not may_read:
        yield _RIGHTS.failed(
            f"user {user} may not read {schema}.{name} of {owner}, which columns of {table.name} are computed from",
            f"Run GRANT SELECT ON {schema}.{name} TO {user} as its owner.",
        )
    elif hides_rows(session, oid):
        error = hidden(SyncError, session, f"{schema}.{name}")
        yield _RIGHTS.failed(f"{error.problem.rstrip('.')}; columns of {table.name} are computed from it", error.remedy)
