"""The dynamic tables in the target database: whether a sync can write them as they stand.

Here: what keeps one from being synced. Not here: where its rows come from (snowflake.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import psycopg

from flux_assets.doctor.finding import Finding, Group
from flux_assets.postgis import catalog, sync_gate, sync_shape
from flux_assets.postgis.layer import LiveTable
from flux_assets.postgis.locking import holder
from flux_assets.spec import DynamicTable

_GROUP = Group("Synced tables")
_NEEDED = ("SELECT", "INSERT", "UPDATE", "DELETE")


def findings(session: psycopg.Connection, schema: str, tables: Sequence[DynamicTable]) -> Iterator[Finding]:
    """What concerns single tables, then the lock that all syncs share."""
    found = [finding for table in tables for finding in _of_table(session, LiveTable(schema, table))]
    yield from found or [_GROUP.ok(f"nothing stands in the way of syncing any of the {len(tables)} tables")]
    who = holder(session, sync_gate.sync_lock(schema))
    if who != "another process":
        yield _GROUP.note(f"a sync is running: {who}")


def _of_table(session: psycopg.Connection, live: LiveTable) -> Iterator[Finding]:
    relation = catalog.find(session, live.schema, live.name)
    if relation is None:
        return
    if error := sync_shape.fault(session, live):
        yield _GROUP.error(error)
        return
    lacking = [right for right in _NEEDED if not _may(session, relation.oid, right)]
    if lacking:
        yield _GROUP.failed(
            f"user {session.info.user} may not {', '.join(lacking)} on {live.title}",
            f"Run GRANT {', '.join(lacking)} ON {live.title} TO {session.info.user}; as its owner.",
        )


def _may(session: psycopg.Connection, oid: int, right: str) -> bool:
    row = session.execute("SELECT has_table_privilege(%s::oid, %s)", [oid, right]).fetchone()
    return bool(row and row[0])
