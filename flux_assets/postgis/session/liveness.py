"""Connections that cannot hang: a long wait is inspected from outside, and ended when nothing will come of it.

TCP's own keepalives do not see a connection whose other end is gone behind a middlebox that answers them. So the server
is asked, through another connection, what it makes of a session that we have been waiting for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Condition, Thread
from time import monotonic

import psycopg

from flux_assets.postgis.session.probing import Beat, Prober
from flux_assets.postgis.session.watched import WatchedConnection, open_watched

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
