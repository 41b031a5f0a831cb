"""Sessions in the target database: opening one, what it must be able to do, several statements in one round trip."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import errors, sql
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random

from flux_assets.errors import TargetError
from flux_assets.postgis import liveness, pooler
from flux_assets.postgis.errors import refused, translate_error
from flux_assets.postgis.liveness import Stop, WatchedConnection, is_of_a_pooler, own_process
from flux_assets.spec import Declaration
from flux_assets.sqlfiles import query, script

Rows = list[tuple[Any, ...]]
# Readers that come while we wait for a lock queue behind us, and a swap takes two, of the public table and of its
# version: together under the 100 ms that readers are promised.
LOCK_TIMEOUT_MS, PROMISED_MS = 40, 100
# What a statement may take under the lock; it takes a few milliseconds. A wait for a standby would keep the lock too;
# it is made up for afterwards (await_standbys).
_LIMITS = sql.SQL(f"""
BEGIN; SET LOCAL lock_timeout = '{LOCK_TIMEOUT_MS}ms'; SET LOCAL statement_timeout = '1s';
SET LOCAL idle_in_transaction_session_timeout = '5s'; SET LOCAL synchronous_commit = 'local'
""")


def run(session: psycopg.Connection, statements: Sequence[sql.Composable]) -> list[Rows]:
    """Run the statements in order, return the rows of each that has any. Outside a transaction they form one."""
    cursor = session.execute(sql.SQL(";\n").join(statements))
    found = []
    while True:
        if cursor.description is not None:
            found.append(cursor.fetchall())
        if not cursor.nextset():
            return found


def affected(session: psycopg.Connection, statements: Sequence[sql.Composable]) -> list[int]:
    """Run the statements in order, return how many rows each of them wrote."""
    cursor = session.execute(sql.SQL(";\n").join(statements))
    counts = [cursor.rowcount]
    while cursor.nextset():
        counts.append(cursor.rowcount)
    return counts


def at_once(connection: psycopg.Connection, statements: Sequence[sql.Composable]) -> list[Rows]:
    """Run the statements in a transaction of one round trip. Raises LockNotAvailable when a lock is not free."""
    try:
        return run(connection, [_LIMITS, *statements, sql.SQL("COMMIT")])
    except psycopg.Error:
        if not connection.closed:
            connection.execute("ROLLBACK")
        raise


_APPLICATION = "flux_assets"
_SINCE_17 = sql.SQL("SET transaction_timeout = 0")


@dataclass(frozen=True, kw_only=True)
class Target:
    """A PostGIS database and the schema of its published tables. `conninfo` may hold a password and is not shown.

    `declared` are all tables that belong there; loading or syncing one registers them all.
    """

    conninfo: str
    schema: str = "public"
    declared: tuple[Declaration, ...] = ()

    def __repr__(self) -> str:
        return f"Target(schema={self.schema!r})"

    @contextmanager
    def session(self, purpose: str, stop: Stop | None = None, *, is_set: bool = True) -> Iterator[WatchedConnection]:
        """Open an autocommit session in UTC, closed at the end; `purpose` shows in pg_stat_activity.

        One that is not to be `is_set` is handed over as the server made it, for `open_session` with more statements.
        Raises TargetError when the server cannot be reached or refuses, would be spoken to unencrypted, the
        database's encoding is not UTF8, or a pooler shares sessions out.
        """
        try:
            connection = liveness.connect(self.conninfo, f"{_APPLICATION} {purpose}")
        except psycopg.OperationalError as error:
            raise refused(error) from error
        try:
            with connection, (stop or Stop()).watching(connection):
                _require_utf8(connection)
                if is_set:
                    open_session(connection)
                try:
                    yield connection
                finally:
                    if connection.is_pooled:
                        pooler.leave_clean(connection)
        finally:
            liveness.forget(connection)


@contextmanager
def translated(title: str, stop: Stop) -> Iterator[None]:
    """Raise psycopg's errors within the block as TargetError or LayerError; other errors pass through."""
    try:
        yield
    except psycopg.Error as error:
        raise translate_error(title, error, stop) from error


