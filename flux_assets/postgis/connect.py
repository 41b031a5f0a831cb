"""Connections to the target database: its address, what a session must be able to do, and stopping what runs in it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import sql

from flux_assets.errors import LayerError, TargetError
from flux_assets.postgis.batch import Rows, run
from flux_assets.postgis.session import liveness, pooler
from flux_assets.postgis.session.refusals import refused
from flux_assets.postgis.session.watched import WatchedConnection, is_of_a_pooler, own_process
from flux_assets.spec import Declaration
from flux_assets.sqlfiles import query

_APPLICATION = "flux_assets"
_SINCE_17 = sql.SQL("SET transaction_timeout = 0")


class Stop:
    """A request to stop, made by another thread: cancels what the registered sessions are running, and stays."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._lock = threading.Lock()
        self._connections: set[WatchedConnection] = set()

    @property
    def asked(self) -> bool:
        return self._asked.is_set()

    def request(self) -> None:
        """Ask to stop; returns at once, statements under way end with QueryCanceled."""
        self._asked.set()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            connection.cancel_soon(liveness.LIMITS.cancel)

    def check(self) -> None:
        """Raise LayerError when a stop has been asked for."""
        if self.asked:
            raise LayerError("Stopped on request; what was there before stays.")

    def wait(self, seconds: float) -> None:
        """Sleep, but wake up and raise LayerError when a stop is asked for."""
        self._asked.wait(seconds)
        self.check()

    @contextmanager
    def watching(self, connection: WatchedConnection) -> Iterator[None]:
        """Have a stop request cancel what `connection` is running, while the block runs."""
        with self._lock:
            self._connections.add(connection)
        try:
            yield
        finally:
            with self._lock:
                self._connections.discard(connection)


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
