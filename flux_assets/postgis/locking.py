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
from psycopg.rows import class_row

from flux_assets.errors import PublishError, bounded, reported
from flux_assets.postgis.catalog import find
from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.session import Rows, at_once
from flux_assets.sqlfiles import query

_LONGEST_QUERY = 120


@dataclass(frozen=True)
class LockHolder:
    """A session, or a prepared transaction `gid`, that holds a lock; `age_seconds` is its transaction's age."""

    pid: int
    gid: str | None
    username: str | None
    application: str | None
    state: str | None
    backend_type: str
    client: str | None
    age_seconds: float
    query: str | None
    database: str
    tables: list[list[str]]

    @property
    def is_autovacuum(self) -> bool:
        return self.gid is None and self.backend_type == "autovacuum worker"

    @property
    def is_left_open(self) -> bool:
        return self.gid is not None or (self.state or "").startswith("idle in transaction")

    @property
    def description(self) -> str:
        if self.gid is not None:
            return f"prepared transaction {self._gid} (user {self.username}, prepared {self.age_seconds:.0f} s ago)"
        if self.is_autovacuum:
            return f"autovacuum worker {self.pid} ({self._query or 'its table is hidden from this user'})"
        kind = "process" if self.backend_type == "client backend" else f"{self.backend_type} process"
        facts = [f"user {self.username}", f"application {self.application}" if self.application else "unnamed"]
        if not self.application and self.client:
            facts.append(f"from {self.client}")
        facts += [self.state or "its state is hidden from this user"]
        facts.append(f"transaction open for {self.age_seconds:.0f} s")
        if not self.application and self._query:
            facts.append(f"query {self._query}")
        return f"{kind} {self.pid} ({', '.join(facts)})"

    @property
    def ending(self) -> str:
        if self.gid is not None:
            return f'ROLLBACK PREPARED {self._gid} (or COMMIT PREPARED) in database "{self.database}"'
        if self.is_autovacuum:
            return f"SELECT pg_cancel_backend({self.pid})"
        return f"SELECT pg_terminate_backend({self.pid})"

    @property
    def ender(self) -> str:
        of_user = f'"{self.username}" or a superuser' if self.username else "a superuser"
        return "a superuser" if self.is_autovacuum else of_user

    def __str__(self) -> str:
        return f"{self.description}, which {self.ending} by {self.ender} ends"

    @property
    def _gid(self) -> str:
        return sql.Literal(self.gid).as_string()

    @property
    def _query(self) -> str:
        shown = reported(self.query or "")
        return "" if shown == "<insufficient privilege>" else bounded(shown, _LONGEST_QUERY)


def lock_holders(
    connection: psycopg.Connection, oids: Sequence[int], modes: Sequence[str] | None = None
) -> list[LockHolder]:
    """Find who else holds a lock, of these modes or of any, on one of the tables; the oldest transaction first."""
    given = {"oids": list(oids), "modes": None if modes is None else list(modes)}
    with connection.cursor(row_factory=class_row(LockHolder)) as cursor:
        return cursor.execute(query("lock_holders", "holders"), given).fetchall()


def make_way(connection: psycopg.Connection, holders: Sequence[LockHolder]) -> bool:
    """Have the server end an autovacuum among the holders; return whether none is in the way any more.

    The server starts it again later. Readers and writers are not held up.
    """
    tables = sorted({(schema, name) for each in holders if each.is_autovacuum for schema, name in each.tables})
    if not tables:
        return False
    named = sql.SQL(", ").join(sql.Identifier(*table) for table in tables)
    try:
        connection.execute(query("lock_holders", "make_way").format(tables=named))
    except psycopg.Error:  # also of a table that is not ours to lock
        if connection.closed:
            raise
        connection.execute("ROLLBACK")
        return False
    return True


_PAUSES_SECONDS = (0.2, 0.5, 1.0)
# Locks of others that keep us from reading a table, and from writing rows of it; readers of it hold neither.
AGAINST_READING = ("AccessExclusiveLock",)
AGAINST_WRITING = (
    "RowShareLock",
    "RowExclusiveLock",
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    *AGAINST_READING,
)
GONE = "a session that is gone by now"
_PASSING = (errors.LockNotAvailable, errors.DeadlockDetected, errors.QueryCanceled)


