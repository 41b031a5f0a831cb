"""Connections that cannot hang: a wait that lasts is looked into from outside, and ended when nothing will come of it.

TCP's own keepalives do not see a connection whose other end is gone behind a middlebox that answers them. So the server
is asked, through another connection, what it makes of a session that we have been waiting for. The same thread gives
the signs of life of leases.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from threading import Condition, Thread
from time import monotonic
from typing import Any, Self

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from flux_assets.encryption import confirm, protected
from flux_assets.errors import TargetError

# Both ends ask after a silent peer within a minute; sent data that nobody acknowledges counts as silence.
_TCP = {
    "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 60_000,
    "connect_timeout": 15,
}  # fmt: skip
_TICK_SECONDS = 0.25
_ASK = """
SELECT pid, application_name, state, wait_event_type, extract(epoch FROM clock_timestamp() - state_change)::float8
FROM pg_stat_activity WHERE pid = ANY (%s)
"""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long to wait for the server, in seconds.

    A wait beyond `silence` is looked into every `probe`; a server that does not answer that for `unreachable` is given
    up, and so is a statement beyond `statement`, or one that does not end within `cancel` of being cancelled. Signs of
    life of leases are `beat` apart.
    """

    silence: float = 30
    probe: float = 10
    unreachable: float = 30
    statement: float = 4 * 3600
    cancel: float = 5
    beat: float = 15


LIMITS = Limits()


class WatchedConnection(psycopg.Connection[Any]):
    """A connection whose waits are watched; not for LISTEN, which waits without asking.

    `server_pid` is the server process, once it was asked for: a pooler has one of its own. After `deadline` (of the
    monotonic clock) nothing is waited for any more.
    """

    server_pid: int | None = None
    deadline: float | None = None
    waiting_since: float | None = None
    cancelled_at: float | None = None
    lost: str | None = None

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

    def cancel_soon(self) -> None:
        """Ask the server to cancel what runs, without waiting for it; what does not end soon is given up."""
        self.cancelled_at = monotonic()
        Thread(target=self._cancel, name="cancel", daemon=True).start()

    def abandon(self, reason: str) -> None:
        """End the wait that is under way: it raises OperationalError with the reason."""
        self.lost = reason
        with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(self.fileno())) as raw:
            raw.shutdown(socket.SHUT_RDWR)

    def _cancel(self) -> None:
        with suppress(psycopg.Error):
            self.cancel_safe(timeout=LIMITS.cancel)


def connect(conninfo: str, application: str) -> WatchedConnection:
    """Open a watched autocommit connection, encrypted unless the server is on this machine.

    Raises psycopg.OperationalError, or TargetError where it would not be encrypted.
    """
    connection = _open(conninfo, application)
    _WATCH.add(connection, conninfo)
    return connection


def forget(connection: WatchedConnection) -> None:
    """Stop watching a connection that is being closed."""
    _WATCH.discard(connection)


class Beat:
    """While the block runs, `statement` is executed now and then through a connection of its own."""

    def __init__(self, conninfo: str, statement: str) -> None:
        self.conninfo = conninfo
        self.statement = statement
        self.last = monotonic()

    def __enter__(self) -> Self:
        _WATCH.add_beat(self)
        return self

    def __exit__(self, *_: object) -> None:
        _WATCH.discard_beat(self)


def _open(conninfo: str, application: str) -> WatchedConnection:
    address = protected(conninfo)
    given = conninfo_to_dict(address)
    address = make_conninfo(address, **{name: value for name, value in _TCP.items() if name not in given})
    connection = WatchedConnection.connect(address, autocommit=True, application_name=application[:63])
    try:
        confirm(connection.fileno(), connection.info.host, encrypted=connection.pgconn.ssl_in_use)
    except TargetError:
        connection.close()
        raise
    return connection


