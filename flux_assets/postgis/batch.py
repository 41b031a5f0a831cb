"""Several statements in one round trip: where the database is 20 ms away, most of a sync is waiting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql

Rows = list[tuple[Any, ...]]
# Readers that come while we wait for a lock queue behind us, and a swap takes two, of the public table and of its
# version: together under the 100 ms that readers are promised.
LOCK_TIMEOUT_MS, PROMISED_MS = 40, 100
# What a statement may take under the lock; it takes a few milliseconds. A wait for a standby would keep the lock too;
# it is made up for afterwards (await_standbys).
_LIMITS = sql.SQL(f"""
BEGIN; SET LOCAL lock_timeout = '{LOCK_TIMEOUT_MS}ms'; SET LOCAL statement_timeout = '1s';
SET LOCAL idle_in_transaction_session_timeout = '5s'; SET LOCAL synchronous_commit = 'local'
""")


def run(session: psycopg.Connection, statements: Sequence[sql.Composable]) -> list[Rows]:
    """Run the statements in order, return the rows of each that has any. Outside a transaction they form one."""
    cursor = session.execute(sql.SQL(";\n").join(statements))
    found = []
    while True:
        if cursor.description is not None:
            found.append(cursor.fetchall())
        if not cursor.nextset():
            return found


def affected(session: psycopg.Connection, statements: Sequence[sql.Composable]) -> list[int]:
    """Run the statements in order, return how many rows each of them wrote."""
    cursor = session.execute(sql.SQL(";\n").join(statements))
    counts = [cursor.rowcount]
    while cursor.nextset():
        counts.append(cursor.rowcount)
    return counts


def at_once(connection: psycopg.Connection, statements: Sequence[sql.Composable]) -> list[Rows]:
    """Run the statements in a transaction of one round trip. Raises LockNotAvailable when a lock is not free."""
    try:
        return run(connection, [_LIMITS, *statements, sql.SQL("COMMIT")])
    except psycopg.Error:
        if not connection.closed:
            connection.execute("ROLLBACK")
        raise
