"""Asking a server, through another connection, what it makes of sessions that keep us waiting.

A wait is hopeless when two looks in a row find the same: the server has no such session, or has answered, or waits for
us, and nothing has moved in between. The same connection executes the signs of life of leases.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from threading import Thread
from time import monotonic
from typing import Any

import psycopg

from flux_assets.errors import TargetError
from flux_assets.postgis.session.watched import WatchedConnection
from flux_assets.sqlfiles import query

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
