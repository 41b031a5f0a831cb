"""The ledger: one row of postgres_sync.sync_status for every load, sync and rollback, also those that fail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg import sql

from flux_assets.errors import bounded
from flux_assets.postgis.names import PublicTable
from flux_assets.sqlfiles import query


@dataclass(frozen=True)
class Entry:
    """A row of the ledger that this process opened."""

    sync_id: int
    sync_type: str


def open_entry(connection: psycopg.Connection, layer: PublicTable, sync_type: str, run_id: str | None) -> Entry:
    """Write a RUNNING row that is gone from RUNNING when `connection`'s process is."""
    row = connection.execute(opening([layer], sync_type, run_id)).fetchone()
    return Entry(row[0] if row else 0, sync_type)


def loaded(entry: Entry, rows: int, *, version: str, sync_type: str) -> sql.Composed:
    """Make a statement that closes a load's row as SUCCESS."""
    return _closing(entry, status="SUCCESS", sync_type=sync_type, rows=rows, version=version)


def succeeded(connection: psycopg.Connection, entry: Entry) -> bool:
    """Tell whether a row was closed as SUCCESS."""
    asking = "SELECT status = 'SUCCESS' FROM postgres_sync.sync_status WHERE sync_id = %s"
    row = connection.execute(asking, [entry.sync_id]).fetchone()
    return bool(row and row[0])


@dataclass(frozen=True, kw_only=True)
class Synced:
    """What a sync did to a table; `source_instant` and `source_changed_at` are aware times."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    source_instant: datetime | None = None
    source_changed_at: datetime | None = None


def succeeding(entry: Entry, sync_type: str, synced: Synced) -> sql.Composed:
    """Make a statement that closes a sync's row as SUCCESS; it belongs into the sync's transaction."""
    return query("entries", "close_synced").format(
        kind=sql.Literal(sync_type),
        rows=sql.Literal(synced.inserted + synced.updated + synced.deleted),
        inserted=sql.Literal(synced.inserted),
        updated=sql.Literal(synced.updated),
        deleted=sql.Literal(synced.deleted),
        instant=sql.Literal(synced.source_instant),
        changed=sql.Literal(synced.source_changed_at),
        sync_id=sql.Literal(entry.sync_id),
    )


def fail(connection: psycopg.Connection, entry: Entry, message: str) -> None:
    """Close a row as FAILED with the error's message."""
    connection.execute(_closing(entry, status="FAILED", sync_type=entry.sync_type, error=message))


def opening(tables: Sequence[PublicTable], sync_type: str, run_id: str | None) -> sql.Composed:
    """Make a statement that opens a RUNNING row for each table and returns its number and name."""
    return query("entries", "open").format(
        schema=sql.Literal(tables[0].schema),
        kind=sql.Literal(sync_type),
        run_id=sql.Literal(run_id),
        names=sql.Literal([table.name for table in tables]),
    )


def closing_dead(tables: Sequence[PublicTable]) -> sql.Composed:
    """Make a statement that closes the tables' RUNNING rows whose process is gone."""
    return query("entries", "close_dead").format(
        names=sql.Literal([table.name for table in tables]),
        schema=sql.Literal(tables[0].schema),
        said=sql.Literal("The process ended without finishing; closed by a later run."),
    )


def closing_overtaken(since: datetime) -> sql.Composed:
    """Make a statement that closes the RUNNING rows of the session that began at `since` and gives no sign of life.

    Its process cannot say how its run ended, or says it after the newer run.
    """
    said = "The process gave no sign of life for a minute; a later run took its place."
    return query("entries", "close_silent").format(since=sql.Literal(since), said=sql.Literal(said))


def _closing(
    entry: Entry,
    *,
    status: str,
    sync_type: str,
    rows: int | None = None,
    version: str | None = None,
    error: str | None = None,
) -> sql.Composed:
    said = None if error is None else bounded(error)
    values = {"status": status, "sync_type": sync_type, "rows": rows, "version": version, "error": said}
    literals = {name: sql.Literal(value) for name, value in {**values, "sync_id": entry.sync_id}.items()}
    return query("entries", "close").format(**literals)
