"""What every run writes: its row in the ledger, the tables that are declared, and the news for who listens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import psycopg
from psycopg import sql

from flux_assets.errors import bounded
from flux_assets.postgis.relations import PublicTable
from flux_assets.spec import Declaration, DynamicTable
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


CHANNEL = "flux_published"
Kind = Literal["published", "rolled back", "synced"]


def announcing(
    table: PublicTable, kind: Kind, *, version: str | None = None, sync_id: int | None = None
) -> sql.Composed:
    """Make a statement that tells of a table's new `version`, or of the ledger's row whose sync changed it.

    `sync_id` is None where a table only followed another that was synced.
    """
    what = {"sync_id": sync_id} if kind == "synced" else {"version": version}
    payload = json.dumps({"schema": table.schema, "table": table.name, "kind": kind, **what})
    return sql.SQL("NOTIFY {}, {}").format(sql.Identifier(CHANNEL), sql.Literal(payload))


_Row = tuple[str, str, int, timedelta | None, timedelta | None]
Known = frozenset[_Row]


def known_in(schema: str) -> sql.Composed:
    """Make a query for what the database knows of the tables of a schema."""
    return query("registry", "known").format(schema=sql.Literal(schema))


def register_declarations(
    schema: str, declared: Sequence[Declaration], used: Sequence[Declaration], known: Known | None = None
) -> list[sql.Composed]:
    """Make statements, without rows, that make the database know the tables `declared` for a schema, and those alone.

    The `used` ones are known besides; when nobody says what is declared, nothing is forgotten. None where that is what
    is `known` already, as far as that was asked.
    """
    tables = {table.name: table for table in (*declared, *used)}
    rows = [_row(table, place) for place, table in enumerate(tables.values(), 1)]
    if known is not None and (known == set(rows) if declared else known.issuperset(rows)):
        return []
    statements = [_keep(schema, rows)] if rows else []
    if declared:
        statements.append(
            query("registry", "forget").format(schema=sql.Literal(schema), names=sql.Literal(list(tables))),
        )
    return statements


def _keep(schema: str, rows: Sequence[_Row]) -> sql.Composed:
    values = [
        sql.SQL("({}, {}, {}::integer, {}::interval, {}::interval)").format(*map(sql.Literal, row)) for row in rows
    ]
    return query("registry", "keep").format(schema=sql.Literal(schema), rows=sql.SQL(", ").join(values))


def _row(table: Declaration, place: int) -> _Row:
    if isinstance(table, DynamicTable):
        return table.name, "dynamic", place, table.freshness.fail, table.freshness.still
    return table.name, "static", place, None, None
