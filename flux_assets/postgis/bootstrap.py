"""What the target database needs before anything is written: server version, PostGIS, rights, and our own schemas."""

from __future__ import annotations

import re

import psycopg
from psycopg import errors, sql
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random

from flux_assets.errors import TargetError
from flux_assets.postgis.connect import open_session, require_writable
from flux_assets.postgis.batch import at_once
from flux_assets.postgis.session.watched import WatchedConnection
from flux_assets.sqlfiles import query, script

OLDEST_SERVER = 150000
REVISION = "flux_assets: ledger, register and leases, revision 7."
# Raised by two first runs at once, or by readers of the views: the next attempt succeeds.
_RETRY_SECONDS = 30
_RACES = (
    errors.LockNotAvailable,
    errors.DeadlockDetected,
    errors.UniqueViolation,
    errors.DuplicateObject,
    errors.DuplicateTable,
    errors.DuplicateSchema,
    errors.InternalError_,
    errors.QueryCanceled,
)


def open_prepared(session: WatchedConnection, schema: str) -> None:
    """Set up a session that was opened with `is_set=False` and is to write, and `prepare` the server: one round trip.

    Raises TargetError as `prepare` does, and when the session takes no writes.
    """
    [found] = open_session(session, [query("bootstrap", "installed").format(schema=sql.Literal(schema))])
    require_writable(session)
    _prepare(session, schema, found[0])


def prepare(connection: psycopg.Connection, schema: str) -> None:
    """Check the server and create our schemas where they are missing, in one round trip when nothing is missing.

    Raises TargetError naming what is missing and the statement that adds it.
    """
    _prepare(connection, schema, _installed(connection, schema))


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
    if not _installed(connection, "")[0]:
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


def _installed(connection: psycopg.Connection, schema: str) -> tuple[bool, bool, str | None]:
    row: tuple[bool, bool, str | None] | None = connection.execute(
        query("bootstrap", "installed").format(schema=sql.Literal(schema))
    ).fetchone()
    return row or (False, False, None)


def is_current(revision: str | None) -> bool:
    """Tell whether the ledger has all that this release needs; later revisions only add to it."""
    return _number(revision) >= _number(REVISION)


def _number(revision: str | None) -> int:
    number = re.search(r"revision (\d+)", revision or "")
    return int(number[1]) if number else 0


def _make_schemas(connection: psycopg.Connection, schema: str) -> None:
    try:
        for attempt in Retrying(
            retry=retry_if_exception_type(_RACES),
            stop=stop_after_delay(_RETRY_SECONDS),
            reraise=True,
            wait=wait_random(0.05, 0.5),
        ):
            with attempt:
                if not is_current(_installed(connection, schema)[2]):
                    at_once(connection, [sql.SQL(_trusted(script("postgis/ledger.sql")))])
    except errors.InsufficientPrivilege as error:
        database, user = connection.info.dbname, connection.info.user
        raise TargetError(
            f"User {user} may not create the schemas postgres_sync and flux_versions: {error.diag.message_primary}.",
            f'Run GRANT CREATE ON DATABASE "{database}" TO "{user}" as the database\'s owner.',
        ) from error


def _trusted(text: str) -> str:
    """Return the text of a file of ours; psycopg types only literals as safe."""
    return text
