"""What the target database must have before anything is written, and the making of our own schemas.

Here: server version, PostGIS, rights, schemas postgres_sync and flux_versions. Not here: tables of layers.
"""

from __future__ import annotations

import re

import psycopg
from psycopg import errors, sql
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random

from flux_assets.errors import TargetError
from flux_assets.postgis.connect import open_session
from flux_assets.postgis.locking import at_once
from flux_assets.postgis.session.watched import WatchedConnection
from flux_assets.postgis.writable import require_writable
from flux_assets.sqlfiles import script

OLDEST_SERVER = 150000
REVISION = "flux_assets: ledger, register and leases, revision 7."
# Two first runs at once, or readers of the views: what one attempt meets, the next does not.
_PATIENCE_SECONDS = 30
_RACES = (
    errors.LockNotAvailable, errors.DeadlockDetected, errors.UniqueViolation, errors.DuplicateObject,
    errors.DuplicateTable, errors.DuplicateSchema, errors.InternalError_, errors.QueryCanceled,
)  # fmt: skip
_STANDING = sql.SQL("""
SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'postgis'),
       EXISTS (SELECT FROM pg_namespace WHERE nspname = {schema}),
       (SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = 'postgres_sync')
""")


def open_prepared(session: WatchedConnection, schema: str) -> None:
    """Set up a session that was opened with `is_set=False` and is to write, and `prepare` the server: one round trip.

    Raises TargetError as `prepare` does, and when the session takes no writes.
    """
    [found] = open_session(session, [_STANDING.format(schema=sql.Literal(schema))])
    require_writable(session)
    _prepare(session, schema, found[0])


def prepare(connection: psycopg.Connection, schema: str) -> None:
    """Check the server and make our schemas where they are missing; one question when all is there.

    Raises TargetError naming what is missing and the statement that adds it.
    """
    _prepare(connection, schema, _standing(connection, schema))


def _prepare(connection: psycopg.Connection, schema: str, found: tuple[bool, bool, str | None]) -> None:
    _refuse_old(connection)
    has_postgis, has_schema, revision = found
    if not has_postgis:
        raise _without_postgis(connection)
    if not has_schema:
        raise TargetError(
            f"Schema {schema} does not exist in the target database.",
            f"Create it (CREATE SCHEMA {schema}) or set FLUX_POSTGRES_SCHEMA to one that does.",
        )
    if not is_current(revision):
        _make_schemas(connection, schema)


def find_postgis(connection: psycopg.Connection) -> None:
    """Raise TargetError for a server that is too old or has no PostGIS."""
    _refuse_old(connection)
    if not _standing(connection, "")[0]:
        raise _without_postgis(connection)


def _refuse_old(connection: psycopg.Connection) -> None:
    number = connection.info.server_version
    if number < OLDEST_SERVER:
        raise TargetError(
            f"The target server is PostgreSQL {number // 10000}; flux_assets needs 15 or newer.",
            "Upgrade the server or choose another target with FLUX_POSTGRES_URL.",
        )


def _without_postgis(connection: psycopg.Connection) -> TargetError:
    return TargetError(
        f"PostGIS is not installed in database {connection.info.dbname}.",
        "Run CREATE EXTENSION postgis in it as a superuser or the database's owner.",
    )


def _standing(connection: psycopg.Connection, schema: str) -> tuple[bool, bool, str | None]:
    row: tuple[bool, bool, str | None] | None = connection.execute(
        _STANDING.format(schema=sql.Literal(schema))
    ).fetchone()
    return row or (False, False, None)


def is_current(revision: str | None) -> bool:
    """Tell whether the ledger has all that this release needs; a later revision only adds to it."""
    return _number(revision) >= _number(REVISION)


def _number(revision: str | None) -> int:
    said = re.search(r"revision (\d+)", revision or "")
    return int(said[1]) if said else 0


def _make_schemas(connection: psycopg.Connection, schema: str) -> None:
    try:
        for attempt in Retrying(
            retry=retry_if_exception_type(_RACES), stop=stop_after_delay(_PATIENCE_SECONDS), reraise=True,
            wait=wait_random(0.05, 0.5),
        ):  # fmt: skip
            with attempt:
                if not is_current(_standing(connection, schema)[2]):
                    at_once(connection, [sql.SQL(_trusted(script("postgis/ledger.sql")))])
    except errors.InsufficientPrivilege as error:
        database, user = connection.info.dbname, connection.info.user
        raise TargetError(
            f"User {user} may not create the schemas postgres_sync and flux_versions: {error.diag.message_primary}.",
            f'Run GRANT CREATE ON DATABASE "{database}" TO "{user}" as the database\'s owner.',
        ) from error


def _trusted(text: str) -> str:
    """Text of a file of ours; psycopg types only literals as safe."""
    return text
