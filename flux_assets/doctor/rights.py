"""What the target's user may do, and who may do too much.

Here: every right that a load or sync needs, tested, with the GRANT that gives it. Not here: the tables' own shape
(layers.py, live_tables.py).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import psycopg
from psycopg import sql

from flux_assets.doctor.finding import Finding, Group
from flux_assets.errors import reported
from flux_assets.ledger import status
from flux_assets.spec import StaticTable

_GROUP = Group("Rights")
_ALLOWED = """
SELECT has_database_privilege(current_database(), 'CREATE'),
       has_database_privilege(current_database(), 'TEMPORARY'), has_schema_privilege(%s, 'CREATE'),
       has_schema_privilege(%s, 'USAGE'), pg_has_role('pg_read_all_stats', 'USAGE')
"""
_NOT_OURS = """
SELECT format('%%I.%%I', n.nspname, c.relname), pg_get_userbyid(c.relowner)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT pg_has_role(c.relowner, 'USAGE') AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
  AND (n.nspname IN ('flux_versions', 'postgres_sync') OR (n.nspname = %s AND c.relname = ANY (%s)))
ORDER BY 1
"""
_MAY_CREATE = "SELECT has_schema_privilege(%s, 'CREATE') AND has_schema_privilege(%s, 'USAGE')"
_UNREADABLE = """
SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'flux_versions'::regnamespace AND relkind = 'r'
AND NOT (has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT')) ORDER BY 1
"""
_TRIED = sql.SQL("""
CREATE TABLE {0} (id integer, place geometry(Point, 4326)) PARTITION BY LIST (id); DROP TABLE {0};
CREATE TABLE {0} (id integer, place geometry(Point, 4326));
INSERT INTO {0} VALUES (1, ST_SetSRID(ST_MakePoint(0, 0), 4326));
CREATE INDEX ON {0} USING gist (place); COMMENT ON TABLE {0} IS 'tried'; DROP TABLE {0}
""")
# Roles that own the schema, by themselves or as members, are loaders; superusers see everything anyway.
_CURIOUS = """
SELECT rolname FROM pg_roles AS role, pg_namespace AS versions
WHERE nspname = 'flux_versions' AND has_schema_privilege(role.oid, versions.oid, 'USAGE')
  AND NOT rolsuper AND rolname <> current_user AND NOT pg_has_role(role.oid, nspowner, 'USAGE') AND rolname !~ '^pg_'
  AND NOT pg_has_role(role.oid, 'pg_read_all_data', 'USAGE')
ORDER BY 1
"""
# geometry_columns shows a table to whoever has a right on it, whatever the schema says.
_GRANTED = """
SELECT schema, role, bool_or(relation = 'quarantine'), count(DISTINCT relation) FROM (
    SELECT relnamespace::regnamespace::text AS schema, relname AS relation, grantee, relowner
    FROM pg_class, aclexplode(relacl)
    UNION ALL
    SELECT relnamespace::regnamespace::text, relname, acl.grantee, relowner
    FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid, aclexplode(attacl) AS acl
) AS given, LATERAL (SELECT CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE grantee::regrole::text END AS role) AS who
WHERE grantee <> relowner AND (schema = 'flux_versions' OR schema = 'postgres_sync' AND relation = 'quarantine')
GROUP BY 1, 2 ORDER BY 1, 2
"""
_READ_ALL = """
SELECT rolname FROM pg_roles WHERE pg_has_role(oid, 'pg_read_all_data', 'USAGE') AND NOT rolsuper AND rolname !~ '^pg_'
AND rolname <> current_user ORDER BY 1
"""
_PUBLIC = """
SELECT EXISTS (SELECT FROM pg_namespace, aclexplode(nspacl) WHERE nspname = 'flux_versions' AND grantee = 0)
"""


def findings(session: psycopg.Connection, schema: str, tables: Sequence[StaticTable]) -> Iterator[Finding]:
    """The rights of the session's user, and of others on the schema of versions."""
    if session.execute("SELECT FROM pg_namespace WHERE nspname = %s", [schema]).fetchone() is None:
        yield _GROUP.failed(
            f"schema {schema} does not exist",
            f"Run CREATE SCHEMA {schema}, or set FLUX_POSTGRES_SCHEMA to one that does.",
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
        yield from _curious(session)


def _allowed(session: psycopg.Connection, schema: str, *, prepared: bool) -> Iterator[Finding]:
    user = f'"{session.info.user}"'
    row = session.execute(_ALLOWED, [schema, schema]).fetchone() or [False] * 5
    on_database, temporary, create, usage, sees_others = row
    if prepared:
        yield _GROUP.ok("the schemas postgres_sync and flux_versions are there")
    elif on_database:
        yield _GROUP.ok("the first load can make the schemas postgres_sync and flux_versions")
    else:
        yield _GROUP.failed(
            f"user {user} may not make the schemas postgres_sync and flux_versions",
            f'Run GRANT CREATE ON DATABASE "{session.info.dbname}" TO {user} as the database\'s owner.',
        )
    if temporary:
        yield _GROUP.ok("temporary tables can be made, which syncs and comparisons read into")
    else:
        yield _GROUP.failed(
            f"user {user} may not make temporary tables, which syncs and comparisons read into",
            f'Run GRANT TEMPORARY ON DATABASE "{session.info.dbname}" TO {user} as the database\'s owner.',
        )
    if create and usage:
        yield _GROUP.ok(f"tables can be made in schema {schema}")
    else:
        yield _GROUP.failed(
            f"user {user} may not make tables in schema {schema}",
            f"Run GRANT USAGE, CREATE ON SCHEMA {schema} TO {user} as the schema's owner.",
        )
    if sees_others:
        yield _GROUP.ok("a publish that has to wait can name who it waits for")
    else:
        yield _GROUP.warning(
            "a publish that has to wait cannot name who it waits for, nor a load tell whether another one is alive",
            f"Run GRANT pg_read_all_stats TO {user} as a superuser.",
        )


def _owned(session: psycopg.Connection, schema: str, names: list[str]) -> Iterator[Finding]:
    foreign = session.execute(_NOT_OURS, [schema, names]).fetchall()
    for name, owner in foreign:
        yield _GROUP.failed(
            f"{name} belongs to {owner}, and only an owner can publish into it, take it over or change it",
            f'Run ALTER TABLE {name} OWNER TO "{session.info.user}", or GRANT "{owner}" TO "{session.info.user}".',
        )
    if not foreign:
        yield _GROUP.ok("every table of the layers, of the ledger and of the versions is ours to change")


def _ledger(session: psycopg.Connection) -> Iterator[Finding]:
    row = session.execute("SELECT has_schema_privilege('postgres_sync', 'USAGE')").fetchone()
    if row and not row[0]:
        user = f'"{session.info.user}"'
        yield _GROUP.failed(
            f"user {user} may not use schema postgres_sync, where ledger and register are",
            f"Run GRANT USAGE, CREATE ON SCHEMA postgres_sync TO {user} as its owner.",
        )


def _unreadable(session: psycopg.Connection) -> Iterator[Finding]:
    """An owner may have lost rights on what it owns."""
    if names := [name for (name,) in session.execute(_UNREADABLE)]:
        user = f'"{session.info.user}"'
        yield _GROUP.failed(
            f"user {user} may not read or fill {', '.join(names)}",
            f"Run GRANT ALL ON ALL TABLES IN SCHEMA flux_versions TO {user} as their owner.",
        )


def _tried(session: psycopg.Connection, schema: str) -> Finding:
    """Rights alone do not tell: an event trigger or a quota may refuse as well."""
    table = sql.Identifier(schema, f"flux_doctor_{os.getpid()}")
    try:
        with session.transaction(force_rollback=True):
            session.execute(_TRIED.format(table))
    except psycopg.Error as error:
        said = reported(error.diag.message_primary or error)
        return _GROUP.failed(
            f"a table could not be made and dropped in schema {schema}: {said}",
            f'Run GRANT USAGE, CREATE ON SCHEMA {schema} TO "{session.info.user}" as its owner'
            + ("." if error.sqlstate == "42501" else ", or remove the event trigger or limit that refuses it."),
        )
    return _GROUP.ok(f"a table was made and dropped in schema {schema}")


def _granted(session: psycopg.Connection) -> Iterator[Finding]:
    """What was granted on the tables themselves, by default privileges above all."""
    for schema, role, is_quarantine, count in session.execute(_GRANTED).fetchall():
        if is_quarantine:
            yield _GROUP.warning(
                f"{role} has rights on postgres_sync.quarantine, which holds records of releases as they came",
                f"Run REVOKE ALL ON postgres_sync.quarantine FROM {role}; unless that is meant.",
            )
            continue
        yield _GROUP.warning(
            f"{role} has rights on {count} {'version' if count == 1 else 'versions'} in {schema}: map tools list those"
            " layers twice for it, and policies of the public tables do not hold there",
            f"Run REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {role}; the public tables are enough to read layers,"
            " and later versions are granted to nobody.",
        )
    if readers := [f'"{name}"' for (name,) in session.execute(_READ_ALL)]:
        yield _GROUP.note(
            f"{', '.join(readers)} may read every table (pg_read_all_data), so map tools list layers twice for it, with"
            " their versions",
            "Grant SELECT on the public tables in place of pg_read_all_data where that is not wanted.",
        )


def _curious(session: psycopg.Connection) -> Iterator[Finding]:
    public = session.execute(_PUBLIC).fetchone()
    roles = ["PUBLIC"] if public and public[0] else [f'"{name}"' for (name,) in session.execute(_CURIOUS)]
    if roles:
        named = ", ".join(roles)
        yield _GROUP.warning(
            f"map tools will list layers twice, with their versions, for {named}",
            f"Run REVOKE ALL ON SCHEMA flux_versions FROM {named}; the public tables are enough to read layers.",
        )
    else:
        yield _GROUP.ok("nobody else has a right on schema flux_versions, so map tools list each layer once")