class _Watch:
    """The thread that looks after all watched connections of this process."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._watched: dict[WatchedConnection, str] = {}
        self._beats: list[Beat] = []
        self._probes: dict[str, _Probe] = {}
        self._thread: Thread | None = None

    def add(self, connection: WatchedConnection, conninfo: str) -> None:
        with self._changed:
            self._watched[connection] = conninfo
            self._run()

    def discard(self, connection: WatchedConnection) -> None:
        with self._changed:
            self._watched.pop(connection, None)

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
                while not self._watched and not self._beats:
                    self._changed.wait()
                watched, beats = dict(self._watched), list(self._beats)
            self._look(watched, beats, monotonic())
            with self._changed:
                self._changed.wait(_TICK_SECONDS)

    def _look(self, watched: dict[WatchedConnection, str], beats: Iterable[Beat], now: float) -> None:
        silent: dict[str, list[WatchedConnection]] = {}
        for connection, conninfo in watched.items():
            since = connection.waiting_since
            if since is None:
                continue
            if connection.deadline is not None:
                if now > connection.deadline:
                    connection.abandon("the server did not answer in time")
            elif connection.cancelled_at is not None and since <= connection.cancelled_at < now - LIMITS.cancel:
                connection.abandon(f"the server did not end a cancelled statement within {LIMITS.cancel:.0f} s")
            elif now - since > LIMITS.statement:
                connection.abandon(f"a statement did not end within {LIMITS.statement / 3600:.1f} hours")
            elif now - since > LIMITS.silence:
                silent.setdefault(conninfo, []).append(connection)
        due: dict[str, list[Beat]] = {}
        for beat in beats:
            if now - beat.last > LIMITS.beat:
                due.setdefault(beat.conninfo, []).append(beat)
        for conninfo in {*silent, *due}:
            self._probe(conninfo, silent.get(conninfo, []), due.get(conninfo, []), now)
        for conninfo in set(self._probes).difference(silent, due):
            if self._probes[conninfo].ended:
                del self._probes[conninfo]

    def _probe(self, conninfo: str, silent: list[WatchedConnection], due: list[Beat], now: float) -> None:
        last = self._probes.get(conninfo)
        if last and silent and last.unanswered_for(now) > LIMITS.unreachable:
            for connection in silent:
                connection.abandon(f"the server has not answered for {LIMITS.unreachable:.0f} s")
            return
        if last and not last.ended and now - last.begun < LIMITS.unreachable:
            return
        if last and now - last.begun < LIMITS.probe:
            return
        self._probes[conninfo] = probe = _Probe(conninfo, silent, due, now, last)
        Thread(target=probe.run, name="probe", daemon=True).start()


class _Probe:
    """One question to a server, about sessions that keep us waiting, and signs of life on the way."""

    def __init__(
        self,
        conninfo: str,
        silent: list[WatchedConnection],
        due: list[Beat],
        begun: float,
        last: _Probe | None,
    ) -> None:
        self._conninfo = conninfo
        self._asked = {connection: connection.waiting_since for connection in silent}
        self._due = due
        self.begun = begun
        self.ended = False
        # Since when nothing has been answered, over several probes.
        self._unanswered_since: float | None = begun if last is None else last._unanswered_since or begun

    def unanswered_for(self, now: float) -> float:
        """Tell for how many seconds the server has answered nothing."""
        return 0 if self._unanswered_since is None else now - self._unanswered_since

    def run(self) -> None:
        """Ask, and end the waits that nothing will come of."""
        try:
            with _open(self._conninfo, "flux_assets liveness") as connection:
                connection.deadline = monotonic() + LIMITS.probe
                _WATCH.add(connection, self._conninfo)
                try:
                    self._ask(connection)
                finally:
                    _WATCH.discard(connection)
        except (psycopg.Error, TargetError) as error:
            # A server that refuses us has answered: there may be too many connections, or another password by now.
            if "FATAL:" in str(error):
                self._unanswered_since = None
        finally:
            self.ended = True

    def _ask(self, connection: WatchedConnection) -> None:
        for beat in self._due:
            connection.execute(beat.statement.encode())
            beat.last = monotonic()
        asked = {silent: silent.server_pid or silent.info.backend_pid for silent in self._asked}
        found = {pid: rest for pid, *rest in connection.execute(_ASK, [list(asked.values())]).fetchall()}
        self._unanswered_since = None
        for silent, since in self._asked.items():
            application, *row = found.get(asked[silent], [None])
            # Before the first answer the process is known by its number alone, which may be one that a pooler made up.
            known = silent.server_pid or application == silent.info.parameter_status("application_name")
            if not known or silent.waiting_since != since:
                continue
            if reason := _hopeless(row):
                # Ours, of the same role: what it would still wait for is this very process, which may end at once.
                connection.execute("SELECT pg_terminate_backend(%s)", [asked[silent]])
                silent.abandon(reason)


def _hopeless(row: list[Any]) -> str | None:
    """Tell why nothing will come of waiting for a session, None while the server is at work."""
    if not row:
        return "the server has ended the session, and the connection did not say so"
    state, waits_for, seconds = row
    if state is None:  # of a role whose sessions we may not see
        return None
    if state.startswith("idle") and seconds > LIMITS.probe / 2:
        return "the server has answered, and the answer was lost on the way"
    if state == "active" and waits_for == "Client":
        return "the server waits for data that was lost on the way"
    return None


_WATCH = _Watch()


def _forget_parents() -> None:
    """In a forked process: its parent's connections are its parent's."""
    global _WATCH  # noqa: PLW0603 - one for a process
    _WATCH = _Watch()


os.register_at_fork(after_in_child=_forget_parents)
