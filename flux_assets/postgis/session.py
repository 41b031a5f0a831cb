"""Sessions in the target database: opening one, what it must be able to do, several statements in one round trip."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, LiteralString

import psycopg
from psycopg import errors, sql
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random

from flux_assets.errors import TargetError
from flux_assets.postgis import liveness, pooler
from flux_assets.postgis.errors import refused, translate_error
from flux_assets.postgis.liveness import Stop, WatchedConnection
from flux_assets.spec import Declaration
from flux_assets.spec.facts import Volume
from flux_assets.sqlfiles import query, script

Rows = list[tuple[Any, ...]]

_OLDEST_SERVER = 150000
_MARK = "flux_assets.another_server_process"  # a setting that does not exist, named where a pooler is in between
_OURS = 13
REVISION = f"flux_assets: ledger, register and leases, revision {_OURS}."
_REVISION = re.compile(r"revision (\d+)(?:, for programs from revision (\d+))?")
# Readers that come while we wait for a lock queue behind us, and a swap takes two, of the public table and of its
# version: together under the 100 ms that readers are promised.
LOCK_TIMEOUT_MS, PROMISED_MS = 40, 100
# What a statement may take under the lock; it takes a few milliseconds. A wait for a standby would keep the lock too;
# it is made up for afterwards (layers/publish.py).
_LIMITS = sql.SQL(f"""
BEGIN; SET LOCAL lock_timeout = '{LOCK_TIMEOUT_MS}ms'; SET LOCAL statement_timeout = '1s';
SET LOCAL idle_in_transaction_session_timeout = '5s'; SET LOCAL synchronous_commit = 'local'
""")


def run(session: psycopg.Connection, statements: Sequence[sql.Composable]) -> list[Rows]:
    """Run the statements in one round trip, return the rows of each that has any. Outside a transaction they form one.

    Where the database is 20 ms away, most of a sync is waiting.
    """
    cursor = session.execute(sql.SQL(";\n").join(statements))
    found = []
    while True:
        if cursor.description is not None:
            found.append(cursor.fetchall())
        if not cursor.nextset():
            return found


def affected(session: psycopg.Connection, statements: Sequence[sql.Composable]) -> list[int]:
    """Run the statements in one round trip, return how many rows each of them wrote."""
    cursor = session.execute(sql.SQL(";\n").join(statements))
    counts = [cursor.rowcount]
    while cursor.nextset():
        counts.append(cursor.rowcount)
    return counts


def at_once(connection: psycopg.Connection, statements: Sequence[sql.Composable]) -> list[Rows]:
    """Run the statements in a transaction of one round trip. Raises LockNotAvailable when a lock is not free.

    A process that is frozen or cut off in the middle holds no lock: the server has the whole transaction, its COMMIT
    included, before it takes the first one.
    """
    try:
        return run(connection, [_LIMITS, *statements, sql.SQL("COMMIT")])
    except psycopg.Error:
        if not connection.closed:
            connection.execute("ROLLBACK")
        raise


@dataclass(frozen=True, kw_only=True)
class Target:
    """A PostGIS database and the schema of its published tables. `conninfo` may hold a password and is not shown.

    `declared` are all tables that belong there; loading or syncing one registers them all. `volumes` are the plausible
    row counts that FLUX_CONFIG sets, by table.
    """

    conninfo: str
    schema: str = "public"
    declared: tuple[Declaration, ...] = ()
    volumes: Mapping[str, Volume] = field(default_factory=dict, compare=False)

    def __repr__(self) -> str:
        return f"Target(schema={self.schema!r})"

    @contextmanager
    def session(self, purpose: str, stop: Stop | None = None, *, is_set: bool = True) -> Iterator[WatchedConnection]:
        """Open an autocommit session in UTC, closed at the end; `purpose` shows in pg_stat_activity.

        One that is not to be `is_set` is handed over as the server made it, for `open_session` or `prepare`.
        Raises TargetError when the server cannot be reached or refuses, would be spoken to unencrypted, the
        database's encoding is not UTF8, or a pooler shares sessions out.
        """
        try:
            connection = liveness.connect(self.conninfo, f"flux_assets {purpose}")
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
            connection.close()  # one that was lost is watched until then

    @contextmanager
    def prepared(self, title: str, purpose: str, stop: Stop) -> Iterator[WatchedConnection]:
        """Open a session, in a database that has our schemas; psycopg's errors are raised as errors about `title`."""
        with translated(title, stop), self.session(purpose, stop) as session:
            prepare(session, self.schema)
            yield session


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
    since_17 = [sql.SQL("SET transaction_timeout = 0")] if session.info.server_version >= 170000 else []

    def opened() -> list[Rows]:
        pid = None if session.is_pooled else session.info.backend_pid
        return run(session, [*since_17, query("connect", "settings").format(pid=pid), *statements])

    try:
        answers = opened()
    except psycopg.Error as error:
        if error.sqlstate != "42704" or _MARK not in str(error):
            raise
        pooler.require_whole_sessions(session)
        answers = opened()
    [(pid, started, _)] = answers[0]
    session.identify(pid, started)
    return answers[1:]


