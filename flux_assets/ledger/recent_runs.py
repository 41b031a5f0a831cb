"""The last loads and syncs of tables, as the ledger has them, for a small plot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from psycopg import Connection

from flux_assets.sqlfiles import query

MOST_PAST = 24


@dataclass(frozen=True)
class Past:
    """A load or sync that has ended: rows in the table after it, how long it took, how it ended."""

    rows: int
    seconds: float
    failed: bool


def recent(session: Connection, schema: str, name: str, rows: int) -> list[Past]:
    """Return the table's last MOST_PAST loads or syncs, oldest first; it has `rows` now."""
    found = session.execute(query("recent_runs", "recent_runs"), {"name": name, "schema": schema, "most": MOST_PAST})
    return list(_counted(found, rows))[::-1]


def _counted(newest_first: Iterable[tuple[Any, ...]], rows_now: int) -> Iterator[Past]:
    """Count the rows after each, back from now: a load knows its rows, a sync only by how many they grew.

    Before others took rows out by hand there may seem to have been fewer than none.
    """
    rows = rows_now
    for status, seconds, loaded, grown in newest_first:
        failed = status == "FAILED"
        rows = rows if loaded is None or failed else loaded
        yield Past(max(rows, 0), seconds or 0.0, failed)
        rows -= 0 if failed else grown or 0
