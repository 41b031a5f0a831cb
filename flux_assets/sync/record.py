"""What a sync writes of itself: the state that the next one compares with, and the ledger's rows.

Here: statements for the end of the sync's transaction. Not here: reading the state (sync_gate.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from psycopg import sql

from flux_assets.postgis.names import LiveTable
from flux_assets.sync.gate import mark_of


@dataclass(frozen=True, kw_only=True)
class SyncState:
    """What a sync knows of the source that a table was brought into step with; times are aware."""

    declaration: str
    token: str | None
    mapping: str | None
    fingerprint: str
    origins: Mapping[str, str | None]
    shape: str
    source_instant: datetime
    source_changed_at: datetime
    read_at: datetime | None


def remember(live: LiveTable, seen: SyncState, *, wrote: bool) -> sql.Composed:
    """A statement that notes what was seen and what the table now looks like; returns its number of rows.

    When readers last saw a change moves only where the sync `wrote` a row.
    """
    return sql.SQL(
        "INSERT INTO postgres_sync.sync_state AS s (schema_name, layer_name, declaration, token, mapping, fingerprint,"
        " origins, shape, source_instant, source_changed_at, read_at, mark, rows, changed_at)"
        " SELECT {schema}, {name}, {declaration}, {token}, {mapping}, {fingerprint}, {origins}, {shape}, {instant},"
        " {changed}, {read_at}, mark, split_part(mark, ':', 1)::bigint, clock_timestamp() FROM ({mark}) AS now (mark)"
        " ON CONFLICT (schema_name, layer_name) DO UPDATE SET declaration = excluded.declaration,"
        " token = excluded.token, mapping = excluded.mapping, fingerprint = excluded.fingerprint,"
        " origins = excluded.origins,"
        " shape = excluded.shape, source_instant = excluded.source_instant,"
        " source_changed_at = excluded.source_changed_at, read_at = excluded.read_at,"
        " mark = excluded.mark, rows = excluded.rows,"
        " changed_at = CASE WHEN {wrote} THEN excluded.changed_at ELSE s.changed_at END RETURNING rows"
    ).format(
        schema=sql.Literal(live.schema), name=sql.Literal(live.name), declaration=sql.Literal(seen.declaration),
        token=sql.Literal(seen.token), mapping=sql.Literal(seen.mapping), fingerprint=sql.Literal(seen.fingerprint),
        origins=sql.Literal(json.dumps(dict(seen.origins))), shape=sql.Literal(seen.shape),
        instant=sql.Literal(seen.source_instant), changed=sql.Literal(seen.source_changed_at),
        read_at=sql.Literal(seen.read_at), mark=mark_of(live),
        wrote=sql.Literal(wrote),
    )  # fmt: skip


def note_refresh(live: LiveTable) -> sql.Composed:
    """A statement that notes what the table looks like after its derived columns alone were written."""
    return sql.SQL(
        "UPDATE postgres_sync.sync_state SET mark = ({mark}), changed_at = clock_timestamp()"
        " WHERE schema_name = {schema} AND layer_name = {name}"
    ).format(mark=mark_of(live), schema=sql.Literal(live.schema), name=sql.Literal(live.name))


def note_signs(live: LiveTable, token: str | None, mapping: str | None, read_at: datetime | None) -> sql.Composed:
    """A statement that notes a newer change token, other columns, or a later reading of the same rows."""
    return sql.SQL(
        "UPDATE postgres_sync.sync_state SET token = {}, mapping = {}, read_at = {}"
        " WHERE schema_name = {} AND layer_name = {}"
    ).format(
        sql.Literal(token), sql.Literal(mapping), sql.Literal(read_at), sql.Literal(live.schema), sql.Literal(live.name)
    )
