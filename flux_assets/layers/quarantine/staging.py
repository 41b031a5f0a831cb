"""Staging a file some of whose records are refused: they go into quarantine, up to a limit, and the others on."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import closing

import pyarrow as pa

from flux_assets.errors import counted
from flux_assets.layers.context import VersionContext
from flux_assets.layers.quarantine import records
from flux_assets.layers.quarantine.probe import REFUSALS, create_probe, refused_rows
from flux_assets.layers.quarantine.records import QuarantinedRecord, held_as
from flux_assets.layers.schema_diff import Public
from flux_assets.layers.versions import Version
from flux_assets.release.decode.sieve import Probe, Quarantine, Refused
from flux_assets.release.decode.stream import LayerStream

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
    records.forget(context.control, context.layer, version.lease)
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
        records.hold(context.control, context.layer, version, map(held, found))


def held(found: Refused) -> QuarantinedRecord:
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
