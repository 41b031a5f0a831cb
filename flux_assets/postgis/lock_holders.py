"""Who is in the way of a lock, named as what it is, with the command that ends it.

Here: sessions of people and programs, workers of the server, and prepared transactions, which have no session. Not
here: what to do about them but an autovacuum, which gives way to whoever waits for long enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from flux_assets.errors import bounded, reported

_LONGEST_QUERY = 120
# A worker of a parallel query stands for its leader. Who may not see another's session sees its number and its user;
# an autovacuum has none. A prepared transaction has no session, and is known by the lock on its own number.
_HOLDERS = """
WITH locks AS MATERIALIZED (SELECT * FROM pg_locks), held AS (
    SELECT DISTINCT coalesce(worker.leader_pid, held.pid) AS pid, held.relation, own.transactionid AS prepared
    FROM locks AS held LEFT JOIN pg_stat_activity AS worker USING (pid)
    LEFT JOIN locks AS own ON held.pid IS NULL AND own.pid IS NULL AND own.locktype = 'transactionid' AND own.granted
                          AND own.virtualtransaction = held.virtualtransaction
    WHERE held.relation = ANY (%(oids)s::oid[])
      AND (held.granted AND %(modes)s::text[] IS NULL
           -- Whoever waits for the table as a whole has everybody else wait behind.
           OR held.mode = ANY (%(modes)s) AND (held.granted OR held.mode = 'AccessExclusiveLock'))
      AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
)
SELECT coalesce(held.pid, 0) AS pid, prepared.gid, coalesce(session.usename, prepared.owner) AS username,
       nullif(session.application_name, '') AS application, session.state,
       coalesce(session.backend_type, CASE WHEN held.pid IS NOT NULL AND session.usesysid IS NULL
                                           THEN 'autovacuum worker' ELSE 'client backend' END) AS backend_type,
       coalesce(session.client_addr::text, CASE WHEN session.client_port = -1 THEN 'a local socket' END) AS client,
       coalesce(greatest(0, extract(epoch FROM statement_timestamp()
                                               - coalesce(prepared.prepared, session.xact_start))), 0)::float8
           AS age_seconds,
       session.query, current_database()::text AS database,
       array_agg(DISTINCT ARRAY[n.nspname, c.relname]::text[]) AS tables
FROM held LEFT JOIN pg_stat_activity AS session ON session.pid = held.pid
LEFT JOIN pg_prepared_xacts AS prepared ON prepared.transaction = held.prepared
JOIN pg_class AS c ON c.oid = held.relation JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE held.pid IS DISTINCT FROM pg_backend_pid() AND (session.pid IS NOT NULL OR prepared.gid IS NOT NULL)
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9
ORDER BY age_seconds DESC
"""
# This mode waits for an autovacuum and for no reader or writer, and none of them waits for it. Who has waited for
# deadlock_timeout has the server end an autovacuum, except one that prevents wraparound.
_MAKE_WAY = sql.SQL("""
BEGIN;
SELECT set_config('lock_timeout', 1000 + extract(epoch FROM current_setting('deadlock_timeout')::interval) * 1000
                                  || 'ms', true);
LOCK TABLE ONLY {tables} IN SHARE UPDATE EXCLUSIVE MODE;
COMMIT
""")


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
        """Whether its transaction waits for somebody to end it."""
        return self.gid is not None or (self.state or "").startswith("idle in transaction")

    @property
    def description(self) -> str:
        """What it is."""
        if self.gid is not None:
            return f"prepared transaction {self._gid} (user {self.username}, prepared {self.age_seconds:.0f} s ago)"
        if self.is_autovacuum:
            return f"autovacuum worker {self.pid} ({self._query or 'its table is not shown to this user'})"
        kind = "process" if self.backend_type == "client backend" else f"{self.backend_type} process"
        facts = [f"user {self.username}", f"application {self.application}" if self.application else "unnamed"]
        if not self.application and self.client:
            facts.append(f"from {self.client}")
        facts += [self.state or "its state is not shown to this user"]
        facts.append(f"transaction open for {self.age_seconds:.0f} s")
        if not self.application and self._query:
            facts.append(f"query {self._query}")
        return f"{kind} {self.pid} ({', '.join(facts)})"

    @property
    def ending(self) -> str:
        """The command that ends it."""
        if self.gid is not None:
            return f'ROLLBACK PREPARED {self._gid} (or COMMIT PREPARED) in database "{self.database}"'
        if self.is_autovacuum:
            return f"SELECT pg_cancel_backend({self.pid})"
        return f"SELECT pg_terminate_backend({self.pid})"

    @property
    def ender(self) -> str:
        """Who may end it."""
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
        return cursor.execute(_HOLDERS, given).fetchall()


def make_way(connection: psycopg.Connection, holders: Sequence[LockHolder]) -> bool:
    """Have an autovacuum among the holders end, where it does; True when none is in the way any more.

    The server starts it again later. Readers and writers go on meanwhile.
    """
    tables = sorted({(schema, name) for each in holders if each.is_autovacuum for schema, name in each.tables})
    if not tables:
        return False
    named = sql.SQL(", ").join(sql.Identifier(*table) for table in tables)
    try:
        connection.execute(_MAKE_WAY.format(tables=named))
    except psycopg.Error:  # also of a table that is not ours to lock
        if connection.closed:
            raise
        connection.execute("ROLLBACK")
        return False
    return True
