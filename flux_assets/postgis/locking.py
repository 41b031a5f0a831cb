"""Short transactions that lock readers out: one round trip each, under limits that the server enforces.

A process that is frozen or cut off in the middle holds no lock: the server has the whole transaction, its COMMIT
included, before it takes the first one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from threading import Event, Timer
from time import monotonic

import psycopg
from psycopg import errors, sql

from flux_assets.errors import PublishError, reported
from flux_assets.postgis.batch import Rows, run
from flux_assets.postgis.catalog import find
from flux_assets.postgis.connect import Stop
from flux_assets.postgis.lock_holders import LockHolder, lock_holders, make_way

# Readers that come while we wait for a lock queue behind us, and a swap takes two, of the public table and of its
# version: together under the 100 ms that readers are promised.
LOCK_TIMEOUT_MS, PROMISED_MS = 40, 100
# What a statement may take under the lock; it takes a few milliseconds. A wait for a standby would keep the lock too;
# it is made up for afterwards (await_standbys).
_LIMITS = sql.SQL(f"""
BEGIN; SET LOCAL lock_timeout = '{LOCK_TIMEOUT_MS}ms'; SET LOCAL statement_timeout = '1s';
SET LOCAL idle_in_transaction_session_timeout = '5s'; SET LOCAL synchronous_commit = 'local'
""")
_PAUSES_SECONDS = (0.2, 0.5, 1.0)
# What of others keeps us from reading a table, and from writing rows of it: those who read it do neither.
AGAINST_READING = ("AccessExclusiveLock",)
AGAINST_WRITING = (
    "RowShareLock", "RowExclusiveLock", "ShareUpdateExclusiveLock", "ShareLock", "ShareRowExclusiveLock",
    "ExclusiveLock", *AGAINST_READING,
)  # fmt: skip
GONE = "a session that is gone by now"
_PASSING = (errors.LockNotAvailable, errors.DeadlockDetected, errors.QueryCanceled)


def holders(connection: psycopg.Connection, schema: str, name: str, modes: Sequence[str]) -> str:
    """In words, who holds a lock of these modes on a relation; empty when nobody does."""
    found = find(connection, schema, name)
    return "; ".join(map(str, lock_holders(connection, [found.oid], modes))) if found else ""


@dataclass(frozen=True, kw_only=True)
class LockRetries:
    """How long to go on trying, where to say so, and how to be told to stop."""

    seconds: float
    log: Callable[[str], None]
    stop: Stop = field(default_factory=Stop)


def at_once(connection: psycopg.Connection, statements: Sequence[sql.Composable]) -> list[Rows]:
    """Run the statements in a transaction of one round trip; raises LockNotAvailable when a lock is not free."""
    try:
        return run(connection, [_LIMITS, *statements, sql.SQL("COMMIT")])
    except psycopg.Error:
        if not connection.closed:
            connection.execute("ROLLBACK")
        raise


def briefly(
    connection: psycopg.Connection,
    statements: Callable[[], Sequence[sql.Composable]],
    patience: LockRetries,
    *,
    waiting_for: Sequence[int],
    doing: str,
) -> list[Rows]:
    """Run `statements` in a transaction of one round trip that gives up a lock after 40 ms, until it succeeds.

    The statements are asked for anew at each attempt, and what they return is returned. `waiting_for` are the OIDs of
    the tables whose holders are named. Nobody is ever terminated: raises PublishError naming the blocking sessions when
    the patience is over.
    """
    deadline = monotonic() + patience.seconds
    attempt = 0
    while True:
        patience.stop.check()
        script = statements()
        try:
            return at_once(connection, script)
        except psycopg.Error as error:
            if patience.stop.asked or not isinstance(error, _PASSING):
                raise
            reason = error
        in_the_way = lock_holders(connection, waiting_for)
        if monotonic() >= deadline:
            raise _out_of_patience(reason, doing, patience, in_the_way)
        if attempt in {0, 4, 16, 64, 256}:
            patience.log(f"{doing} waits for {_told(in_the_way)}")
        if make_way(connection, in_the_way):
            patience.log(f"{doing}: the autovacuum in the way has ended; the server starts it again later")
            attempt += 1
            continue
        pause = _PAUSES_SECONDS[min(attempt, len(_PAUSES_SECONDS) - 1)]
        patience.stop.wait(pause * random.uniform(1, 1.5))  # noqa: S311 - jitter, not cryptography
        attempt += 1


def _told(in_the_way: Sequence[LockHolder]) -> str:
    return "; ".join(map(str, in_the_way)) or GONE


def _out_of_patience(
    reason: psycopg.Error, doing: str, patience: LockRetries, in_the_way: Sequence[LockHolder]
) -> PublishError:
    begun = f"{doing[:1].upper()}{doing[1:]}"
    if isinstance(reason, errors.QueryCanceled):
        return PublishError(
            f"{begun} took longer than the 1 s for which readers may be locked out, again and again for"
            f" {patience.seconds:.0f} s.",
            "Run it again when the server is less busy.",
        )
    return PublishError(
        f"{begun} waited {patience.seconds:.0f} s for a lock held by {_told(in_the_way)}.",
        "End that transaction where it was begun, or by the command that is named, and run again.",
    )


# Whoever waits for longer hears of it, and whoever waits for this long goes on without the standby.
_REPORTED_SECONDS, _STANDBY_SECONDS = 1.0, 60.0
_CANCEL_SECONDS = 5
# A message in the WAL locks nothing and is read by nobody; its commit waits as the session's own commits do.
_STANDBY_WAIT = """
SELECT statement_timestamp(),
       CASE WHEN current_setting('synchronous_standby_names') <> ''
                 AND current_setting('synchronous_commit') NOT IN ('off', 'local')
            THEN pg_logical_emit_message(true, 'flux_assets', 'published') END
