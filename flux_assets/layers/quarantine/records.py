"""Records that a load refused and went on without, kept with their version in postgres_sync.quarantine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from flux_assets.layers.versions import Version
from flux_assets.ledger.entries import Entry
from flux_assets.postgis.names import Layer
from flux_assets.sqlfiles import query

LONGEST_RAW = 64 << 10
# Of loads that failed: whoever fixes the file needs what they refused.
_KEPT_OF_FAILED = timedelta(days=7)


@dataclass(frozen=True, kw_only=True)
class QuarantinedRecord:
    """A record in quarantine; `header` names the columns of `raw_record`. `replayed` when its version has the row."""

    record: int
    file: str
    line: int
    column_name: str | None
    reason: str
    header: list[str]
    raw_record: str
    raw_bytes: int
    raw_cut: bool
    replayed: bool = False


def held_as(raw: bytes) -> tuple[str, int, bool]:
    """Return a record's bytes as they are kept: bounded text, the length of all, whether the text is less."""
    text = raw[:LONGEST_RAW].decode(errors="ignore" if len(raw) > LONGEST_RAW else "backslashreplace")
    return text, len(raw), text.encode() != raw


def hold(connection: psycopg.Connection, layer: Layer, version: Version, records: Iterable[QuarantinedRecord]) -> None:
    """Put records into the quarantine of a version."""
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO postgres_sync.quarantine (schema_name, layer_name, lease, version, run_id, record, file, line,"
            " column_name, reason, header, raw_record, raw_bytes, raw_cut, replayed_at)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s,"
            " CASE WHEN %s THEN clock_timestamp() END)",
            [
                [
                    layer.schema,
                    layer.name,
                    version.lease,
                    version.version,
                    version.run_id,
                    held.record,
                    held.file,
                    held.line,
                    held.column_name,
                    held.reason,
                    held.header,
                    held.raw_record,
                    held.raw_bytes,
                    held.raw_cut,
                    held.replayed,
                ]
                for held in records
            ],
        )


def correct(connection: psycopg.Connection, layer: Layer, lease: int, record: int, header: list[str], raw: str) -> bool:
    """Replace the text of a waiting record; returns whether there is one of this number."""
    done = connection.execute(
        "UPDATE postgres_sync.quarantine SET header = %s, raw_record = %s, raw_bytes = octet_length(%s),"
        " raw_cut = false WHERE schema_name = %s AND layer_name = %s AND lease = %s AND record = %s"
        " AND replayed_at IS NULL",
        [header, raw, raw, layer.schema, layer.name, lease, record],
    )
    return done.rowcount == 1


def explain(connection: psycopg.Connection, layer: Layer, lease: int, held: Iterable[QuarantinedRecord]) -> None:
    """Note where and why records of a version are refused by now."""
    with connection.cursor() as cursor:
        cursor.executemany(
            "UPDATE postgres_sync.quarantine SET column_name = %s, reason = %s"
            " WHERE schema_name = %s AND layer_name = %s AND lease = %s AND record = %s",
            [[one.column_name, one.reason, layer.schema, layer.name, lease, one.record] for one in held],
        )


def records(connection: psycopg.Connection, layer: Layer, lease: int) -> list[QuarantinedRecord]:
    """Return everything that the quarantine has of a version, in the order of the file."""
    with connection.cursor(row_factory=class_row(QuarantinedRecord)) as cursor:
        return cursor.execute(
            "SELECT record, file, line, column_name, reason, header, raw_record, raw_bytes, raw_cut,"
            " replayed_at IS NOT NULL AS replayed FROM postgres_sync.quarantine"
            " WHERE schema_name = %s AND layer_name = %s AND lease = %s ORDER BY record",
            [layer.schema, layer.name, lease],
        ).fetchall()


def waiting(connection: psycopg.Connection, layer: Layer, lease: int) -> int:
    """Return how many records a version lacks."""
    row = connection.execute(
        "SELECT count(*) FROM postgres_sync.quarantine"
        " WHERE schema_name = %s AND layer_name = %s AND lease = %s AND replayed_at IS NULL",
        [layer.schema, layer.name, lease],
    ).fetchone()
    return int(row[0]) if row else 0


def note(connection: psycopg.Connection, layer: Layer, entry: Entry, version: Version) -> int:
    """Have the ledger's row of a run say how many records the version that it publishes lacks; returns that."""
    row = connection.execute(noting(layer, entry, version)).fetchone()
    return int(row[0]) if row else 0


def noting(layer: Layer, entry: Entry, version: Version) -> sql.Composed:
    """Make the statement of `note`, which returns the number."""
    return query("quarantine", "note").format(
        schema=sql.Literal(layer.schema),
        name=sql.Literal(layer.name),
        lease=sql.Literal(version.lease),
        sync_id=sql.Literal(entry.sync_id),
    )


def note_base(connection: psycopg.Connection, layer: Layer, version: Version, base: str, replayed: int) -> None:
    """Have the register say which version of a release another one contains, and how many rows replays added."""
    connection.execute(
        "UPDATE postgres_sync.layer_versions SET base_version = %s, rows_replayed = %s"
        " WHERE schema_name = %s AND layer_name = %s AND lease = %s",
        [base, replayed, layer.schema, layer.name, version.lease],
    )


def forget(connection: psycopg.Connection, layer: Layer, lease: int) -> None:
    """Delete all records of a version, which is being read again."""
    connection.execute(
        "DELETE FROM postgres_sync.quarantine WHERE schema_name = %s AND layer_name = %s AND lease = %s",
        [layer.schema, layer.name, lease],
    )


def prune(connection: psycopg.Connection, layer: Layer) -> None:
    """Delete the records of the layer's versions that are gone."""
    connection.execute(pruning(layer))


def pruning(layer: Layer) -> sql.Composed:
    """Make the statement of `prune`."""
    return _delete_gone(layer.schema, layer.name, timedelta())


def prune_old(connection: psycopg.Connection, schema: str) -> int:
    """Delete the records of all versions that are gone, unless they are new; returns how many."""
    return connection.execute(_delete_gone(schema, None, _KEPT_OF_FAILED)).rowcount


def _delete_gone(schema: str, name: str | None, kept: timedelta) -> sql.Composed:
    values = {"schema": schema, "name": name, "kept": kept}
    return query("quarantine", "delete_gone").format(**{key: sql.Literal(value) for key, value in values.items()})