def holders(connection: psycopg.Connection, schema: str, name: str, modes: Sequence[str]) -> str:
    """Describe who holds a lock of these modes on a relation; empty when nobody does."""
    found = find(connection, schema, name)
    return "; ".join(map(str, lock_holders(connection, [found.oid], modes))) if found else ""


@dataclass(frozen=True, kw_only=True)
class LockRetries:
    """For how long to retry, where to log it, and what stops it."""

    seconds: float
    log: Callable[[str], None]
    stop: Stop = field(default_factory=Stop)


def briefly(
    connection: psycopg.Connection,
    statements: Callable[[], Sequence[sql.Composable]],
    retries: LockRetries,
    *,
    waiting_for: Sequence[int],
    doing: str,
) -> list[Rows]:
    """Run `statements` in a transaction of one round trip that gives up a lock after 40 ms, until it succeeds.

    `statements` is called anew at each attempt. `waiting_for` are the OIDs of the tables whose holders are named in the
    log and in errors; no session is ever terminated. Raises PublishError naming them when the time is over.
    """
    deadline = monotonic() + retries.seconds
    attempt = 0
    while True:
        retries.stop.check()
        script = statements()
        try:
            return at_once(connection, script)
        except psycopg.Error as error:
            if retries.stop.asked or not isinstance(error, _PASSING):
                raise
            reason = error
        blockers = lock_holders(connection, waiting_for)
        if monotonic() >= deadline:
            raise _gave_up(reason, doing, retries, blockers)
        if attempt in {0, 4, 16, 64, 256}:
            retries.log(f"{doing} waits for {_described(blockers)}")
        if make_way(connection, blockers):
            retries.log(f"{doing}: the autovacuum in the way has ended; the server starts it again later")
        else:
            pause = _PAUSES_SECONDS[min(attempt, len(_PAUSES_SECONDS) - 1)]
            retries.stop.wait(pause * random.uniform(1, 1.5))  # noqa: S311 - jitter, not cryptography
        attempt += 1


def _described(blockers: Sequence[LockHolder]) -> str:
    return "; ".join(map(str, blockers)) or GONE


def _gave_up(reason: psycopg.Error, doing: str, retries: LockRetries, blockers: Sequence[LockHolder]) -> PublishError:
    action = f"{doing[:1].upper()}{doing[1:]}"
    if isinstance(reason, errors.QueryCanceled):
        return PublishError(
            f"{action} took longer than the 1 s for which readers may be locked out, at every attempt for"
            f" {retries.seconds:.0f} s.",
            "Run it again when the server is less busy.",
        )
    return PublishError(
        f"{action} waited {retries.seconds:.0f} s for a lock held by {_described(blockers)}.",
        "End that transaction where it was begun, or by the command given, and run again.",
    )


# A wait for longer than the first is logged, and after the second the run continues without the standby.
_REPORTED_SECONDS, _STANDBY_SECONDS = 1.0, 60.0
_CANCEL_SECONDS = 5


@dataclass(frozen=True)
class _StandbyWait:
    """How a wait ended; `released` is when the server, having committed, received our next statement."""

    released: datetime
    seconds: float
    was_cancelled: bool


def await_standbys(connection: psycopg.Connection, title: str, log: Callable[[str], None]) -> datetime | None:
    """Wait until the synchronous standbys, where there are any, have what was committed; a minute at most.

    A COMMIT that waits for a standby keeps its locks, for half a minute where the standby runs a long query: so what
    locks readers out commits without that wait, which follows here. Returns when the server began with it, by which
    time every lock is free; None where it could not be asked.
    """
    try:
        ended = _wait_for_standbys(connection)
        if ended.was_cancelled:
            # The following commits would each wait as long.
            connection.execute("SET synchronous_commit = 'local'")
            log(
                f"{title} is published here; synchronous standbys did not confirm it within {_STANDBY_SECONDS:.0f} s,"
                " and this run continues without them (pg_stat_replication on the primary says how far they are)"
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
        row = connection.execute(query("locking", "standby_wait")).fetchone()
    finally:
        timer.cancel()
    if row is None:
        raise psycopg.OperationalError("the server gave no answer")
    return _StandbyWait(row[0], monotonic() - begun, cancelled.is_set())
