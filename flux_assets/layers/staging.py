"""Staging: a version's table made and filled in one transaction, by binary COPY (FREEZE), and the disk that takes."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import psycopg
import pyarrow as pa
from psycopg import errors, sql

from flux_assets.checks.audit import Case
from flux_assets.errors import LayerError, Place, ReleaseError, counted, reported
from flux_assets.layers.context import VersionContext
from flux_assets.layers.indexes import finish
from flux_assets.layers.quarantine import QuarantinedRecord, VersionQuarantine
from flux_assets.layers.schema_diff import Public
from flux_assets.layers.versions import Extent, LayerState, Version
from flux_assets.ledger.runs import reach
from flux_assets.postgis import relations
from flux_assets.postgis.copying import encoded, texts_of
from flux_assets.postgis.relations import Layer, revoking_all
from flux_assets.postgis.session import run
from flux_assets.release.decode.sieve import Probe, Quarantine
from flux_assets.release.decode.stream import LayerStream, Sieve
from flux_assets.release.formats.files import RowFile
from flux_assets.release.release import Release, ReleaseFile
from flux_assets.spec.facts import Volume
from flux_assets.sqlfiles import query
from flux_assets.words import megabytes

_REFUSALS = (errors.DataError, errors.IntegrityError, errors.InternalError_)
# COPY counts its tuples from 1.
_WHERE = re.compile(r"^COPY [^,]+, line (\d+)(?:, column ([^:\n]+))?", re.MULTILINE)
_PROBE = sql.Identifier("pg_temp", "flux_probe")
_BEGIN, _COMMIT = sql.SQL("BEGIN"), sql.SQL("COMMIT")
# Shares of the CSV's bytes, measured on all ten layers of the sample city (docs/performance.md): hexadecimal
# geometry halves, every row gains a header of about 28 bytes, indexes add a quarter to a half.
_HEAP, _INDEXES, _WAL = 0.9, 0.45, 1.35


@dataclass(frozen=True)
class Need:
    """Bytes a load will write (`stage` heap, `indexes`, `wal`) and bytes that kept versions hold already."""

    stage: int
    indexes: int
    wal: int
    kept: int

    @classmethod
    def of_csv(cls, size: int, kept: int) -> Need:
        """Return the disk a load of that much CSV will take beside `kept` bytes of earlier versions."""
        return cls(round(size * _HEAP), round(size * _INDEXES), round(size * _WAL), kept)

    @classmethod
    def of_copy(cls, size: int, kept: int) -> Need:
        """Return the disk that a copy of a version of so many bytes, indexes included, takes beside `kept` bytes."""
        return cls(stage=size, indexes=0, wal=size, kept=kept)

    @property
    def total(self) -> int:
        return self.stage + self.indexes + self.wal + self.kept

    def refuse_above(self, layer: Layer, limit_bytes: int | None) -> None:
        """Raise LayerError when the need is above the configured limit."""
        if limit_bytes is not None and self.total > limit_bytes:
            raise LayerError(
                f"{layer.title} needs about {megabytes(self.total)} of disk ({self}), more than FLUX_DISK_LIMIT"
                f" = {megabytes(limit_bytes)}.",
                "Raise FLUX_DISK_LIMIT, lower FLUX_KEEP_VERSIONS, or make room.",
            )

    def __str__(self) -> str:
        parts = {"stage": self.stage, "indexes": self.indexes, "WAL": self.wal, "kept versions": self.kept}
        return ", ".join(f"{name} {megabytes(size)}" for name, size in parts.items())


@dataclass(frozen=True, kw_only=True)
class Filled:
    """The rows that a version was filled with. `extent` is west, south, east, north in degrees (EPSG:4326).

    `refused` records of a file were set aside. `decoded` and `present` are those of a Case.
    """

    rows: int
    extent: Extent | None
    csv_bytes: int = 0
    refused: int = 0
    decoded: bool = False
    present: frozenset[str] = frozenset()


class Origin(Protocol):
    """What a version is made of. Its `rows` and `bytes` are None where nobody says them beforehand."""

    @property
    def sha256(self) -> str:
        """What names its state: the same again where nothing has changed."""

    @property
    def identity(self) -> str:
        """What its rows are made by: the same again where nothing has changed."""

    @property
    def mapping(self) -> str:
        """The digest of what FLUX_CONFIG maps of it; empty where nothing is."""

    @property
    def release_tag(self) -> str:
        """The release that it belongs to."""

    @property
    def address(self) -> str:
        """What messages about all of it call it."""

    @property
    def rows_called(self) -> str:
        """What messages about its rows call them."""

    @property
    def rows(self) -> int | None:
        """How many rows it is said to have."""

    @property
    def bytes(self) -> int | None:
        """Its size."""

    @property
    def inputs(self) -> Mapping[str, str] | None:
        """The versions of the layers that it reads, by their names; None of a file."""

    def at_hand(self, context: VersionContext, state: LayerState) -> Callable[[Version, Public], Filled]:
        """Get hold of it, and return what makes a version's table and puts the rows into it."""


