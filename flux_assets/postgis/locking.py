"""Short transactions that lock readers out, tried until they succeed, and who is in the way."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import SystemRandom
from time import monotonic, sleep
from typing import ClassVar, Literal

import psycopg
from psycopg import errors, sql
from psycopg.rows import class_row

from flux_assets.errors import PublishError, bounded, reported
from flux_assets.postgis.catalog import Relation
from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.relations import PublicTable
from flux_assets.postgis.session import LOCK_TIMEOUT_MS, Rows, at_once, run
from flux_assets.sqlfiles import query

GIVES_WAY = "compute"
"""What sessions are for (`Target.session`) that end at once for a publish of what they read, and begin again."""
_LONGEST_QUERY = 120
_LOCKED = sql.SQL("SELECT current_setting('flux.locked_at')::timestamptz, clock_timestamp()")
_PAUSES_SECONDS = (0.2, 0.5, 1.0)
_JITTER = SystemRandom()
_PASSING = (errors.LockNotAvailable, errors.DeadlockDetected, errors.QueryCanceled)
# Locks of others that keep us from reading a table, and from writing rows of it; readers of it hold neither.
_MODES = {
    "reading": ["AccessExclusiveLock"],
    "writing": [
        *("RowShareLock", "RowExclusiveLock", "ShareUpdateExclusiveLock", "ShareLock"),
        *("ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock"),
    ],
}


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

    GONE: ClassVar[str] = "a session that is gone by now"

    @classmethod
    def find(
        cls, connection: psycopg.Connection, oids: Sequence[int], modes: Sequence[str] | None = None
    ) -> list[LockHolder]:
        """Find who else holds a lock, of these modes or of any, on one of the tables; the oldest transaction first."""
        given = {"oids": list(oids), "modes": None if modes is None else list(modes)}
        with connection.cursor(row_factory=class_row(cls)) as cursor:
            return cursor.execute(query("lock_holders", "holders"), given).fetchall()

    @classmethod
    def describe(
        cls, connection: psycopg.Connection, schema: str, name: str, against: Literal["reading", "writing"]
    ) -> str:
        """Describe who keeps us from reading a relation or writing its rows; empty when nobody does."""
        found = Relation.find(connection, schema, name)
        return "; ".join(map(str, cls.find(connection, [found.oid], _MODES[against]))) if found else ""

    @property
    def is_autovacuum(self) -> bool:
        return self.gid is None and self.backend_type == "autovacuum worker"

    @property
    def gives_way(self) -> bool:
        return (self.application or "").startswith(f"flux_assets {GIVES_WAY} ")

    @property
    def is_left_open(self) -> bool:
        return self.gid is not None or (self.state or "").startswith("idle in transaction")

    @property
    def description(self) -> str:
        """Who it is, so that a person can find it."""
        if self.gid is not None:
            return f"prepared transaction {self._gid} (user {self.username}, prepared {self.age_seconds:.0f} s ago)"
        shown = reported(self.query or "")
        doing = "" if shown == "<insufficient privilege>" else bounded(shown, _LONGEST_QUERY)
        if self.is_autovacuum:
            return f"autovacuum worker {self.pid} ({doing or 'its table is hidden from this user'})"
        kind = "process" if self.backend_type == "client backend" else f"{self.backend_type} process"
        named = [f"application {self.application}"] if self.application else ["unnamed"]
        if not self.application and self.client:
            named.append(f"from {self.client}")
        state = self.state or "its state is hidden from this user"
        facts = [f"user {self.username}", *named, state, f"transaction open for {self.age_seconds:.0f} s"]
        if not self.application and doing:
            facts.append(f"query {doing}")
        return f"{kind} {self.pid} ({', '.join(facts)})"

    @property
    def ending(self) -> str:
        """The command that ends it."""
        if self.gid is not None:
            return f'ROLLBACK PREPARED {self._gid} (or COMMIT PREPARED) in database "{self.database}"'
        return f"SELECT {'pg_cancel_backend' if self.is_autovacuum else 'pg_terminate_backend'}({self.pid})"

    def __str__(self) -> str:
        is_users = self.username and not self.is_autovacuum
        ender = f'"{self.username}" or a superuser' if is_users else "a superuser"
        return f"{self.description}, which {self.ending} by {ender} ends"

    @property
    def _gid(self) -> str:
        return sql.Literal(self.gid).as_string()


@dataclass(frozen=True, kw_only=True)
class LockRetries:
    """For how long to retry, where to log it, and what stops it."""

    seconds: float
    log: Callable[[str], None]
    stop: Stop = field(default_factory=Stop)

    def briefly(
        self,
        connection: psycopg.Connection,
        statements: Callable[[], Sequence[sql.Composable]],
        *,
        waiting_for: Sequence[int],
        doing: str,
    ) -> list[Rows]:
        """Run `statements` in a transaction of one round trip that gives up a lock after 40 ms, until it succeeds.

        `statements` is called anew at each attempt. `waiting_for` are the OIDs of the tables whose holders are named in
        the log and in errors. No session is ever terminated but one that GIVES_WAY. Raises PublishError naming the
        holders when the time is over.
        """
        deadline = monotonic() + self.seconds
        attempt = 0
        while True:
            self.stop.check()
            script = statements()
            try:
                return at_once(connection, script)
            except psycopg.Error as error:
                if self.stop.asked or not isinstance(error, _PASSING):
                    raise
                reason = error
            blockers = LockHolder.find(connection, waiting_for)
            described = "; ".join(map(str, blockers)) or LockHolder.GONE
            if monotonic() >= deadline:
                raise self._gave_up(reason, doing, described)
            if attempt in {0, 4, 16, 64, 256}:
                self.log(f"{doing} waits for {described}")
            computing = [each.pid for each in blockers if each.gives_way]
            if computing:
                connection.execute(query("lock_holders", "give_way"), {"pids": computing, "purpose": GIVES_WAY})
            if _make_way(connection, blockers):
                self.log(f"{doing}: the autovacuum in the way has ended; the server starts it again later")
            else:
                pause = _PAUSES_SECONDS[min(attempt, len(_PAUSES_SECONDS) - 1)]
                self.stop.wait(pause * _JITTER.uniform(1, 1.5))
            attempt += 1

    @staticmethod
    def swap(
        connection: psycopg.Connection, locks: Sequence[sql.Composable], statements: Sequence[sql.Composable]
    ) -> list[sql.Composable]:
        """Make statements that take the locks, all within one time-out, and then run the others; for `briefly`.

        The last returns when all was locked, and when it was done.
        """
        asked = {
            "milliseconds": LOCK_TIMEOUT_MS,
            "locks": [lock.as_string(connection) for lock in locks],
            "statements": [statement.as_string(connection) for statement in statements],
        }
        asking = sql.SQL("SELECT set_config('flux.swap', {}, true)").format(sql.Literal(json.dumps(asked)))
        return [asking, query("locking", "swap"), _LOCKED]

    def _gave_up(self, reason: psycopg.Error, doing: str, blockers: str) -> PublishError:
        action = f"{doing[:1].upper()}{doing[1:]}"
        if isinstance(reason, errors.QueryCanceled):
            return PublishError(
                f"{action} took longer than the 1 s for which readers may be locked out, at every attempt for"
                f" {self.seconds:.0f} s.",
                "Run it again when the server is less busy.",
            )
        return PublishError(
            f"{action} waited {self.seconds:.0f} s for a lock held by {blockers}.",
            "End that transaction where it was begun, or by the command given, and run again.",
        )


def _make_way(connection: psycopg.Connection, blockers: Sequence[LockHolder]) -> bool:
    """Have the server end an autovacuum among them, which it starts again later; return whether none is left.

    Readers and writers are not held up.
    """
    tables = sorted({(schema, name) for each in blockers if each.is_autovacuum for schema, name in each.tables})
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


_REFRESH_SECONDS, _REFRESH_PAUSE = 10.0, 0.3
# Who waits to refresh concurrently keeps no reader waiting; who waits to refresh otherwise keeps every later one.
_PATIENCE_MS = {True: round(_REFRESH_SECONDS * 1000), False: LOCK_TIMEOUT_MS}


def refresh_views(
    session: psycopg.Connection,
    tables: Sequence[PublicTable],
    log: Callable[[str], None],
    warn: Callable[[str], None],
    stop: Stop,
) -> None:
    """Refresh the materialized views that read these tables of a schema, concurrently where they have a unique index.

    Of one that cannot be refreshed it is said to `warn` why: the tables have changed all the same. One without a unique
    index is tried again and again while it is being read, so that no reader waits for a refresh that has not begun.
    """
    asked = query("publish", "materialized_views").format(
        schema=tables[0].schema, names=[table.name for table in tables]
    )
    for oid, schema, name, is_ours, has_key in session.execute(asked).fetchall():
        title = f"materialized view {schema}.{name}"
        if not is_ours:
            warn(f"{title} is as old as its last REFRESH, for it belongs to somebody else")
            continue
        how = sql.SQL("CONCURRENTLY " if has_key else "")
        statements = [
            sql.SQL("BEGIN; SET LOCAL lock_timeout = {}").format(f"{_PATIENCE_MS[has_key]}ms"),
            sql.SQL("REFRESH MATERIALIZED VIEW {}{}").format(how, sql.Identifier(schema, name)),
            sql.SQL("COMMIT"),
        ]
        if reason := _refused(session, statements, oid, stop):
            warn(f"{title} could not be refreshed: {reason}")
        else:
            log(f"{title} is refreshed")


def _refused(session: psycopg.Connection, statements: Sequence[sql.Composable], oid: int, stop: Stop) -> str:
    """Run the statements, again where the view is locked; returns why they were refused at last, if they were."""
    deadline = monotonic() + _REFRESH_SECONDS
    while True:
        try:
            run(session, statements)
        except psycopg.Error as error:
            if session.closed or session.broken:
                raise
            session.execute("ROLLBACK")
            if not isinstance(error, errors.LockNotAvailable):
                return reported(error)
            if monotonic() >= deadline or stop.asked:
                return f"it is read by {'; '.join(map(str, LockHolder.find(session, [oid]))) or LockHolder.GONE}"
            sleep(_REFRESH_PAUSE)
        else:
            return ""
