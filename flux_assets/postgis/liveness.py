"""Connections that cannot hang: a long wait is inspected from outside, and ended when nothing will come of it.

TCP's own keepalives do not see a connection whose other end is gone behind a middlebox that answers them. So the server
is asked, through another connection, what it makes of a session that we have been waiting for.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial
from threading import Condition, Event, Lock, Thread
from time import monotonic
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from flux_assets.encryption import confirm, protected
from flux_assets.errors import LayerError, TargetError
from flux_assets.postgis.probing import Beat, Prober

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
_TICK_SECONDS = 0.25
_Result = TypeVar("_Result")


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


class WatchedConnection(psycopg.Connection[Any]):
    """A connection whose waits are watched until it is closed; not for LISTEN, which waits without asking.

    `is_pooled` means that it is behind a pooler, which leaves it its server process. After `deadline` (of the monotonic
    clock) nothing is waited for any more; no wait is longer than `answer_within` seconds. `opened_with` is a conninfo.
    """

    opened_with: str = ""
    is_pooled: bool = False
    server_started: datetime | None = None
    deadline: float | None = None
    answer_within: float | None = None
    waiting_since: float | None = None
    cancelled_at: float | None = None
    lost: str | None = None
    _server_pid: int | None = None
    _socket: socket.socket | None = None

    def wait(self, gen: PQGen[_Result], *args: Any, **kwargs: Any) -> _Result:
        self.waiting_since = monotonic()
        try:
            return super().wait(gen, *args, **kwargs)
        except psycopg.OperationalError as error:
            if self.lost is None:
                raise
            raise psycopg.OperationalError(self.lost) from error
        finally:
            self.waiting_since = None

    def close(self) -> None:
        super().close()
        _WATCH.discard(self)
        if self._socket is not None:
            self._socket.close()

    @property
    def server_pid(self) -> int:
        """The server process; before it is identified the number reported at sign-in, which may be a pooler's own."""
        return self._server_pid or self.info.backend_pid

    @property
    def application(self) -> str | None:
        return self.info.parameter_status("application_name")

    def identify(self, pid: int, server_started: datetime) -> None:
        """Note the server process, and which server: from now on it can be asked what became of a wait."""
        self._server_pid, self.server_started, self.deadline = pid, server_started, None

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
        if self._socket is None:
            return b""
        try:
            info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
        except (OSError, AttributeError):  # a Unix socket; another system than Linux
            return b""
        return info[_ACKED_AND_RECEIVED]

    def hold_socket(self) -> None:
        """Keep the socket: its number may be another's as soon as the connection is closed."""
        self._socket = socket.socket(fileno=os.dup(self.fileno()))

    def is_silent(self, now: float) -> bool:
        """Tell whether a wait has to be inspected; end it where that is of no use."""
        since = self.waiting_since
        if since is None:
            return False
        if self.answer_within is not None:
            if now - since > self.answer_within:
                self.abandon("the server did not answer in time")
        elif self.deadline is not None and now > self.deadline:
            self.abandon(f"the server did not give a first answer within {LIMITS.first:.0f} s")
        elif self.cancelled_at is not None and since <= self.cancelled_at < now - LIMITS.cancel:
            self.abandon(f"the server did not end a cancelled statement within {LIMITS.cancel:.0f} s")
        elif now - since > LIMITS.statement:
            self.abandon(f"a statement did not end within {LIMITS.statement / 3600:.1f} hours")
        else:
            return now - since > LIMITS.silence
        return False

    def _cancel(self, seconds: float) -> None:
        with suppress(psycopg.Error):
            self.cancel_safe(timeout=seconds)


def connect(conninfo: str, application: str, answer_within: float | None = None) -> WatchedConnection:
    """Open a watched autocommit connection, encrypted unless the server is on this machine; it must be closed.

    Its server process has to be known soon (`identify`), or every answer comes within `answer_within` seconds. Raises
    psycopg.OperationalError, or TargetError where it would not be encrypted.
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
    connection.hold_socket()
    connection.opened_with, connection.answer_within = conninfo, answer_within
    connection.deadline = monotonic() + LIMITS.first
    _WATCH.add(connection)
    return connection


@lru_cache(maxsize=8)
def _with_keepalives(address: str) -> str:
    given = conninfo_to_dict(address)
    return make_conninfo(address, **{name: value for name, value in _TCP.items() if name not in given})


@contextmanager
def beating(conninfo: str, statement: str) -> Iterator[None]:
    """Execute `statement` now and then, through another connection, while the block runs."""
    beat = Beat(conninfo, statement)
    _WATCH.add(beat)
    try:
        yield
    finally:
        _WATCH.discard(beat)


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
        self.reset()

    def reset(self) -> None:
        """Begin anew: a forked process has none of its parent's connections, threads and locks."""
        self._changed = Condition()
        self._watched: set[WatchedConnection | Beat] = set()
        self._probers: dict[str, Prober] = {}
        self._thread: Thread | None = None

    def add(self, each: WatchedConnection | Beat) -> None:
        with self._changed:
            self._watched.add(each)
            if self._thread is None or not self._thread.is_alive():
                self._thread = Thread(target=self._loop, name="liveness", daemon=True)
                self._thread.start()
            self._changed.notify()

    def discard(self, each: WatchedConnection | Beat) -> None:
        with self._changed:
            self._watched.discard(each)

    def _loop(self) -> None:
        while True:
            with self._changed:
                while not self._watched and not self._probers:
                    self._changed.wait()
                watched = [each for each in self._watched if isinstance(each, WatchedConnection)]
                beats = [each for each in self._watched if isinstance(each, Beat)]
            # A machine that is short of threads or memory may have some at the next round.
            with suppress(RuntimeError, OSError, MemoryError):
                self._inspect(watched, beats, monotonic())
            with self._changed:
                self._changed.wait(_TICK_SECONDS)

    def _inspect(self, watched: list[WatchedConnection], beats: list[Beat], now: float) -> None:
        silent = [connection for connection in watched if connection.is_silent(now)]
        asked = {connection.opened_with for connection in silent} | {beat.conninfo for beat in beats}
        for conninfo in asked:
            due = [beat for beat in beats if beat.conninfo == conninfo and now - beat.last > LIMITS.beat]
            self._probe(conninfo, [each for each in silent if each.opened_with == conninfo], due, now)
        for conninfo in set(self._probers) - asked:
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
                connecting = partial(connect, conninfo, "flux_assets liveness", LIMITS.probe)
                prober = self._probers[conninfo] = Prober(connecting)
            prober.start(silent, due)


_WATCH = _Watch()
os.register_at_fork(after_in_child=_WATCH.reset)