@dataclass(frozen=True)
class FileOrigin:
    """A file of a release."""

    release: Release
    file: ReleaseFile
    inputs: None = None

    @property
    def sha256(self) -> str:
        return self.file.sha256

    @property
    def identity(self) -> str:
        return self.file.identity

    @property
    def mapping(self) -> str:
        return self.file.mapping.digest if self.file.mapping else ""

    @property
    def release_tag(self) -> str:
        return self.release.tag

    @property
    def address(self) -> str:
        return self.file.address

    @property
    def rows_called(self) -> str:
        return self.file.file

    @property
    def rows(self) -> int | None:
        return self.file.rows

    @property
    def bytes(self) -> int | None:
        return self.file.bytes

    def at_hand(self, context: VersionContext, state: LayerState) -> Callable[[Version, Public], Filled]:
        """Fetch the file where it is remote, and return what stages it. Raises ReleaseError for the file."""
        with context.clock.timed("fetch"):
            paths = self.release.at_hand(self.file)
        reach("load.fetched")
        need = Need.of_csv(RowFile.expanded_bytes(paths, [each.file for each in self.file.files]), state.kept_bytes)
        need.refuse_above(context.layer, context.options.disk_limit)

        def staged(version: Version, public: Public) -> Filled:
            try:
                stream, refused = _staged(context, paths, self.file, version, public, state.kept_bytes)
            except ReleaseError:
                self.release.fetch(self.file)  # another file than the promised one is better refused as that
                raise
            facts = stream.facts
            return Filled(
                rows=facts.rows,
                extent=facts.extent,
                csv_bytes=facts.csv_bytes,
                refused=refused,
                decoded=True,
                present=facts.present,
            )

        return staged


def stage(
    context: VersionContext, origin: Origin, version: Version, public: Public, state: LayerState
) -> tuple[Version, int]:
    """Fill a table of its own, index and audit it; returns the audited version and the bytes of CSV that were read.

    `state` is that of the layer once the lease is held. Raises ReleaseError, LayerError, or AuditError when a blocking
    audit failed; the version's table then stays for inspection.
    """
    layer, control = context.layer, context.control
    fill_from_origin = origin.at_hand(context, state)
    published = state.live(control)
    gone = query("quarantine", "delete_gone").format(schema=layer.schema, name=layer.name, kept=timedelta())
    run(control, [gone, version.adding(layer)])
    reach("load.registered")
    try:
        with context.clock.timed("stage"):
            filled = fill_from_origin(version, public)
    except BaseException:
        # Staging was rolled back: there is no table.
        if not control.closed and not control.broken:
            control.execute(version.dropping(layer))
        raise
    reach("load.staged")
    case = Case(
        connection=control,
        layer=layer,
        relation=version.table,
        rows=filled.rows,
        promised_rows=origin.rows,
        quarantined_rows=filled.refused,
        published_rows=published.rows if published else None,
        accept_fewer_rows=context.options.accept_fewer_rows,
        decoded=filled.decoded,
        present=filled.present,
        volume=context.target.volumes.get(layer.name, Volume()),
    )
    judged = finish(context, case, version, public, extent=filled.extent, source=origin.rows_called)
    return judged, filled.csv_bytes


def _staged(
    context: VersionContext, paths: Sequence[Path], file: ReleaseFile, version: Version, public: Public, kept_bytes: int
) -> tuple[LayerStream, int]:
    """Put the file's rows into the version's table; returns what read them and how many went into quarantine."""
    options = context.options
    limit = None if options.disk_limit is None else options.disk_limit - kept_bytes

    def fill_from(stream: LayerStream, batches: Iterable[pa.RecordBatch]) -> None:
        with closing(encoded(batches, stream.schema)) as chunks:
            fill(context, version, public, chunks, tuple(stream.schema.names), limit)

    with texts_of(context.target, context.layer.name, options.stop) as ask:

        def stream_of(sieve: Sieve | None) -> LayerStream:
            return RowFile.stream(paths, file, context.layer.table, sieve, ask)

        if options.quarantine:
            return _sifted(context, version, public, stream_of, fill_from)
        stream = stream_of(None)
        with _described(context.layer, stream, file.file):
            fill_from(stream, stream)
        return stream, 0


