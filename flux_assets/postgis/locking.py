"""Short transactions that need an exclusive lock, without making readers wait.

Here: lock_timeout, jittered retries, naming who blocks. Not here: what the transaction does.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic

import psycopg
from psycopg import errors

from flux_assets.errors import PublishError
from flux_assets.postgis.catalog import blockers, find
from flux_assets.postgis.connect import Stop

# Readers that come while we wait for a lock queue behind us, and a swap takes two, of the public table and of its
# version: together under the 100 ms that readers are promised.
LOCK_TIMEOUT_MS = 40
_PAUSES_SECONDS = (0.2, 0.5, 1.0)
# What of others keeps us from reading a table, and from writing rows of it: those who read it do neither.
AGAINST_READING = ("AccessExclusiveLock",)
AGAINST_WRITING = (
    "RowShareLock", "RowExclusiveLock", "ShareUpdateExclusiveLock", "ShareLock", "ShareRowExclusiveLock",
    "ExclusiveLock", *AGAINST_READING,
)  # fmt: skip
GONE = "a session that is gone by now"

_HOLDER = """
SELECT session.pid, session.application_name, session.usename
FROM pg_locks AS held JOIN pg_stat_activity AS session USING (pid)
WHERE held.locktype = 'advisory' AND held.granted AND held.objsubid = 1
  AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND (held.classid::bigint << 32 | held.objid::bigint) = %s
"""


def holder(connection: psycopg.Connection, key: int) -> str:
    """Who holds one of our advisory locks, in words."""
    found = connection.execute(_HOLDER, [key]).fetchone()
    return f"process {found[0]} ({found[1]}, user {found[2]})" if found else "another process"


def holder_process(connection: psycopg.Connection, key: int) -> int | None:
    """The server process that holds one of our advisory locks."""
    found = connection.execute(_HOLDER, [key]).fetchone()
    return found[0] if found else None


def holders(connection: psycopg.Connection, schema: str, name: str, modes: Sequence[str]) -> str:
    """In words, who holds a lock of these modes on a relation; empty when nobody does."""
    found = find(connection, schema, name)
    return "; ".join(map(str, blockers(connection, [found.oid], modes))) if found else ""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long to go on trying, where to say so, and how to be told to stop."""

    seconds: float
    log: Callable[[str], None]
    stop: Stop = field(default_factory=Stop)


def in_short_transaction(
    connection: psycopg.Connection,
    work: Callable[[], None],
    patience: Patience,
    *,
    waiting_for: list[int],
    doing: str,
) -> None:
    """Run `work` in a transaction that gives up a lock after 40 ms, again and again until it succeeds.

    `waiting_for` are the OIDs of the tables whose holders are named. Nobody is ever terminated: raises PublishError
    naming the blocking sessions when the patience is over.
    """
    deadline = monotonic() + patience.seconds
    attempt = 0
    while True:
        patience.stop.check()
        try:
            with connection.transaction():
                connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_MS}ms'")
                work()
        except (errors.LockNotAvailable, errors.DeadlockDetected):
            pass
        else:
            return
        in_the_way = "; ".join(map(str, blockers(connection, waiting_for))) or GONE
        if monotonic() >= deadline:
            raise PublishError(
                f"{doing[:1].upper()}{doing[1:]} waited {patience.seconds:.0f} s for a lock held by {in_the_way}.",
                "End that transaction and run again.",
            )
        if attempt in {0, 4, 16, 64, 256}:
            patience.log(f"{doing} waits for {in_the_way}")
        pause = _PAUSES_SECONDS[min(attempt, len(_PAUSES_SECONDS) - 1)]
        patience.stop.wait(pause * random.uniform(1, 1.5))  # noqa: S311 - jitter, not cryptography
        attempt += 1
