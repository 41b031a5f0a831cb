"""What the database says of each table right now, read without changing or making anything.

Here: the last runs in the ledger, and whether what the register calls current is what readers see. Not here:
what that amounts to in words (status.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg
from psycopg.rows import class_row

from flux_assets.postgis import catalog, register
from flux_assets.postgis.layer import VERSIONS, Layer
from flux_assets.postgis.register import Version

# Runs of one table can overlap (one waits, or gives up, while another loads): one under way comes first, then the
# one that ended last. A rollback that was refused has changed nothing and says nothing about the table.
_LAST = """
SELECT run.* FROM unnest(%(names)s::text[]) AS wanted (layer_name) CROSS JOIN LATERAL (
    SELECT * FROM (
        SELECT entry.layer_name, entry.sync_type, entry.status, entry.started_at, entry.completed_at,
               entry.error_message, entry.run_id, entry.sync_id,
               entry.status = 'RUNNING' AND EXISTS (
                   SELECT FROM pg_stat_activity AS session
                   WHERE session.pid = entry.backend_pid
                     AND coalesce(session.backend_start, entry.backend_start) = entry.backend_start) AS alive
        FROM postgres_sync.sync_status AS entry
        WHERE entry.schema_name = %(schema)s AND entry.layer_name = wanted.layer_name
        ORDER BY entry.started_at DESC LIMIT 20) AS recent
    WHERE alive OR status = 'SUCCESS' OR sync_type <> 'ROLLBACK'
    ORDER BY alive DESC, coalesce(completed_at, started_at) DESC, sync_id DESC LIMIT 1) AS run
"""
_SUCCEEDED = """
SELECT wanted.layer_name, run.completed_at FROM unnest(%(names)s::text[]) AS wanted (layer_name) CROSS JOIN LATERAL (
    SELECT completed_at FROM postgres_sync.sync_status AS entry
    WHERE entry.schema_name = %(schema)s AND entry.layer_name = wanted.layer_name AND status = 'SUCCESS'
    ORDER BY entry.started_at DESC LIMIT 1) AS run
"""


_SYNCED = """
SELECT wanted.layer_name, state.rows, run.source_instant, run.source_changed_at
FROM unnest(%(names)s::text[]) AS wanted (layer_name)
JOIN postgres_sync.sync_state AS state ON state.layer_name = wanted.layer_name AND state.schema_name = %(schema)s
CROSS JOIN LATERAL (
    SELECT source_instant, source_changed_at FROM postgres_sync.sync_status AS entry
    WHERE entry.schema_name = %(schema)s AND entry.layer_name = wanted.layer_name AND status = 'SUCCESS'
    ORDER BY entry.started_at DESC LIMIT 1) AS run
"""


@dataclass(frozen=True)
class Run:
    """A row of the ledger; `alive` says that it is RUNNING and that its process is there."""

    layer_name: str
    sync_type: str
    status: str
    started_at: datetime
    completed_at: datetime | None
    error_message: str | None
    run_id: str | None
    sync_id: int
    alive: bool


@dataclass(frozen=True)
class Picture:
    """What a synced table shows: its rows, the source's instant they are of, and when the source last changed."""

    layer_name: str
    rows: int
    source_instant: datetime | None
    source_changed_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What the register calls current, what readers see instead when that is not it, and what is in the way."""

    current: Version | None
    broken: str | None
    foreign: str | None = None


def is_prepared(connection: psycopg.Connection) -> bool:
    """Whether any load has ever made our schemas here."""
    return catalog.find(connection, "postgres_sync", "layer_versions") is not None


def now(connection: psycopg.Connection) -> datetime:
    """The server's clock (UTC), which the ledger's times come from."""
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    return row[0] if row else datetime.now(UTC)


def last_runs(connection: psycopg.Connection, schema: str, names: Sequence[str]) -> dict[str, Run]:
    """The run under way, else the one that ended last, of each table that has any."""
    with connection.cursor(row_factory=class_row(Run)) as cursor:
        found = cursor.execute(_LAST, {"schema": schema, "names": list(names)}).fetchall()
    return {run.layer_name: run for run in found}


def last_successes(connection: psycopg.Connection, schema: str, names: Sequence[str]) -> dict[str, datetime]:
    """When each table that ever was was last found, or made, current."""
    return dict(connection.execute(_SUCCEEDED, {"schema": schema, "names": list(names)}).fetchall())


def pictures(connection: psycopg.Connection, schema: str, names: Sequence[str]) -> dict[str, Picture]:
    """What each synced table shows; nothing of one that never was."""
    if catalog.find(connection, "postgres_sync", "sync_state") is None:  # made by an earlier release of flux_assets
        return {}
    with connection.cursor(row_factory=class_row(Picture)) as cursor:
        found = cursor.execute(_SYNCED, {"schema": schema, "names": list(names)}).fetchall()
    return {picture.layer_name: picture for picture in found}


def standing(connection: psycopg.Connection, layer: Layer) -> Standing:
    """What readers of a layer see, compared with the register, as of one instant."""
    with connection.transaction():
        # A publish between two of these statements would otherwise look like a damaged layer.
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        current = next((version for version in register.versions(connection, layer) if version.current), None)
        if current is None:
            return Standing(current=None, broken=None, foreign=_foreign(connection, layer))
        return Standing(current=current, broken=_broken(connection, layer, current))


def foreign_kind(kind: str) -> str:
    """What stands under a layer's name, in words, when it is no partitioned table."""
    kinds = {"r": "a plain table", "v": "a view", "m": "a materialized view", "f": "a foreign table"}
    return kinds.get(kind, "a relation of another kind")


def _foreign(connection: psycopg.Connection, layer: Layer) -> str | None:
    relation = catalog.find(connection, layer.schema, layer.name)
    return foreign_kind(relation.kind) if relation is not None and relation.kind != "p" else None


def _broken(connection: psycopg.Connection, layer: Layer, current: Version) -> str | None:
    relation = catalog.find(connection, layer.schema, layer.name)
    if relation is None:
        return f"table {layer.title} is gone"
    if relation.kind != "p":
        return f"{layer.title} is {foreign_kind(relation.kind)} now"
    if register.live_version(connection, layer) is None:
        return _not_live(connection, layer, current)
    if len(partitions := catalog.partitions(connection, relation.oid)) > 1:
        return f"{layer.title} has partitions that flux_assets did not make: {', '.join(partitions)}"
    return None


def _not_live(connection: psycopg.Connection, layer: Layer, current: Version) -> str:
    attached = register.default_partition(connection, layer)
    if attached is None:
        return f"version {current.version[:12]} is not attached to {layer.title}: readers see none of its rows"
    if attached != (VERSIONS, current.relation):
        return f"{'.'.join(attached)} is attached where version {current.version[:12]} should be"
    return (
        f"{layer.title} is {'empty' if current.rows else 'not empty'}, but its version had {current.rows or 0:,} rows"
    )
