"""The rights that a load or sync needs, each with the GRANT that gives it, and rights that others have too many."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import psycopg
from psycopg import sql

from flux_assets.doctor.finding import Finding, Group
from flux_assets.errors import reported
from flux_assets.ledger import status
from flux_assets.spec import StaticTable
from flux_assets.sqlfiles import query

_GROUP = Group("Rights")
_MAY_CREATE = "SELECT has_schema_privilege(%s, 'CREATE') AND has_schema_privilege(%s, 'USAGE')"


def findings(session: psycopg.Connection, schema: str, tables: Sequence[StaticTable]) -> Iterator[Finding]:
    """Yield the rights of the session's user, and of others on the schema of versions."""
    if session.execute("SELECT FROM pg_namespace WHERE nspname = %s", [schema]).fetchone() is None:
        yield _GROUP.failed(
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
        yield from _ledger(session)
        yield from _unreadable(session)
        yield _tried(session, "flux_versions")
        yield from _granted(session)
        yield from _other_roles(session)


def _allowed(session: psycopg.Connection, schema: str, *, prepared: bool) -> Iterator[Finding]:
    user = f'"{session.info.user}"'
    row = session.execute(query("doctor", "rights_on_schemas"), [schema, schema]).fetchone() or [False] * 5
    on_database, temporary, create, usage, sees_others = row
    if prepared:
        yield _GROUP.ok("the schemas postgres_sync and flux_versions exist")
    elif on_database:
        yield _GROUP.ok("the first load can create the schemas postgres_sync and flux_versions")
    else:
        yield _GROUP.failed(
            f"user {user} may not create the schemas postgres_sync and flux_versions",
            f'Run GRANT CREATE ON DATABASE "{session.info.dbname}" TO {user} as the database\'s owner.',
        )
    if temporary:
        yield _GROUP.ok("temporary tables can be created, which syncs and comparisons need")
    else:
        yield _GROUP.failed(
            f"user {user} may not create temporary tables, which syncs and comparisons need",
            f'Run GRANT TEMPORARY ON DATABASE "{session.info.dbname}" TO {user} as the database\'s owner.',
        )
    if create and usage:
        yield _GROUP.ok(f"tables can be created in schema {schema}")
    else:
        yield _GROUP.failed(
            f"user {user} may not create tables in schema {schema}",
            f"Run GRANT USAGE, CREATE ON SCHEMA {schema} TO {user} as the schema's owner.",
        )
    if sees_others:
        yield _GROUP.ok("a publish that has to wait can name what it waits for")
    else:
        yield _GROUP.warning(
            "a publish that has to wait cannot name what it waits for, and a load cannot tell whether another one"
            " is alive",
            f"Run GRANT pg_read_all_stats TO {user} as a superuser.",
        )


def _owned(session: psycopg.Connection, schema: str, names: list[str]) -> Iterator[Finding]:
    foreign = session.execute(query("doctor", "tables_of_others"), [schema, names]).fetchall()
    for name, owner in foreign:
        yield _GROUP.failed(
            f"{name} belongs to {owner}, and only its owner can publish into it, take it over or change it",
            f'Run ALTER TABLE {name} OWNER TO "{session.info.user}", or GRANT "{owner}" TO "{session.info.user}".',
        )
    if not foreign:
        yield _GROUP.ok("this user owns every table of the layers, of the ledger and of the versions")


def _ledger(session: psycopg.Connection) -> Iterator[Finding]:
    row = session.execute("SELECT has_schema_privilege('postgres_sync', 'USAGE')").fetchone()
    if row and not row[0]:
        user = f'"{session.info.user}"'
        yield _GROUP.failed(
            f"user {user} may not use schema postgres_sync, which holds ledger and register",
            f"Run GRANT USAGE, CREATE ON SCHEMA postgres_sync TO {user} as its owner.",
        )


def _unreadable(session: psycopg.Connection) -> Iterator[Finding]:
    """Yield versions that the user may not read or fill: an owner may have lost rights on its tables."""
    if names := [name for (name,) in session.execute(query("doctor", "unreadable_versions"))]:
        user = f'"{session.info.user}"'
        yield _GROUP.failed(
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
        return _GROUP.failed(
            f"a table could not be created and dropped in schema {schema}: {refusal}",
            f'Run GRANT USAGE, CREATE ON SCHEMA {schema} TO "{session.info.user}" as its owner'
            + ("." if error.sqlstate == "42501" else ", or remove the event trigger or limit that refuses it."),
        )
    return _GROUP.ok(f"a table was created and dropped in schema {schema}")


def _granted(session: psycopg.Connection) -> Iterator[Finding]:
    """Yield rights granted on the tables themselves, mostly by default privileges."""
    for schema, role, is_quarantine, count in session.execute(query("doctor", "grants_on_versions")).fetchall():
        if is_quarantine:
            yield _GROUP.warning(
                f"{role} has rights on postgres_sync.quarantine, which holds unchecked records of releases",
                f"Run REVOKE ALL ON postgres_sync.quarantine FROM {role}; unless that is intended.",
            )
            continue
        yield _GROUP.warning(
            f"{role} has rights on {count} {'version' if count == 1 else 'versions'} in {schema}: map tools list"
            " those layers twice for it, and policies of the public tables do not apply there",
            f"Run REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {role}; reading layers takes the public"
            " tables only, and nothing is granted on later versions.",
        )
    if readers := [f'"{name}"' for (name,) in session.execute(query("doctor", "roles_reading_all"))]:
        yield _GROUP.note(
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
        yield _GROUP.warning(
            f"map tools will list layers twice, with their versions, for {named}",
            f"Run REVOKE ALL ON SCHEMA flux_versions FROM {named}; reading layers takes the public tables only.",
        )
    else:
        yield _GROUP.ok("nobody else has a right on schema flux_versions, so map tools list each layer once")
