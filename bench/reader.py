"""A process that reads a table again and again and notes every answer: `python -m bench.reader KIND TABLE KEY`.

Here: seven ways in which users read, and a look at the locks. FLUX_BENCH_TARGET holds the conninfo. It runs until its
input is closed and then prints a JSON list of [when, seconds, answer or error]. Not here: judging answers (readers.py).
"""

from __future__ import annotations

import json
import os
import random
import select
import sys
import time
from collections.abc import Callable

import psycopg

Read = Callable[[], object]
Note = tuple[float, float, object]
PAUSES = {"key": 0.003, "locks": 0.0003}
_PAUSE = 0.2


def main() -> None:
    kind, table, key = sys.argv[1:4]
    notes: list[Note] = []
    session = _session(kind)
    while not _told_to_end():
        if session.closed or session.broken:
            session = _session(kind)
        read = _reading(session, kind, table, key)
        notes.append(_noted(session, read))
        time.sleep(PAUSES.get(kind) or random.uniform(0.5, 1.5) * _PAUSE)
    print(json.dumps([note for note in notes if kind != "locks" or note[2]]))


def _reading(session: psycopg.Connection, kind: str, table: str, key: str) -> Read:
    """How one kind of user reads; the answer is the table's count of rows, or 1 for a look-up by key."""
    count = f"SELECT count(*) FROM {table}"
    if kind == "snapshot":
        session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        session.execute("SELECT count(*) FROM bench_other")
        time.sleep(random.uniform(0.3, 1.5))  # the table is published again under the open snapshot
        return lambda: _one(session, count, None)
    query, values = {
        "count": (count, None),
        "select_only": (count, None),
        "prepared": (f"{count} WHERE {key} >= %s", [""]),
        "view": ("SELECT count(*) FROM bench_view", None),
        "function": ("SELECT bench_function()", None),
        "key": (f"{count} WHERE {key} = %s", sys.argv[4:5]),
        "locks": (_EXCLUSIVE, [table]),
    }[kind]
    return lambda: _one(session, query, values)


# `relation` is compared with a name looked up without locking it, so that the look never waits.
_EXCLUSIVE = (
    "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted AND relation = to_regclass(%s)"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def _noted(session: psycopg.Connection, read: Read) -> Note:
    begun = time.monotonic()
    try:
        answer = read()
    except psycopg.Error as error:
        answer = str(error).splitlines()[0]
    took = time.monotonic() - begun
    if not session.closed and session.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
        session.execute("ROLLBACK")
    return begun, took, answer


def _one(session: psycopg.Connection, query: str, values: list[str] | None) -> int:
    row = session.execute(query.encode(), values, prepare=values is not None).fetchone()
    return int(row[0]) if row else -1


def _session(kind: str) -> psycopg.Connection:
    session = psycopg.connect(os.environ["FLUX_BENCH_TARGET"], autocommit=True)
    if kind == "select_only":
        session.execute("SET ROLE bench_reader")
    return session


def _told_to_end() -> bool:
    return bool(select.select([sys.stdin], [], [], 0)[0])


if __name__ == "__main__":
    main()