def _require_utf8(session: psycopg.Connection) -> None:
    """Raise TargetError for a database in another encoding, without a round trip: it was reported at sign-in."""
    # A pooler may not pass on what the server reports.
    encoding = session.info.parameter_status("server_encoding") or _value(session, "SHOW server_encoding")
    if encoding == "UTF8":
        return
    name = session.info.dbname
    # A database in SQL_ASCII does not know what its bytes mean: whoever reads them has to.
    of_bytes = " --encoding=LATIN1, or whatever the bytes in it mean," if encoding == "SQL_ASCII" else ""
    raise TargetError(
        f'The encoding of database "{name}" is {encoding}, which cannot hold every text; flux_assets needs UTF8.',
        f"Make a database in UTF8 beside it (CREATE DATABASE \"{name}_utf8\" ENCODING 'UTF8' LOCALE 'C.UTF-8' TEMPLATE"
        " template0, or with another UTF-8 locale of the server), copy the contents of this one"
        f' (pg_dump{of_bytes} "{name}" | psql "{name}_utf8"), and name the new one in FLUX_POSTGRES_URL.',
    )


_READ_ONLY = "default_transaction_read_only"
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


def require_writable(session: psycopg.Connection, *, asking: bool = False) -> None:
    """Raise TargetError when the session takes no writes.

    It is judged without a round trip, by what the server reports at sign-in and a pooler may hide, unless `asking`.
    """
    standby, read_only = (session.info.parameter_status(name) == "on" for name in ("in_hot_standby", _READ_ONLY))
    if asking:
        question = "SELECT pg_is_in_recovery(), current_setting('default_transaction_read_only')::bool"
        standby, read_only = session.execute(question).fetchone() or (False, False)
    if standby:
        raise TargetError(
            "The target server is a standby, which takes no writes.",
            "Name the primary in FLUX_POSTGRES_URL (of several hosts, target_session_attrs=read-write finds it).",
        )
    if read_only:
        source = _value(session, "SELECT source FROM pg_settings WHERE name = 'default_transaction_read_only'")
        remedy = _SET_IN.get(source, _SERVER_WIDE)
        raise TargetError(
            f"Sessions in the target database are read-only: {_READ_ONLY} is on.",
            remedy.format(user=f'"{session.info.user}"', database=f'"{session.info.dbname}"'),
        )


def _value(session: psycopg.Connection, question: LiteralString) -> str:
    row = session.execute(question).fetchone()
    return str(row[0]) if row else ""


# Raised by two first runs at once, or by readers of the views: the next attempt succeeds.
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
_RACE_SECONDS = 30


def prepare(session: psycopg.Connection, schema: str) -> None:
    """Check the server and create our schemas where they are missing, in one round trip when nothing is missing.

    A session that is not set up yet is so in the same round trip, and has to take writes. Raises TargetError naming
    what is missing and the statement that adds it.
    """
    if isinstance(session, WatchedConnection) and session.server_started is None:
        [found] = open_session(session, [_installed(schema)])
        require_writable(session)
    else:
        [found] = run(session, [_installed(schema)])
    [(has_postgis, has_schema, revision)] = found
    _require_postgis(session, has_postgis=has_postgis)
    if not has_schema:
        raise TargetError(
            f"Schema {schema} does not exist in the target database.",
            f"Create it (CREATE SCHEMA {schema}) or set FLUX_POSTGRES_SCHEMA to one that does.",
        )
    if not is_current(revision):
        _make_schemas(session, schema)


def find_postgis(session: psycopg.Connection) -> None:
    """Raise TargetError for a server that is too old or has no PostGIS."""
    [[(has_postgis, _, _)]] = run(session, [_installed("")])
    _require_postgis(session, has_postgis=has_postgis)


def _installed(schema: str) -> sql.Composed:
    return query("bootstrap", "installed").format(schema=sql.Literal(schema))


def _require_postgis(session: psycopg.Connection, *, has_postgis: bool) -> None:
    number = session.info.server_version
    if number < _OLDEST_SERVER:
        raise TargetError(
            f"The target server is PostgreSQL {number // 10000}; flux_assets needs 15 or newer.",
            "Upgrade the server or choose another target with FLUX_POSTGRES_URL.",
        )
    if not has_postgis:
        raise TargetError(
            f"PostGIS is not installed in database {session.info.dbname}.",
            "Run CREATE EXTENSION postgis in it as a superuser, or the administrator of a managed service.",
        )


def is_current(revision: str | None) -> bool:
    """Tell whether the ledger has all that this release needs. Later revisions add to it; one that does more says so.

    It names the first revision whose programs know it ("…, revision 20, for programs from revision 19."). Raises
    TargetError when that is later than ours.
    """
    said = _REVISION.search(revision or "")
    if said is None:
        return False
    ours, theirs, needed = (int(number) for number in (_OURS, said[1], said[2] or 0))
    if needed > ours:
        raise TargetError(
            f"Schema postgres_sync was made by a later flux_assets: it is of revision {theirs}, for programs that know"
            f" revision {needed} or later, and this one, {version('flux_assets')}, knows revision {ours}.",
            "Install the version of flux_assets that made it (pip install --upgrade flux_assets), or restore the"
            " database from before that upgrade. Nothing was written.",
        )
    return theirs >= ours


def _make_schemas(session: psycopg.Connection, schema: str) -> None:
    try:
        for attempt in Retrying(
            retry=retry_if_exception_type(_RACES),
            stop=stop_after_delay(_RACE_SECONDS),
            reraise=True,
            wait=wait_random(0.05, 0.5),
        ):
            with attempt:
                [[(_, _, revision)]] = run(session, [_installed(schema)])
                if not is_current(revision):
                    at_once(session, [sql.SQL(script("postgis/ledger.sql"))])
    except errors.InsufficientPrivilege as error:
        database, user = session.info.dbname, session.info.user
        raise TargetError(
            f"User {user} may not create the schemas postgres_sync and flux_versions: {error.diag.message_primary}.",
            f'Run GRANT CREATE ON DATABASE "{database}" TO "{user}" as the database\'s owner.',
        ) from error
