"""Staging a file some of whose records are refused: they go into quarantine, up to a limit, and the others on.

Here: keeping what was refused while the file is read, and reading it once more when it is the server that refuses.
Not here: which records are refused (release/sieve.py, postgis/probe.py).
"""

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

StreamOf = Callable[[Quarantine], LayerStream]
Fill = Callable[[LayerStream, Iterable[pa.RecordBatch]], None]


def stage_with_quarantine(
    bench: VersionContext, version: Version, public: Public, stream_of: StreamOf, fill: Fill
) -> tuple[LayerStream, int]:
    """Fill the version with the acceptable rows of a stream; returns what read them and how many it refused.

    Raises QuarantineError when there are more than may be refused; those found until then are kept to be looked at.
    """
    try:
        return _staged(bench, version, stream_of, fill, None)
    except REFUSALS as error:
        # One refusal of the server's undoes all of a COPY (FREEZE), and no savepoint may stand before it.
        bench.log(
            f"{bench.layer.title}: PostgreSQL refuses a record ({error.diag.message_primary}); reading the file again,"
            " trying every batch first"
        )
    records.forget(bench.control, bench.layer, version.lease)
    with bench.target.session(f"probe {bench.layer.name}", bench.options.stop) as session:
        create_probe(session, bench.layer, public)
        return _staged(bench, version, stream_of, fill, lambda batch: [*refused_rows(session, batch)])


def _staged(
    bench: VersionContext, version: Version, stream_of: StreamOf, fill: Fill, probe: Probe | None
) -> tuple[LayerStream, int]:
    sieve = Quarantine(bench.options.quarantine, probe)
    stream = stream_of(sieve)
    with closing(_holding(bench, version, stream, sieve)) as batches:
        fill(stream, batches)
    if sieve.count:
        bench.log(
            f"{bench.layer.title}: {counted(sieve.count, 'record')} refused, and set aside in postgres_sync.quarantine"
        )
    return stream, sieve.count


def _holding(
    bench: VersionContext, version: Version, stream: LayerStream, sieve: Quarantine
) -> Generator[pa.RecordBatch, None, None]:
    """The stream's batches; what it refuses meanwhile is written down, also when it ends with an error."""
    try:
        for batch in stream:
            _hold(bench, version, sieve)
            yield batch
    finally:
        _hold(bench, version, sieve)


def _hold(bench: VersionContext, version: Version, sieve: Quarantine) -> None:
    if (found := sieve.taken()) and not bench.control.closed and not bench.control.broken:
        records.hold(bench.control, bench.layer, version, map(held, found))


def held(found: Refused) -> QuarantinedRecord:
    """A refused record as the quarantine keeps it."""
    raw, size, is_cut = held_as(found.raw)
    return QuarantinedRecord(
        record=found.record, file=found.file, line=found.line, column_name=found.column, reason=found.reason,
        header=list(found.names), raw_record=raw, raw_bytes=size, raw_cut=is_cut,
    )  # fmt: skip
