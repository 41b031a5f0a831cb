"""Who holds a lock that is needed, described so that a person can act, and having an autovacuum among them give way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from flux_assets.errors import bounded, reported
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
