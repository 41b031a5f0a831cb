"""What every run writes: its row in the ledger, the tables that are declared, and the news for who listens."""

from __future__ import annotations

import json
from collections.abc import Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import psycopg
from psycopg import sql

from flux_assets.errors import bounded
from flux_assets.postgis.relations import PublicTable
from flux_assets.spec import Declaration, DynamicTable
from flux_assets.sqlfiles import query


@dataclass(frozen=True)
class Entry:
    """A row of postgres_sync.sync_status that this process opened, as every load, sync and rollback does."""

    sync_id: int
    sync_type: str

    def loaded(self, rows: int, *, version: str, sync_type: str) -> sql.Composed:
        """Make a statement that closes a load's row as SUCCESS."""
        return self._closing("SUCCESS", sync_type, rows=rows, version=version)

    def synced(
        self,
        sync_type: str,
        *,
        inserted: int,
        updated: int,
        deleted: int,
        instant: datetime,
        changed: datetime | None,
    ) -> sql.Composed:
        """Make a statement that closes a sync's row as SUCCESS; it belongs into the sync's transaction.

        The source was read as of `instant` and last `changed` then; both are aware times.
        """
        return query("entries", "close_synced").format(
            sync_id=self.sync_id,
            kind=sync_type,
            rows=inserted + updated + deleted,
            inserted=inserted,
            updated=updated,
            deleted=deleted,
            instant=instant,
            changed=changed,
        )

    def fail(self, connection: psycopg.Connection, message: str) -> None:
        """Close the row as FAILED with the error's message."""
        connection.execute(self._closing("FAILED", self.sync_type, error=bounded(message)))

    def succeeded(self, connection: psycopg.Connection) -> bool:
        """Tell whether the row was closed as SUCCESS."""
        asking = "SELECT status = 'SUCCESS' FROM postgres_sync.sync_status WHERE sync_id = %s"
        row = connection.execute(asking, [self.sync_id]).fetchone()
        return bool(row and row[0])

    def _closing(self, status: str, sync_type: str, **known: object) -> sql.Composed:
        values = {"rows": None, "version": None, "error": None, **known}
        return query("entries", "close").format(sync_id=self.sync_id, status=status, sync_type=sync_type, **values)


def opening(tables: Sequence[PublicTable], sync_type: str, run_id: str | None) -> sql.Composed:
    """Make a statement that opens a RUNNING row for each table and returns its number and name.

    The row is gone from RUNNING when the process of the connection is.
    """
    names = [table.name for table in tables]
    return query("entries", "open").format(schema=tables[0].schema, kind=sync_type, run_id=run_id, names=names)


def closing_dead(tables: Sequence[PublicTable]) -> sql.Composed:
    """Make a statement that closes the tables' RUNNING rows whose process is gone."""
    said = "The process ended without finishing; closed by a later run."
    return query("entries", "close_dead").format(
        schema=tables[0].schema, names=[table.name for table in tables], said=said
    )


def register_declarations(
    schema: str,
    declared: Sequence[Declaration],
    used: Sequence[Declaration],
    known: Set[tuple[object, ...]] | None = None,
) -> list[sql.Composed]:
    """Make statements, without rows, that note the tables `declared` for a schema, and those alone.

    SQL says by them which table to trust. The `used` ones are noted besides; when nobody says what is declared, nothing
    is forgotten. None where that is what is `known` already (`known` in registry.sql), as far as that was asked.
    """
    tables = {table.name: table for table in (*declared, *used)}
    rows = [_registered(table, place) for place, table in enumerate(tables.values(), 1)]
    if known is not None and (known == set(rows) if declared else known >= set(rows)):
        return []
    statements = []
    if rows:
        row = sql.SQL("({}, {}, {}::integer, {}::interval, {}::interval)")
        values = sql.SQL(", ").join(row.format(*map(sql.Literal, each)) for each in rows)
        statements.append(query("registry", "keep").format(schema=schema, rows=values))
    if declared:
        statements.append(query("registry", "forget").format(schema=schema, names=list(tables)))
    return statements


def _registered(table: Declaration, place: int) -> tuple[object, ...]:
    if isinstance(table, DynamicTable):
        return table.name, "dynamic", place, table.freshness.fail, table.freshness.still
    return table.name, "static", place, None, None


def announcing(
    table: PublicTable,
    kind: Literal["published", "rolled back", "synced"],
    *,
    version: str | None = None,
    sync_id: int | None = None,
) -> sql.Composed:
    """Make a statement that tells caches of a table's new `version`, or of the ledger's row whose sync changed it.

    It belongs into the transaction that makes the change, so that it is heard when, and only when, the change can be
    seen. `sync_id` is None where a table only followed another that was synced.
    """
    what = {"sync_id": sync_id} if kind == "synced" else {"version": version}
    payload = json.dumps({"schema": table.schema, "table": table.name, "kind": kind, **what})
    return sql.SQL("NOTIFY flux_published, {}").format(sql.Literal(payload))
