"""The rights that a load or sync needs, each with the GRANT that gives it, and rights that others have too many."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence

import psycopg
from psycopg import sql

from flux_assets.doctor.finding import Finding, Group, examined
from flux_assets.errors import SyncError, TargetError, reported
from flux_assets.ledger.status import TableStatus
from flux_assets.postgis.catalog import Relation, hidden
from flux_assets.postgis.session import is_current
from flux_assets.spec import DynamicTable, StaticTable
from flux_assets.sqlfiles import query, script

_RIGHTS = Group("Rights")
_CREATED = re.compile(
    r"^ *CREATE (?:OR REPLACE )?(TABLE|VIEW|FUNCTION) (?:IF NOT EXISTS )?postgres_sync\.(\w+)", re.MULTILINE
)
_BODY = re.compile(r"^CREATE TABLE IF NOT EXISTS postgres_sync\.(\w+) \((.*?)^\);", re.MULTILINE | re.DOTALL)
_ADDED = re.compile(r"^ALTER TABLE postgres_sync\.(\w+)\n(.*?);", re.MULTILINE | re.DOTALL)
_COLUMN, _ADDED_COLUMN = re.compile(r"^    ([a-z]\w*) ", re.MULTILINE), re.compile(r"ADD COLUMN IF NOT EXISTS (\w+)")
_RECREATE = (
    "Run COMMENT ON SCHEMA postgres_sync IS NULL as its owner: the next load or sync then creates what is missing,"
    " empty. Or restore both schemas from a backup."
)


def _lacks(user: str, problem: str, grant: str, granted_by: str = "its owner") -> Finding:
    return _RIGHTS.failed(f"user {user} {problem}", f"Run GRANT {grant} TO {user} as {granted_by}.")


def findings(
    session: psycopg.Connection, schema: str, static: Sequence[StaticTable], dynamic: Sequence[DynamicTable]
) -> Iterator[Finding]:
    """Yield the rights of the session's user on schemas, ledger and what the tables use, and of others on versions."""
    yield from examined(
        _on_tables(session, schema, static), _on_ledger(session), _on_used(session, schema, static, dynamic)
    )


def _on_tables(session: psycopg.Connection, schema: str, tables: Sequence[StaticTable]) -> Iterator[Finding]:
    if session.execute("SELECT FROM pg_namespace WHERE nspname = %s", [schema]).fetchone() is None:
        yield _RIGHTS.failed(
            f"schema {schema} does not exist",
            f"Run CREATE SCHEMA {schema}, or set FLUX_POSTGRES_SCHEMA to an existing schema.",
        )
        return
    user, is_prepared = f'"{session.info.user}"', TableStatus.is_prepared(session)
    row = session.execute(query("doctor", "rights_on_schemas"), [schema, schema]).fetchone() or [False] * 5
    yield from _on_schemas(session, schema, row, is_prepared=is_prepared)
    names = [table.name for table in tables]
    foreign = session.execute(query("doctor", "tables_of_others"), [schema, names]).fetchall()
    for owner, theirs in foreign:
        each = f"ALTER TABLE {theirs[0]} OWNER TO {user}"
        ways = [each, f'GRANT "{owner}" TO {user}']
        if len(theirs) > 1:
            ways = [ways[1], f"{each}, and likewise for the others"]
        yield _RIGHTS.failed(
            f"{', '.join(theirs)} {'belongs' if len(theirs) == 1 else 'belong'} to {owner}, and only the owner can"
            " publish into a table, take it over or change it",
            f"Run {', or '.join(ways)}.",
        )
    if not foreign:
        yield _RIGHTS.ok("this user owns every table of the layers, of the ledger and of the versions")
    *_, create, usage, _ = row
    if create and usage:
        yield _tried(session, schema)
    if is_prepared:
        yield from _of_versions(session, user)


def _on_schemas(
    session: psycopg.Connection, schema: str, rights: Sequence[bool], *, is_prepared: bool
) -> Iterator[Finding]:
    user, database = f'"{session.info.user}"', f'"{session.info.dbname}"'
    on_database, temporary, create, usage, sees_others = rights
    both, owner = "the schemas postgres_sync and flux_versions", "the database's owner"
    exist = f"{both} exist" if is_prepared else f"the first load can create {both}"
    lacks = _lacks(user, f"may not create {both}", f"CREATE ON DATABASE {database}", owner)
    yield _RIGHTS.ok(exist) if is_prepared or on_database else lacks
    needed = ", which syncs and comparisons need"
    lacks = _lacks(user, f"may not create temporary tables{needed}", f"TEMPORARY ON DATABASE {database}", owner)
    yield _RIGHTS.ok(f"temporary tables can be created{needed}") if temporary else lacks
    there, grant = f"tables in schema {schema}", f"USAGE, CREATE ON SCHEMA {schema}"
    lacks = _lacks(user, f"may not create {there}", grant, "the schema's owner")
    yield _RIGHTS.ok(f"tables can be created in schema {schema}") if create and usage else lacks
    if sees_others:
        yield _RIGHTS.ok("a publish that has to wait can name what it waits for")
    else:
        yield _RIGHTS.warning(
            "a publish that has to wait cannot name what it waits for, and a load cannot tell whether another one is"
            " alive",
            f"Run GRANT pg_read_all_stats TO {user} as a superuser.",
        )