"""


@dataclass(frozen=True)
class _StandbyWait:
    """How a wait ended; `released` is when the server, having committed, heard from us again."""

    released: datetime
    seconds: float
    was_cancelled: bool


def await_standbys(connection: psycopg.Connection, title: str, log: Callable[[str], None]) -> datetime | None:
    """Wait until the synchronous standbys, where there are any, have what was committed; a minute at most.

    Returns when the server began with it: by then, whatever was locked is free. None where it could not be asked; what
    is committed is committed.
    """
    try:
        ended = _wait_for_standbys(connection)
        if ended.was_cancelled:
            # The following commits would each wait as long.
            connection.execute("SET synchronous_commit = 'local'")
            log(
                f"{title} is published here; synchronous standbys did not confirm it within {_STANDBY_SECONDS:.0f} s,"
                " and this run goes on without them (pg_stat_replication on the primary says how far they are)"
            )
        elif ended.seconds > _REPORTED_SECONDS:
            log(f"{title} is published; its synchronous standbys had it after {ended.seconds:.1f} s")
    except psycopg.Error as error:
        log(f"{title} is published; whether standbys have it could not be asked: {reported(error)}")
        return None
    return ended.released


def _wait_for_standbys(connection: psycopg.Connection) -> _StandbyWait:
    begun, cancelled = monotonic(), Event()

    def cancel() -> None:
        cancelled.set()
        with suppress(psycopg.Error):
            connection.cancel_safe(timeout=_CANCEL_SECONDS)

    timer = Timer(_STANDBY_SECONDS, cancel)
    timer.daemon = True
    timer.start()
    try:
        # Cancelled while it waits, a commit succeeds with a warning.
        row = connection.execute(_STANDBY_WAIT).fetchone()
    finally:
        timer.cancel()
    if row is None:
        raise psycopg.OperationalError("the server gave no answer")
    return _StandbyWait(row[0], monotonic() - begun, cancelled.is_set())