def open_session(session: WatchedConnection, statements: Sequence[sql.Composable] = ()) -> list[Rows]:
    """Make the session behave the same wherever it is opened, and run `statements`, in one round trip.

    Raises TargetError, before anything is set or done, where a pooler does not leave a session its server process.
    """
    try:
        answers = run(session, [*_settings(session), *statements])
    except psycopg.Error as error:
        if not is_of_a_pooler(error):
            raise
        pooler.require_whole_sessions(session)
        answers = run(session, [*_settings(session), *statements])
    [(pid, started, _)] = answers[0]
    session.identify(pid, started)
    return answers[1:]


def _settings(session: WatchedConnection) -> list[sql.Composable]:
    """List the statements; the last returns server process, the server's start, and the search path."""
    since_17 = [_SINCE_17] if session.info.server_version >= 170000 else []
    return [*since_17, query("connect", "settings").format(process=own_process(session))]


_ENCODING = "UTF8"
_INTO_ANOTHER = (
    "Make a database in UTF8 beside it (CREATE DATABASE {new} ENCODING 'UTF8' LOCALE 'C.UTF-8' TEMPLATE template0, or"
    " with another UTF-8 locale of the server), copy the contents of this one (pg_dump{encoding} {old} | psql {new}),"
    " and name the new one in FLUX_POSTGRES_URL."
)
# A database in SQL_ASCII does not know what its bytes mean: whoever reads them has to.
_OF_BYTES = " --encoding=LATIN1, or whatever the bytes in it mean,"


def _require_utf8(session: psycopg.Connection) -> None:
    """Raise TargetError for a database in another encoding, without a round trip: it was reported at sign-in."""
    encoding = session.info.parameter_status("server_encoding") or _server_encoding(session)
    if encoding == _ENCODING:
        return
    name = session.info.dbname
    remedy = _INTO_ANOTHER.format(
        old=f'"{name}"', new=f'"{name}_utf8"', encoding=_OF_BYTES if encoding == "SQL_ASCII" else ""
    )
    raise TargetError(
        f'The encoding of database "{name}" is {encoding}, which cannot hold every text; flux_assets needs UTF8.',
        remedy,
    )


def _server_encoding(session: psycopg.Connection) -> str:
    """Ask for it, since a pooler may not pass on what the server reports."""
    row = session.execute("SHOW server_encoding").fetchone()
    return str(row[0]) if row else ""


_READ_ONLY = "default_transaction_read_only"
_STANDBY = (
    "The target server is a standby, which takes no writes.",
    "Name the primary in FLUX_POSTGRES_URL (of several hosts, target_session_attrs=read-write finds it).",
)
_SET_IN = {
    "user": "It is set for the role. Run ALTER ROLE {user} RESET default_transaction_read_only.",
    "database": "It is set for the database. Run ALTER DATABASE {database} RESET default_transaction_read_only.",
    "database user": "It is set for the role in this database. Run ALTER ROLE {user} IN DATABASE {database} RESET"
    " default_transaction_read_only.",
    "client": "The connection asks for it: remove it from the options in FLUX_POSTGRES_URL or PGOPTIONS.",
}
_SERVER_WIDE = (
    "It is set for the whole server (some providers do so when its disk is nearly full). Run ALTER ROLE"
    " {user} SET default_transaction_read_only = off, or turn it off there."
)


def require_writable(session: psycopg.Connection) -> None:
    """Raise TargetError when the session takes no writes; without a round trip, as the server reports it at sign-in.

    A pooler may hide that, and the session then counts as writable.
    """
    reported = session.info.parameter_status
    reason = read_only_reason(
        session, standby=reported("in_hot_standby") == "on", read_only=reported(_READ_ONLY) == "on"
    )
    if reason is not None:
        raise TargetError(*reason)


def read_only_reason(session: psycopg.Connection, *, standby: bool, read_only: bool) -> tuple[str, str] | None:
    """Return problem and remedy of a server in this state; None when it takes writes."""
    if standby:
        return _STANDBY
    if not read_only:
        return None
    row = session.execute("SELECT source FROM pg_settings WHERE name = %s", [_READ_ONLY]).fetchone()
    remedy = _SET_IN.get(row[0] if row else "", _SERVER_WIDE)
    return (
        f"Sessions in the target database are read-only: {_READ_ONLY} is on.",
        remedy.format(user=f'"{session.info.user}"', database=f'"{session.info.dbname}"'),
    )


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
