"""What the target database must have before anything is written, and the making of our own schemas.

Here: server version, PostGIS, rights, schemas postgres_sync and flux_versions. Not here: tables of layers.
"""

from __future__ import annotations

import re

import psycopg
from psycopg import errors, sql

from flux_assets.errors import TargetError
from flux_assets.sqlfiles import script

OLDEST_SERVER = 150000
REVISION = "flux_assets: ledger, register and leases, revision 5."
_SETUP_LOCK = 0x666C7578  # "flux": two first runs at once would both create the schemas


def prepare(connection: psycopg.Connection, schema: str) -> None:
    """Check the server and make our schemas where they are missing; cheap when all is there.

    Puts PostGIS, wherever it is installed, on the session's search path.
    Raises TargetError naming what is missing and the statement that mends it.
    """
    find_postgis(connection)
    if not _schema_exists(connection, schema):
        raise TargetError(
            f"Schema {schema} does not exist in the target database.",
            f"Create it (CREATE SCHEMA {schema}) or set FLUX_POSTGRES_SCHEMA to one that does.",
        )
    if _number(_applied_revision(connection)) < _number(REVISION):
        _make_schemas(connection)


def find_postgis(connection: psycopg.Connection) -> None:
    """Refuse a server that is too old or has no PostGIS; make its types and functions visible to the session."""
    number = connection.info.server_version
    if number < OLDEST_SERVER:
        raise TargetError(
            f"The target server is PostgreSQL {number // 10000}; flux_assets needs 15 or newer.",
            "Upgrade the server or choose another target with FLUX_POSTGRES_URL.",
        )
    row = connection.execute(
        "SELECT nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE extname = 'postgis'"
    ).fetchone()
    if row is None:
        raise TargetError(
            f"PostGIS is not installed in database {connection.info.dbname}.",
            "Run CREATE EXTENSION postgis in it as a superuser or the database's owner.",
        )
    connection.execute(sql.SQL("SET search_path = pg_catalog, {}").format(sql.Identifier(row[0])))


def _schema_exists(connection: psycopg.Connection, schema: str) -> bool:
    return connection.execute("SELECT FROM pg_namespace WHERE nspname = %s", [schema]).fetchone() is not None


def _applied_revision(connection: psycopg.Connection) -> str | None:
    row = connection.execute(
        "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = 'postgres_sync'"
    ).fetchone()
    return row[0] if row else None


def _number(revision: str | None) -> int:
    """A later revision, left by a newer release of flux_assets, has all that this one needs: they only add."""
    said = re.search(r"revision (\d+)", revision or "")
    return int(said[1]) if said else 0


def _make_schemas(connection: psycopg.Connection) -> None:
    try:
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [_SETUP_LOCK])
            connection.execute(script("postgis/ledger.sql").encode())
    except errors.InsufficientPrivilege as error:
        database, user = connection.info.dbname, connection.info.user
        raise TargetError(
            f"User {user} may not create the schemas postgres_sync and flux_versions: {error.diag.message_primary}.",
            f'Run GRANT CREATE ON DATABASE "{database}" TO "{user}" as the database\'s owner.',
        ) from error