def _tried(session: psycopg.Connection, schema: str) -> Finding:
    """Return whether a table can be created: an event trigger or a quota may refuse it in spite of all rights."""
    table = sql.Identifier(schema, f"flux_doctor_{os.getpid()}")
    try:
        with session.transaction(force_rollback=True):
            session.execute(query("doctor", "try_table").format(table))
    except psycopg.Error as error:
        other = "" if error.sqlstate == "42501" else ", or remove the event trigger or limit that refuses it"
        refusal = reported(error.diag.message_primary or error)
        return _RIGHTS.failed(
            f"a table could not be created and dropped in schema {schema}: {refusal}",
            f'Run GRANT USAGE, CREATE ON SCHEMA {schema} TO "{session.info.user}" as its owner{other}.',
        )
    return _RIGHTS.ok(f"a table was created and dropped in schema {schema}")


def _of_versions(session: psycopg.Connection, user: str) -> Iterator[Finding]:
    """Yield what the user lacks on ledger and versions, and what others have on them."""
    if session.execute("SELECT has_schema_privilege('postgres_sync', 'USAGE')").fetchone() == (False,):
        problem = "may not use schema postgres_sync, which holds ledger and register"
        yield _lacks(user, problem, "USAGE, CREATE ON SCHEMA postgres_sync")
    # An owner may have lost rights on its tables.
    if names := [name for (name,) in session.execute(query("doctor", "unreadable_versions"))]:
        problem, grant = f"may not read or fill {', '.join(names)}", "ALL ON ALL TABLES IN SCHEMA flux_versions"
        yield _lacks(user, problem, grant, "their owner")
    yield _tried(session, "flux_versions")
    # On the tables themselves, mostly by default privileges.
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
            " them, with their versions",
            "Grant SELECT on the public tables instead of pg_read_all_data where that is not wanted.",
        )
    named = "PUBLIC"
    if session.execute(query("doctor", "versions_granted_to_public")).fetchone() != (True,):
        named = ", ".join(f'"{name}"' for (name,) in session.execute(query("doctor", "roles_on_versions")))
    if named:
        yield _RIGHTS.warning(
            f"map tools will list layers twice, with their versions, for {named}",
            f"Run REVOKE ALL ON SCHEMA flux_versions FROM {named}; reading layers takes the public tables only.",
        )
    else:
        yield _RIGHTS.ok("nobody else has a right on schema flux_versions, so map tools list each layer once")


def _on_ledger(session: psycopg.Connection) -> Iterator[Finding]:
    """Yield what the ledger lacks or the user may not use; of an earlier version's only that it will be upgraded."""
    row = session.execute(query("doctor", "ledger_revision")).fetchone()
    if row is None:
        return
    if not is_current(row[0]):
        yield _RIGHTS.note(
            "the ledger in schema postgres_sync was made by an earlier flux_assets",
            "Stop that one everywhere: the next load or sync upgrades the ledger in place.",
        )
        return
    if session.execute("SELECT FROM pg_namespace WHERE nspname = 'flux_versions'").fetchone() is None:
        yield _RIGHTS.failed("schema flux_versions is missing, and with it every version", _RECREATE)
    there = {name for (name,) in session.execute(query("doctor", "ledger_parts"))}
    if gone := [name for name in _parts() if name not in there and name.partition(".")[0] in {name, *there}]:
        remedy = "Restore the schema postgres_sync from a backup." if "." in "".join(gone) else _RECREATE
        yield _RIGHTS.failed(f"schema postgres_sync lacks {', '.join(gone)}", remedy)
    user = f'"{session.info.user}"'
    for name, rights in session.execute(query("doctor", "ledger_rights_lacking")).fetchall():
        yield _lacks(user, f"may not {rights} on postgres_sync.{name}", f"{rights} ON postgres_sync.{name}")
    for (name,) in session.execute(query("doctor", "tables_hiding_rows")).fetchall():
        error = hidden(TargetError, session, name)
        yield _RIGHTS.failed(error.problem.rstrip("."), error.remedy)
    for (name,) in session.execute(query("doctor", "ledger_functions_refused")).fetchall():
        yield _lacks(user, f"may not call {name}", f"EXECUTE ON FUNCTION {name}")


def _parts() -> list[str]:
    """Return tables, views and functions by name, columns of tables as `table.column`."""
    text = script("postgis/ledger.sql")
    columns = [f"{table}.{name}" for table, body in _BODY.findall(text) for name in _COLUMN.findall(body)]
    columns += [f"{table}.{name}" for table, more in _ADDED.findall(text) for name in _ADDED_COLUMN.findall(more)]
    return list(dict.fromkeys([*(name for _, name in _CREATED.findall(text)), *columns]))


def _on_used(
    session: psycopg.Connection, schema: str, static: Sequence[StaticTable], dynamic: Sequence[DynamicTable]
) -> Iterator[Finding]:
    """Yield every missing right on what the tables use, with the GRANT that gives it.

    That is tables that columns are computed from or keys point at, functions, sequences and types.
    """
    user = f'"{session.info.user}"'
    asked = {"schema": schema, "names": [table.name for table in (*static, *dynamic)]}
    for right, what, table_name in session.execute(query("doctor", "rights_on_used_objects"), asked).fetchall():
        kind, _, name = what.partition(" ")
        yield _lacks(user, f"lacks {right} on {kind.lower()} {name}, which {table_name} uses", f"{right} ON {what}")
    for table in dynamic:
        for name in sorted(set(table.origins) - {each.name for each in dynamic}):
            row = session.execute(query("doctor", "table_by_name"), [schema, name]).fetchone()
            if row is None:
                continue
            oid, may_read, owner = row
            if not may_read:
                problem = f"may not read {schema}.{name} of {owner}, which columns of {table.name} are computed from"
                yield _lacks(user, problem, f"SELECT ON {schema}.{name}")
            elif Relation(session, oid).hides_rows():
                error = hidden(SyncError, session, f"{schema}.{name}")
                problem = f"{error.problem.rstrip('.')}; columns of {table.name} are computed from it"
                yield _RIGHTS.failed(problem, error.remedy)
