"""A pooler between us and the server, and whether a session keeps its server process through it.

The number of the server process that is reported at sign-in may be the pooler's own. What it shares is found by
behaviour: a transaction of another session must not get the server process of ours, and ours must not move.
"""

from __future__ import annotations

from contextlib import ExitStack, closing, suppress
from select import select
from time import monotonic
from typing import LiteralString

import psycopg
from psycopg.pq import ExecStatus, TransactionStatus

from flux_assets.errors import TargetError, reported
from flux_assets.postgis.liveness import WatchedConnection, connect

_ASK = "SELECT pg_catalog.pg_backend_pid()"
_REMEDY = (
    "Name the server itself in FLUX_POSTGRES_URL, to connect past the pooler (Neon's host without -pooler, port 5432 of"
    " Supabase or Azure); or give this database pool_mode = session in the pooler."
)
_ROUNDS = 3
# How long a session may wait for the pooler to give it a server process; what ours answers meanwhile decides.
_WAIT_SECONDS = 2
# A process opens many sessions, and a pooler's mode is changed by hand.
_BELIEVED_SECONDS = 60
# A pool that gives nothing for this long is too small.
_FULL_SECONDS, _TICK_SECONDS = 30, 0.05
_keeps_sessions: dict[str, float] = {}


def require_whole_sessions(session: WatchedConnection) -> None:
    """Raise TargetError where the pooler gives a session's transactions to several server processes."""
    conninfo = session.opened_with
    if monotonic() - _keeps_sessions.get(conninfo, -_BELIEVED_SECONDS) >= _BELIEVED_SECONDS:
        try:
            _judge(session, conninfo)
        except TargetError:
            session.close()  # it may wait for an answer, and nothing can be rolled back meanwhile
            raise
        _keeps_sessions[conninfo] = monotonic()
    session.is_pooled = True


def leave_clean(session: WatchedConnection) -> None:
    """Reset all that was set in a session that the pooler hands on to others."""
    with suppress(psycopg.Error):
        if session.info.transaction_status != TransactionStatus.IDLE:
            session.execute("ROLLBACK")
        session.execute("DISCARD ALL")


def _judge(session: WatchedConnection, conninfo: str) -> None:
    [(ours,)] = session.execute(_ASK).fetchall()
    with ExitStack() as others:
        for _ in range(_ROUNDS):
            try:
                other = others.enter_context(closing(connect(conninfo, "flux_assets pooler")))
            except psycopg.OperationalError as error:
                raise _unknown(error) from error
            _send(other, f"BEGIN; {_ASK}")
            has_answered = _has_answered(other, _WAIT_SECONDS)
            _send(session, _ASK)
            if not has_answered and _is_served_before(session, other):
                _received(session)
                return
            # With all that there is in the others' transactions, only a session with a process of its own is served.
            is_alone = _received(other) != ours and _has_answered(session, _WAIT_SECONDS)
            if not is_alone or _received(session) != ours:
                raise TargetError(
                    "The target database is behind a pooler that gives each transaction another server connection"
                    " (pool_mode = transaction or statement): locks, settings and temporary tables would be shared with"
                    " others.",
                    _REMEDY,
                )


def _is_served_before(session: WatchedConnection, other: WatchedConnection) -> bool:
    """Tell which of two waits for a server process ends first, the later one's only where it has one already."""
    deadline = monotonic() + _FULL_SECONDS
    while not _has_answered(other, 0):
        if _has_answered(session, _TICK_SECONDS):
            return True
        if monotonic() > deadline:
            raise _unknown(psycopg.OperationalError(f"no server connection came free within {_FULL_SECONDS} s"))
    return False


def _send(session: WatchedConnection, script: LiteralString) -> None:
    """Send statements without waiting for them: the pooler may have nothing to give."""
    session.pgconn.send_query(script.encode())
    while session.pgconn.flush():
        select([], [session], [], _WAIT_SECONDS)


def _has_answered(session: WatchedConnection, seconds: float) -> bool:
    deadline = monotonic() + seconds
    try:
        while True:
            session.pgconn.consume_input()
            if not session.pgconn.is_busy():
                return True
            if not select([session], [], [], max(0, deadline - monotonic()))[0]:
                return False
    except psycopg.OperationalError:
        return True  # by the end of the connection, which `_received` raises


def _received(session: WatchedConnection) -> int:
    """Return the server process that answered what was sent."""
    found = 0
    try:
        while result := session.pgconn.get_result():
            if result.status == ExecStatus.FATAL_ERROR:
                raise _unknown(psycopg.OperationalError(result.error_message.decode(errors="replace")))
            if result.status == ExecStatus.TUPLES_OK:
                found = int(result.get_value(0, 0) or 0)
    except psycopg.OperationalError as error:
        raise _unknown(error) from error
    return found


def _unknown(error: psycopg.Error) -> TargetError:
    return TargetError(
        "The target database is behind a pooler, and it is unknown whether a session keeps its server connection:"
        f" {reported(error)}.",
        _REMEDY,
    )