def _sifted(
    context: VersionContext,
    version: Version,
    public: Public,
    stream_of: Callable[[Quarantine], LayerStream],
    fill_from: Callable[[LayerStream, Iterable[pa.RecordBatch]], None],
) -> tuple[LayerStream, int]:
    """Fill the version with the acceptable rows of a stream; returns what read them and how many it refused.

    Raises QuarantineError when there are more than may be refused; those found until then are kept to be looked at.
    """
    kept, title = VersionQuarantine(context.control, context.layer, version), context.layer.title

    def staged(probe: Probe | None) -> tuple[LayerStream, int]:
        sieve = Quarantine(context.options.quarantine, probe)
        stream = stream_of(sieve)
        with closing(_keeping(kept, stream, sieve)) as batches:
            fill_from(stream, batches)
        if sieve.count:
            context.log(f"{title}: {counted(sieve.count, 'record')} refused, and set aside in postgres_sync.quarantine")
        return stream, sieve.count

    try:
        return staged(None)
    except _REFUSALS as error:
        # One refusal of the server's undoes all of a COPY (FREEZE), and no savepoint may stand before it.
        context.log(
            f"{title}: PostgreSQL refuses a record ({error.diag.message_primary}); reading the file again, trying every"
            " batch first"
        )
    kept.clear()
    with probing(context, public) as probe:
        return staged(probe)


def _keeping(kept: VersionQuarantine, stream: LayerStream, sieve: Quarantine) -> Generator[pa.RecordBatch, None, None]:
    """Yield the stream's batches; what it refuses meanwhile is written down, also when it ends with an error."""

    def keep() -> None:
        if (found := sieve.taken()) and not kept.connection.closed and not kept.connection.broken:
            kept.add(QuarantinedRecord.of(*each) for each in found)

    try:
        for batch in stream:
            keep()
            yield batch
    finally:
        keep()


def fill(
    context: VersionContext,
    version: Version,
    public: Public,
    chunks: Iterable[bytes],
    columns: tuple[str, ...],
    limit_bytes: int | None,
) -> None:
    """Make the version's table, as the public table will be, and COPY a binary stream of these columns into it.

    All or nothing. Raises LayerError when more than `limit_bytes` would be written, psycopg errors as the server words
    them.
    """
    layer, stop, table = context.layer, context.options.stop, version.table
    is_first = public.oid is None
    # Not by `session.transaction`, whose BEGIN would be a round trip: the end of the session rolls back what failed.
    template = [] if is_first else [_BEGIN, layer.create_template(), _COMMIT]
    create = [layer.create_version(version.relation, like_template=not is_first), *public.altering(table)]
    copy_in = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary, FREEZE)").format(table, relations.names(columns))
    sent = 0
    with context.target.session(f"stage {layer.name}", stop) as session:
        run(session, [*template, _BEGIN, *create, revoking_all(table)])
        reach("load.created")
        with session.cursor().copy(copy_in) as copy:
            for chunk in chunks:
                stop.check()
                sent += len(chunk)
                if limit_bytes is not None and sent > limit_bytes:
                    raise LayerError(
                        f"Staging {version.relation} has written {sent:,} bytes, more than the {limit_bytes:,} that"
                        " FLUX_DISK_LIMIT leaves for it.",
                        "Check the release file, or raise FLUX_DISK_LIMIT.",
                    )
                copy.write(chunk)
                reach("load.copying")
        reach("load.copied")
        session.execute(_COMMIT)


@contextmanager
def _described(layer: Layer, stream: LayerStream, name: str) -> Iterator[None]:
    """Raise what the server refuses of a record within the block as a RecordError for the file `name` of `stream`."""
    try:
        yield
    except _REFUSALS as error:
        where = _WHERE.search(error.diag.context or "")
        if where is None:
            raise
        column = where[2] if where[2] in layer.table.column_names else None
        problem = f"PostgreSQL refuses it: {reported(error.diag.message_primary)}."
        remedy = "Fix the file and reload."
        if isinstance(error, errors.NotNullViolation):
            remedy = "Fix the file; or, if the declaration allows NULL now, load with accept_schema_change: true."
        place = Place(file=name, record=int(where[1]), column=column)
        raise stream.describe_record(place, problem, remedy) from error


@contextmanager
def probing(context: VersionContext, public: Public) -> Iterator[Probe]:
    """Give what tries rows on an empty table that is as a new version's is, before one refusal undoes everything.

    It returns index, column and reason of each row that the server refuses; all others are tried as well.
    """
    layer = context.layer
    with context.target.session(f"probe {layer.name}", context.options.stop) as session:
        if public.oid is not None:
            session.execute(layer.create_template())
        session.execute(layer.create_probe(like_template=public.oid is not None))
        for statement in public.altering(_PROBE):
            session.execute(statement)
        yield lambda batch: list(_refused_rows(session, batch))


def _refused_rows(session: psycopg.Connection, batch: pa.RecordBatch) -> Iterator[tuple[int, str | None, str]]:
    begin = 0
    while begin < batch.num_rows and (found := _first_refused(session, batch.slice(begin))) is not None:
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
    except _REFUSALS as error:
        where = _WHERE.search(error.diag.context or "")
        if where is None:
            raise
        column = where[2] or error.diag.column_name
        known = column if column in batch.schema.names else None
        return int(where[1]) - 1, known, f"PostgreSQL refuses it: {error.diag.message_primary}."
    return None
