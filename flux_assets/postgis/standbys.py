"""Waiting for synchronous standbys once nothing is locked any more.

A COMMIT that waits for a standby keeps its locks until that has answered, and one with a long query may take half a
minute. So what locks readers out commits without that wait (locking.py), and it is made up for afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from threading import Event, Timer
from time import monotonic

import psycopg

from flux_assets.errors import reported

# Whoever waits for longer hears of it, and whoever waits for this long goes on without the standby.
_WORTH_SAYING_SECONDS, _PATIENCE_SECONDS = 1.0, 60.0
_CANCEL_SECONDS = 5
# A message in the WAL locks nothing and is read by nobody; its commit waits as the session's own commits do.
_WAIT = """
SELECT statement_timestamp(),
       CASE WHEN current_setting('synchronous_standby_names') <> ''
                 AND current_setting('synchronous_commit') NOT IN ('off', 'local')
            THEN pg_logical_emit_message(true, 'flux_assets', 'published') END
"""


@dataclass(frozen=True)
class _Ended:
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
        ended = _wait(connection)
        if ended.was_cancelled:
            # The following commits would each wait as long.
            connection.execute("SET synchronous_commit = 'local'")
            log(
                f"{title} is published here; synchronous standbys did not confirm it within {_PATIENCE_SECONDS:.0f} s,"
                " and this run goes on without them (pg_stat_replication on the primary says how far they are)"
            )
        elif ended.seconds > _WORTH_SAYING_SECONDS:
            log(f"{title} is published; its synchronous standbys had it after {ended.seconds:.1f} s")
    except psycopg.Error as error:
        log(f"{title} is published; whether standbys have it could not be asked: {reported(error)}")
        return None
    return ended.released


def _wait(connection: psycopg.Connection) -> _Ended:
    begun, cancelled = monotonic(), Event()

    def cancel() -> None:
        cancelled.set()
        with suppress(psycopg.Error):
            connection.cancel_safe(timeout=_CANCEL_SECONDS)

    timer = Timer(_PATIENCE_SECONDS, cancel)
    timer.daemon = True
    timer.start()
    try:
        # Cancelled while it waits, a commit succeeds with a warning.
        row = connection.execute(_WAIT).fetchone()
    finally:
        timer.cancel()
    if row is None:
        raise psycopg.OperationalError("the server gave no answer")
    return _Ended(row[0], monotonic() - begun, cancelled.is_set())
