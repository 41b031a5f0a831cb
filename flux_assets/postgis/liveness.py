"""Connections that cannot hang: a long wait is inspected from outside, and ended when nothing will come of it.

TCP's own keepalives do not see a connection whose other end is gone behind a middlebox that answers them. So the server
is asked, through another connection, what it makes of a session that we have been waiting for.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from threading import Condition, Event, Lock, Thread
from time import monotonic
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from flux_assets.encryption import confirm, protected
from flux_assets.errors import LayerError, TargetError
from flux_assets.sqlfiles import query

# Both ends ask after a silent peer within a minute; sent data that is not acknowledged counts as silence.
_TCP = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
    "connect_timeout": 15,
}
# Of Linux's struct tcp_info: bytes that the other end has acknowledged, and bytes that came from it.
_TCP_INFO_BYTES, _ACKED_AND_RECEIVED = 136, slice(120, 136)

_MARK = "flux_assets.another_server_process"
SERVER_PROCESS = "pg_catalog.pg_backend_pid()"


@dataclass(frozen=True)
class _ServerProcess:
    """The server process of a session: a pooler reports numbers of its own, and an address may have several servers."""

    pid: int
    server_started: datetime


class WatchedConnection(psycopg.Connection[Any]):
    """A connection whose waits are watched; not for LISTEN, which waits without asking.

    `server` is its server process, once that was asked for; `is_pooled` means that it is behind a pooler, which
    leaves it to the session. After `deadline` (of the monotonic clock) nothing is waited for any more; no wait at all
    is longer than `answer_within` seconds. `opened_with` is the conninfo.
    """

    opened_with: str = ""
    is_pooled: bool = False
    server: _ServerProcess | None = None
    deadline: float | None = None
    answer_within: float | None = None
    waiting_since: float | None = None
    cancelled_at: float | None = None
    lost: str | None = None
    _socket: socket.socket | None = None

    def wait(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - psycopg's own signature, whatever its version
        self.waiting_since = monotonic()
        try:
            return super().wait(*args, **kwargs)
        except psycopg.OperationalError as error:
            if self.lost is None:
                raise
            raise psycopg.OperationalError(self.lost) from error
        finally:
            self.waiting_since = None

    def identify(self, pid: int, server_started: datetime) -> None:
        """Note the server process: from now on it can be asked what became of a wait."""
        self.server, self.deadline = _ServerProcess(pid, server_started), None

    def cancel_soon(self, seconds: float) -> None:
        """Ask the server to cancel what runs, without waiting for it."""
        self.cancelled_at = monotonic()
        Thread(target=self._cancel, args=(seconds,), name="cancel", daemon=True).start()

    def abandon(self, reason: str) -> None:
        """End the wait that is under way: it raises OperationalError with the reason."""
        self.lost = reason
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def transferred(self) -> bytes:
        """Return what the network reports of bytes sent and received; empty where it reports nothing."""
        try:
            info = (
                self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES) if self._socket else b""
            )
        except (OSError, AttributeError):  # a Unix socket; another system than Linux
            return b""
        return info[_ACKED_AND_RECEIVED]

    def hold_socket(self) -> None:
        """Keep the socket: its number may be another's as soon as the connection is closed."""
        self._socket = socket.socket(fileno=os.dup(self.fileno()))

    def drop_socket(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()

    def _cancel(self, seconds: float) -> None:
        with suppress(psycopg.Error):
            self.cancel_safe(timeout=seconds)


@lru_cache(maxsize=8)
def _with_keepalives(address: str) -> str:
    given = conninfo_to_dict(address)
    return make_conninfo(address, **{name: value for name, value in _TCP.items() if name not in given})


def open_watched(conninfo: str, application: str) -> WatchedConnection:
    """Open an autocommit connection, encrypted unless the server is on this machine.

    Raises psycopg.OperationalError, or TargetError where it would not be encrypted.
    """
    address = _with_keepalives(protected(conninfo))
    # In another encoding, by a role, a database or the environment, not even a refusal could always be read.
    connection = WatchedConnection.connect(
        address, autocommit=True, application_name=application[:63], client_encoding="UTF8"
    )
    try:
        confirm(connection.fileno(), connection.info.host, encrypted=connection.pgconn.ssl_in_use)
    except TargetError:
        connection.close()
        raise
    connection.opened_with = conninfo
    connection.hold_socket()
    return connection


def own_process(session: WatchedConnection) -> sql.Composed:
    """Return an expression for the number of the server process, which fails where a pooler reported another.

    In the first statements of a session it keeps the others from being run through an unknown pooler.
    """
    if session.is_pooled:
        return sql.SQL(SERVER_PROCESS).format()
    reported_pid = sql.Literal(session.info.backend_pid)
    return sql.SQL(
        f"CASE WHEN {SERVER_PROCESS} = {{}} THEN {SERVER_PROCESS}"
        f" ELSE pg_catalog.current_setting('{_MARK}')::pg_catalog.int4 END"
    ).format(reported_pid)


def is_of_a_pooler(error: psycopg.Error) -> bool:
    """Tell whether it is `own_process` that failed: a pooler is between us and the server."""
    return error.sqlstate == "42704" and _MARK in str(error)


_SESSIONS = query("probing", "sessions")
_SETTINGS = "SET lock_timeout = '2s'; SET statement_timeout = '5s'; SET synchronous_commit = off; SET TimeZone = 'UTC'"


@dataclass(eq=False)
class Beat:
    """A statement that is executed now and then while it is registered: a sign of life."""

    conninfo: str
    statement: str
    last: float = field(default_factory=monotonic)


@dataclass(frozen=True)
class _Look:
    """What was found of one wait: equal to the next when nothing has moved."""

    since: float | None
    row: tuple[Any, ...] | None
    transferred: bytes


class Prober:
    """Inspects the sessions of one address, one round at a time, on a thread."""

    def __init__(
        self, open_connection: Callable[[], WatchedConnection], close: Callable[[WatchedConnection], None]
    ) -> None:
        self._open, self._close = open_connection, close
        self._connection: WatchedConnection | None = None
        self._looks: dict[WatchedConnection, _Look] = {}
        self.begun = 0.0
        self.busy = False
        # Since when the server has been asked without any answer.
        self._unanswered_since: float | None = None

    def unanswered_for(self, now: float) -> float:
        """Return for how many seconds the server has answered nothing."""
        return 0 if self._unanswered_since is None else now - self._unanswered_since

    def start(self, silent: Sequence[WatchedConnection], due: Sequence[Beat]) -> None:
        """Start one look on a thread."""
        self.begun, self.busy = monotonic(), True
        if self._unanswered_since is None:
            self._unanswered_since = self.begun
        Thread(target=self._run, args=(silent, due), name="probe", daemon=True).start()

    def close(self) -> None:
        """End the connection to the server."""
        if self._connection is not None:
            self._close(self._connection)
            self._connection = None

    def _run(self, silent: Sequence[WatchedConnection], due: Sequence[Beat]) -> None:
        try:
            self._look(silent, due)
        except (psycopg.Error, TargetError, OSError) as error:
            # A server that refuses us has answered: there may be too many connections, or another password by now.
            if getattr(error, "sqlstate", None) or "FATAL" in str(error):
                self._unanswered_since = None
            self.close()
        finally:
            self.busy = False

    def _look(self, silent: Sequence[WatchedConnection], due: Sequence[Beat]) -> None:
        if self._connection is None:
            self._connection = self._open()
            self._connection.execute(_SETTINGS)
        answers = self._connection.execute(_SESSIONS, [[_pid(each) for each in silent]]).fetchall()
        self._unanswered_since = None
        self._send(self._connection, due)
        started = answers[0][0]
        found = {pid: tuple(rest) for _, pid, *rest in answers if pid is not None}
        self._judge(
            self._connection,
            {
                each: _Look(each.waiting_since, found.get(_pid(each)), each.transferred())
                for each in silent
                if _is_known(each, started, found.get(_pid(each)))
            },
        )

    def _send(self, connection: WatchedConnection, due: Sequence[Beat]) -> None:
        for beat in due:
            # One that fails now is executed at the next look.
            with suppress(psycopg.Error):
                connection.execute(beat.statement.encode())
                beat.last = monotonic()
            if connection.closed:
                raise psycopg.OperationalError("the connection was lost")

    def _judge(self, connection: WatchedConnection, looks: Mapping[WatchedConnection, _Look]) -> None:
        before, self._looks = self._looks, dict(looks)
        for each, look in looks.items():
            reason = _hopeless(look.row)
            if reason is None or look.since is None or look != before.get(each) or each.waiting_since != look.since:
                continue
            if look.row is not None:
                # Ours, of the same role: what it would still wait for is this very process, which may end at once.
                connection.execute("SELECT pg_terminate_backend(%s)", [_pid(each)])
            each.abandon(reason)


def _pid(connection: WatchedConnection) -> int:
    return connection.server.pid if connection.server else connection.info.backend_pid


def _is_known(connection: WatchedConnection, started: datetime, row: tuple[Any, ...] | None) -> bool:
    """Tell whether this server can say what became of a session; another one knows nothing of it.

    Before its first answer a session is known by its number alone, which may be one that a pooler made up.
    """
    if connection.server is not None:
        return connection.server.server_started == started
    return row is not None and row[0] == connection.info.parameter_status("application_name")


def _hopeless(row: tuple[Any, ...] | None) -> str | None:
    """Tell why nothing will come of waiting for a session, None while the server is at work or does not say."""
    if row is None:
        return "the server has ended the session, and the connection did not say so"
    _, state, waits_for, *_ = row
    if state is None:  # of a role whose sessions we may not see
        return None
    if state.startswith("idle"):
        return "the server has answered, and the answer was lost on the way"
    if state == "active" and waits_for == "Client":
        return "the server waits for data that was lost on the way"
    return None


_TICK_SECONDS = 0.25


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long to wait for the server, in seconds.

    The first answer of a session has to come within `first`. A later wait beyond `silence` is inspected every `probe`;
    a server that does not answer that for `unreachable` is given up, and so is a statement beyond `statement`, or one
    that does not end within `cancel` of being cancelled. Signs of life of leases are `beat` apart.
    """

    first: float = 60
    silence: float = 20
    probe: float = 10
    unreachable: float = 300
    statement: float = 4 * 3600
    cancel: float = 5
    beat: float = 15


LIMITS = Limits()


def connect(conninfo: str, application: str) -> WatchedConnection:
    """Open a watched autocommit connection, whose server process has to be known soon (`identify`).

    Raises psycopg.OperationalError, or TargetError where it would not be encrypted.
    """
    connection = open_watched(conninfo, application)
    connection.deadline = monotonic() + LIMITS.first
    _WATCH.add(connection, conninfo)
    return connection


def forget(connection: WatchedConnection) -> None:
    """Stop watching a connection that was closed."""
    _WATCH.discard(connection)


@contextmanager
def beating(conninfo: str, statement: str) -> Iterator[None]:
    """Execute `statement` now and then, through another connection, while the block runs."""
    beat = Beat(conninfo, statement)
    _WATCH.add_beat(beat)
    try:
        yield
    finally:
        _WATCH.discard_beat(beat)


class Stop:
    """A request to stop, made by another thread: cancels what the registered sessions are running, and stays."""

    def __init__(self) -> None:
        self._asked = Event()
        self._lock = Lock()
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
            connection.cancel_soon(LIMITS.cancel)

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


class _Watch:
    """The thread that looks after all watched connections of this process."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._watched: dict[WatchedConnection, str] = {}
        self._beats: list[Beat] = []
        self._probers: dict[str, Prober] = {}
        self._thread: Thread | None = None

    def add(self, connection: WatchedConnection, conninfo: str) -> None:
        with self._changed:
            self._watched[connection] = conninfo
            self._run()

    def discard(self, connection: WatchedConnection) -> None:
        with self._changed:
            self._watched.pop(connection, None)
        connection.drop_socket()

    def add_beat(self, beat: Beat) -> None:
        with self._changed:
            self._beats.append(beat)
            self._run()

    def discard_beat(self, beat: Beat) -> None:
        with self._changed:
            self._beats.remove(beat)

    def _run(self) -> None:
        """Start the thread where there is none: a forked process has none of its parent's."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = Thread(target=self._loop, name="liveness", daemon=True)
            self._thread.start()
        self._changed.notify()

    def _loop(self) -> None:
        while True:
            with self._changed:
                while not self._watched and not self._beats and not self._probers:
                    self._changed.wait()
                watched, beats = dict(self._watched), list(self._beats)
            # A machine that is short of threads or memory may have some at the next round.
            with suppress(RuntimeError, OSError, MemoryError):
                self._inspect(watched, beats, monotonic())
            with self._changed:
                self._changed.wait(_TICK_SECONDS)

    def _inspect(self, watched: dict[WatchedConnection, str], beats: list[Beat], now: float) -> None:
        silent: dict[str, list[WatchedConnection]] = {}
        for connection, conninfo in watched.items():
            if _is_silent(connection, now):
                silent.setdefault(conninfo, []).append(connection)
        for conninfo in {*silent, *(beat.conninfo for beat in beats)}:
            due = [beat for beat in beats if beat.conninfo == conninfo and now - beat.last > LIMITS.beat]
            self._probe(conninfo, silent.get(conninfo, []), due, now)
        for conninfo in set(self._probers).difference(silent, (beat.conninfo for beat in beats)):
            if not self._probers[conninfo].busy:
                self._probers.pop(conninfo).close()

    def _probe(self, conninfo: str, silent: list[WatchedConnection], due: list[Beat], now: float) -> None:
        prober = self._probers.get(conninfo)
        if prober and silent and prober.unanswered_for(now) > LIMITS.unreachable:
            for connection in silent:
                connection.abandon(f"the server has not answered for {LIMITS.unreachable:.0f} s")
        elif not (silent or due) or (prober and (prober.busy or now - prober.begun < LIMITS.probe)):
            return
        else:
            if prober is None:
                prober = self._probers[conninfo] = Prober(lambda: self._opened(conninfo), self._closed)
            prober.start(silent, due)

    def _opened(self, conninfo: str) -> WatchedConnection:
        """Open a connection for probes, each of which has to be answered soon."""
        connection = open_watched(conninfo, "flux_assets liveness")
        connection.answer_within = LIMITS.probe
        with self._changed:
            self._watched[connection] = conninfo
        return connection

    def _closed(self, connection: WatchedConnection) -> None:
        with suppress(psycopg.Error):
            connection.close()
        self.discard(connection)


def _is_silent(connection: WatchedConnection, now: float) -> bool:
    """Tell whether a wait has to be inspected; end it where that is of no use."""
    since = connection.waiting_since
    if since is None:
        return False
    if connection.answer_within is not None:
        if now - since > connection.answer_within:
            connection.abandon("the server did not answer in time")
    elif connection.deadline is not None and now > connection.deadline:
        connection.abandon(f"the server did not give a first answer within {LIMITS.first:.0f} s")
    elif connection.cancelled_at is not None and since <= connection.cancelled_at < now - LIMITS.cancel:
        connection.abandon(f"the server did not end a cancelled statement within {LIMITS.cancel:.0f} s")
    elif now - since > LIMITS.statement:
        connection.abandon(f"a statement did not end within {LIMITS.statement / 3600:.1f} hours")
    else:
        return now - since > LIMITS.silence
    return False


_WATCH = _Watch()


def _forget_parents() -> None:
    """Forget the connections of the parent in a forked process."""
    global _WATCH  # noqa: PLW0603 - one for a process
    _WATCH = _Watch()


os.register_at_fork(after_in_child=_forget_parents)
