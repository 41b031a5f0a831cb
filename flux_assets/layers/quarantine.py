"""Records that a load refused and went on without, kept with their version in postgres_sync.quarantine."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta

import psycopg
import pyarrow as pa
from psycopg import errors, sql
from psycopg.rows import class_row

from flux_assets.errors import counted
from flux_assets.layers.context import VersionContext
from flux_assets.layers.schema_diff import Public
from flux_assets.layers.versions import Version
from flux_assets.postgis import relations
from flux_assets.postgis.copying import encoded
from flux_assets.postgis.relations import Layer
from flux_assets.release.decode.sieve import Probe, Quarantine, Refused
from flux_assets.release.decode.stream import LayerStream
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


def hold(connection: psycopg.Connection, layer: Layer, version: Version, refused: Iterable[QuarantinedRecord]) -> None:
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
                for held in refused
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


def kept_records(connection: psycopg.Connection, layer: Layer, lease: int) -> list[QuarantinedRecord]:
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


def prune_old(connection: psycopg.Connection, schema: str) -> int:
    """Delete the records of all versions that are gone, unless they are new; returns how many."""
    values = {"schema": schema, "name": None, "kept": _KEPT_OF_FAILED}
    deleting = query("quarantine", "delete_gone").format(**{key: sql.Literal(value) for key, value in values.items()})
    return connection.execute(deleting).rowcount


REFUSALS = (errors.DataError, errors.IntegrityError, errors.InternalError_)
_PROBE = sql.Identifier("pg_temp", "flux_probe")
# COPY counts its tuples from 1.
WHERE = re.compile(r"^COPY [^,]+, line (\d+)(?:, column ([^:\n]+))?", re.MULTILINE)


def create_probe(session: psycopg.Connection, layer: Layer, public: Public) -> None:
    """Make the session's table to try rows on, as a new version's table would be."""
    if public.oid is not None:
        session.execute(layer.create_template())
    session.execute(layer.create_probe(like_template=public.oid is not None))
    for statement in public.altering(_PROBE):
        session.execute(statement)


def refused_rows(session: psycopg.Connection, batch: pa.RecordBatch) -> Iterator[tuple[int, str | None, str]]:
    """Yield index, column and reason of each row that the server refuses; all others are tried as well."""
    begin = 0
    while begin < batch.num_rows:
        found = _first_refused(session, batch.slice(begin))
        if found is None:
            return
        index, column, reason = found
        yield begin + index, column, reason
        begin += index + 1


def _first_refused(session: psycopg.Connection, batch: pa.RecordBatch) -> tuple[int, str | None, str] | None:
    columns = relations.names(tuple(batch.schema.names))
    copy_in = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(_PROBE, columns)
    try:
        with session.transaction(), session.cursor().copy(copy_in) as copy:
            for chunk in encoded([batch], batch.schema):
                copy.write(chunk)
    except REFUSALS as error:
        where = WHERE.search(error.diag.context or "")
        if where is None:
            raise
        column = where[2] or error.diag.column_name
        known = column if column in batch.schema.names else None
        return int(where[1]) - 1, known, f"PostgreSQL refuses it: {error.diag.message_primary}."
    return None


_StreamOf = Callable[[Quarantine], LayerStream]
Fill = Callable[[LayerStream, Iterable[pa.RecordBatch]], None]


def stage_with_quarantine(
    context: VersionContext, version: Version, public: Public, stream_of: _StreamOf, fill: Fill
) -> tuple[LayerStream, int]:
    """Fill the version with the acceptable rows of a stream; returns what read them and how many it refused.

    Raises QuarantineError when there are more than may be refused; those found until then are kept to be looked at.
    """
    try:
        return _staged(context, version, stream_of, fill, None)
    except REFUSALS as error:
        # One refusal of the server's undoes all of a COPY (FREEZE), and no savepoint may stand before it.
        context.log(
            f"{context.layer.title}: PostgreSQL refuses a record ({error.diag.message_primary}); reading the file"
            " again, trying every batch first"
        )
    forget(context.control, context.layer, version.lease)
    with context.target.session(f"probe {context.layer.name}", context.options.stop) as session:
        create_probe(session, context.layer, public)
        return _staged(context, version, stream_of, fill, lambda batch: [*refused_rows(session, batch)])


def _staged(
    context: VersionContext, version: Version, stream_of: _StreamOf, fill: Fill, probe: Probe | None
) -> tuple[LayerStream, int]:
    sieve = Quarantine(context.options.quarantine, probe)
    stream = stream_of(sieve)
    with closing(_holding(context, version, stream, sieve)) as batches:
        fill(stream, batches)
    if sieve.count:
        context.log(
            f"{context.layer.title}: {counted(sieve.count, 'record')} refused, and set aside in"
            " postgres_sync.quarantine"
        )
    return stream, sieve.count


def _holding(
    context: VersionContext, version: Version, stream: LayerStream, sieve: Quarantine
) -> Generator[pa.RecordBatch, None, None]:
    """Yield the stream's batches; what it refuses meanwhile is written down, also when it ends with an error."""
    try:
        for batch in stream:
            _hold(context, version, sieve)
            yield batch
    finally:
        _hold(context, version, sieve)


def _hold(context: VersionContext, version: Version, sieve: Quarantine) -> None:
    if (found := sieve.taken()) and not context.control.closed and not context.control.broken:
        hold(context.control, context.layer, version, map(_as_kept, found))


def _as_kept(found: Refused) -> QuarantinedRecord:
    """Return a refused record as the quarantine keeps it."""
    raw, size, is_cut = held_as(found.raw)
    return QuarantinedRecord(
        record=found.record,
        file=found.file,
        line=found.line,
        column_name=found.column,
        reason=found.reason,
        header=list(found.names),
        raw_record=raw,
        raw_bytes=size,
        raw_cut=is_cut,
    )
