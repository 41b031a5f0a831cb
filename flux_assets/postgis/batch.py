"""Several statements in one round trip: where the database is 20 ms away, most of a sync is waiting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql

Rows = list[tuple[Any, ...]]


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
