"""Asking a server, through another connection, what it makes of sessions that keep us waiting.

A wait is hopeless when two looks in a row find the same: the server has no such session, or has answered, or waits for
us, and nothing has moved in between. The same connection executes the signs of life of leases.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from threading import Thread
from time import monotonic
from typing import Any, Protocol

import psycopg

from flux_assets.errors import TargetError
from flux_assets.sqlfiles import query

_SESSIONS = query("probing", "sessions")
# What was found of one wait: since when, the server's row, and the bytes moved; equal to the next when nothing moves.
_Look = tuple[float | None, tuple[Any, ...] | None, bytes]
_SETTINGS = "SET lock_timeout = '2s'; SET statement_timeout = '5s'; SET synchronous_commit = off; SET TimeZone = 'UTC'"


class _Waiting(Protocol):
    """A session that keeps us waiting; `server_started` is None before its first answer."""

    waiting_since: float | None
    server_started: datetime | None

    @property
    def server_pid(self) -> int: ...

    @property
    def application(self) -> str | None: ...

    def transferred(self) -> bytes: ...

    def abandon(self, reason: str) -> None: ...


@dataclass(eq=False)
class Beat:
    """A statement that is executed now and then while it is registered: a sign of life."""

    conninfo: str
    statement: str
    last: float = field(default_factory=monotonic)


class Prober:
    """Inspects the sessions of one address, one round at a time, on a thread."""

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]]) -> None:
        self._connect = connect
        self._connection: psycopg.Connection[Any] | None = None
        self._looks: dict[_Waiting, _Look] = {}
        self._unanswered_since: float | None = None
        self.begun = 0.0
        self.busy = False

    def unanswered_for(self, now: float) -> float:
        """Return for how many seconds the server has been asked and answered nothing."""
        return 0 if self._unanswered_since is None else now - self._unanswered_since

    def start(self, silent: Sequence[_Waiting], due: Sequence[Beat]) -> None:
        """Start one look on a thread."""
        self.begun, self.busy = monotonic(), True
        if self._unanswered_since is None:
            self._unanswered_since = self.begun
        Thread(target=self._run, args=(silent, due), name="probe", daemon=True).start()

    def close(self) -> None:
        """End the connection to the server."""
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.close()
            self._connection = None

    def _run(self, silent: Sequence[_Waiting], due: Sequence[Beat]) -> None:
        try:
            self._look(silent, due)
        except (psycopg.Error, TargetError, OSError) as error:
            # A server that refuses us has answered: there may be too many connections, or another password by now.
            if getattr(error, "sqlstate", None) or "FATAL" in str(error):
                self._unanswered_since = None
            self.close()
        finally:
            self.busy = False

    def _look(self, silent: Sequence[_Waiting], due: Sequence[Beat]) -> None:
        if self._connection is None:
            self._connection = self._connect()
            self._connection.execute(_SETTINGS)
        answers = self._connection.execute(_SESSIONS, [[each.server_pid for each in silent]]).fetchall()
        self._unanswered_since = None
        for beat in due:
            # One that fails now is executed at the next look.
            with suppress(psycopg.Error):
                self._connection.execute(beat.statement.encode())
                beat.last = monotonic()
            if self._connection.closed:
                raise psycopg.OperationalError("the connection was lost")
        started = answers[0][0]
        rows = {pid: tuple(rest) for _, pid, *rest in answers if pid is not None}
        before, self._looks = self._looks, {}
        for each in silent:
            row = rows.get(each.server_pid)
            if _is_known(each, started, row):
                self._looks[each] = each.waiting_since, row, each.transferred()
        for each, look in self._looks.items():
            since, row, _ = look
            reason = _hopeless(row)
            if reason is None or since is None or look != before.get(each) or each.waiting_since != since:
                continue
            if row is not None:
                # Ours, of the same role: what it would still wait for is this very process, which may end at once.
                self._connection.execute("SELECT pg_terminate_backend(%s)", [each.server_pid])
            each.abandon(reason)


def _is_known(session: _Waiting, started: datetime, row: tuple[Any, ...] | None) -> bool:
    """Tell whether this server can say what became of a session; another one knows nothing of it.

    Before its first answer a session is known by its number alone, which may be one that a pooler made up.
    """
    if session.server_started is not None:
        return session.server_started == started
    return row is not None and row[0] == session.application


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
