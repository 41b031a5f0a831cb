"""Staging: a version's table made and filled in one transaction, by binary COPY (FREEZE), and the disk that takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pyarrow as pa
from psycopg import errors, sql

from flux_assets.checks.audit import Case
from flux_assets.errors import LayerError, ManifestError, Place, ReleaseError, counted, reported
from flux_assets.layers import quarantine, versions
from flux_assets.layers.context import LoadContext
from flux_assets.layers.indexes import finish
from flux_assets.layers.quarantine import REFUSALS, WHERE, stage_with_quarantine
from flux_assets.layers.schema_diff import Public
from flux_assets.layers.versions import LayerState, Version, confirm_live
from flux_assets.postgis import relations
from flux_assets.postgis.copying import encoded, texts_of
from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.relations import Layer, revoking_all, version_table
from flux_assets.postgis.session import run
from flux_assets.release.decode.stream import LayerStream, Sieve, describe_record, expanded_bytes
from flux_assets.release.release import ReleaseFile
from flux_assets.steps import reach
from flux_assets.words import megabytes

_BEGIN, _COMMIT = sql.SQL("BEGIN"), sql.SQL("COMMIT")


def fill(  # noqa: PLR0913 - what, where, from where, and two bounds
    session: psycopg.Connection,
    relation: str,
    create: Sequence[sql.Composed],
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    *,
    before: Sequence[sql.Composed] = (),
    limit_bytes: int | None,
    stop: Stop,
) -> int:
    """Run `create`, then COPY the batches into the version's table, all or nothing; returns the bytes sent.

    The statements `before` are a transaction of their own. Batches hold the columns of `schema`, geometry as EWKB in
    binary columns. Raises LayerError when more than `limit_bytes` would be written, psycopg errors as the server words
    them.
    """
    with closing(encoded(batches, schema)) as chunks:
        names = tuple(schema.names)
        return fill_from(session, relation, create, chunks, names, before=before, limit_bytes=limit_bytes, stop=stop)


def fill_from(  # noqa: PLR0913 - what, where, from where, and two bounds
    session: psycopg.Connection,
    relation: str,
    create: Sequence[sql.Composed],
    chunks: Iterable[bytes],
    columns: tuple[str, ...],
    *,
    before: Sequence[sql.Composed] = (),
    limit_bytes: int | None,
    stop: Stop,
) -> int:
    """Do what `fill` does from a binary COPY stream of these columns."""
    copy_in = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary, FREEZE)").format(
        version_table(relation), relations.names(columns)
    )
    sent = 0
    first = [_BEGIN, *before, _COMMIT] if before else []
    # Not by `session.transaction`, whose BEGIN would be a round trip: the end of the session rolls back what failed.
    run(session, [*first, _BEGIN, *create, revoking_all(version_table(relation))])
    reach("load.created")
    with session.cursor().copy(copy_in) as copy:
        for chunk in chunks:
            stop.check()
            sent += len(chunk)
            if limit_bytes is not None and sent > limit_bytes:
                raise LayerError(
                    f"Staging {relation} has written {sent:,} bytes, more than the {limit_bytes:,} that"
                    " FLUX_DISK_LIMIT leaves for it.",
                    "Check the release file, or raise FLUX_DISK_LIMIT.",
                )
            copy.write(chunk)
            reach("load.copying")
    reach("load.copied")
    session.execute(_COMMIT)
    return sent


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

    @property
    def total(self) -> int:
        return self.stage + self.indexes + self.wal + self.kept

    def __str__(self) -> str:
        parts = {"stage": self.stage, "indexes": self.indexes, "WAL": self.wal, "kept versions": self.kept}
        return ", ".join(f"{name} {megabytes(size)}" for name, size in parts.items())


def need_of_copy(size: int, kept: int) -> Need:
    """Return the disk that another copy of a version of so many bytes, indexes included, takes beside `kept` bytes."""
    return Need(stage=size, indexes=0, wal=size, kept=kept)


def need_of(csv_bytes: int, kept: int) -> Need:
    """Return the disk a load of that much CSV will take beside `kept` bytes of earlier versions."""
    return Need(round(csv_bytes * _HEAP), round(csv_bytes * _INDEXES), round(csv_bytes * _WAL), kept)


def refuse_above(layer: Layer, need: Need, limit_bytes: int | None) -> None:
    """Raise LayerError when the need is above the configured limit."""
    if limit_bytes is not None and need.total > limit_bytes:
        raise LayerError(
            f"{layer.title} needs about {megabytes(need.total)} of disk ({need}), more than FLUX_DISK_LIMIT"
            f" = {megabytes(limit_bytes)}.",
            "Raise FLUX_DISK_LIMIT, lower FLUX_KEEP_VERSIONS, or make room.",
        )


@dataclass(frozen=True)
class Candidate:
    """An audited version, and the bytes of CSV that went into it."""

    version: Version
    csv_bytes: int


def make_candidate(
    context: LoadContext, file: ReleaseFile, version: Version, public: Public, state: LayerState
) -> Candidate:
    """Load the file into a table of its own, index and audit it, and note it in the register.

    `state` is that of the layer once the lease is held. Raises ReleaseError, LayerError, or AuditError when a blocking
    audit failed; the version's table then stays for inspection.
    """
    with context.clock.timed("fetch"):
        path = context.release.at_hand(file)
    reach("load.fetched")
    need = need_of(expanded_bytes(path), state.kept_bytes)
    refuse_above(context.layer, need, context.options.disk_limit)
    published = confirm_live(context.control, state)
    run(context.control, [quarantine.pruning(context.layer), versions.adding_staging(context.layer, version)])
    reach("load.registered")
    try:
        with context.clock.timed("stage"):
            stream, refused = _staged(context, path, file, version, public, need)
    except BaseException as error:
        _forget(context, version)
        if isinstance(error, ReleaseError):
            context.release.fetch(file)  # another file than the promised one is better refused as that
        raise
    reach("load.staged")
    case = Case(
        connection=context.control,
        layer=context.layer,
        relation=version_table(version.relation),
        rows=stream.facts.rows,
        promised_rows=file.rows,
        quarantined_rows=refused,
        published_rows=published.rows if published else None,
        accept_fewer_rows=context.options.accept_fewer_rows,
        decoded=True,
        present=stream.facts.present,
    )
    judged = finish(context, case, version, public, extent=stream.facts.extent, source=file.file)
    return Candidate(judged, stream.facts.csv_bytes)


def _staged(
    context: LoadContext, path: Path, file: ReleaseFile, version: Version, public: Public, need: Need
) -> tuple[LayerStream, int]:
    """Put the file's rows into the version's table; returns what read them and how many went into quarantine."""

    def fill(stream: LayerStream, batches: Iterable[pa.RecordBatch]) -> None:
        _fill(context, batches, stream.schema, version, public, need)

    with texts_of(context.target, context.layer.name, context.options.stop) as ask:

        def stream_of(sieve: Sieve | None) -> LayerStream:
            return LayerStream(path, file.file, context.layer.table, sha256=file.sha256, sieve=sieve, ask=ask)

        if context.options.quarantine:
            return stage_with_quarantine(context, version, public, stream_of, fill)
        stream = stream_of(None)
        with described(context.layer, path, file.file):
            fill(stream, stream)
        return stream, 0


def _fill(
    context: LoadContext,
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    version: Version,
    public: Public,
    need: Need,
) -> None:
    before = [context.layer.create_template()] if public.oid is not None else []
    create = [context.layer.create_version(version.relation, like_template=public.oid is not None)]
    create += [change(version_table(version.relation)) for change in public.changes]
    limit = None if context.options.disk_limit is None else context.options.disk_limit - need.kept
    stop = context.options.stop
    with context.target.session(f"stage {context.layer.name}", stop) as session:
        fill(session, version.relation, create, batches, schema, before=before, limit_bytes=limit, stop=stop)


def _forget(context: LoadContext, version: Version) -> None:
    """Register that there is no table, for staging was rolled back, where that can still be said."""
    if not context.control.closed and not context.control.broken:
        context.control.execute(versions.dropping(context.layer, version))


@contextmanager
def described(layer: Layer, path: Path, name: str) -> Iterator[None]:
    """Raise what the server refuses of a record within the block as a RecordError for the file `name` at `path`."""
    try:
        yield
    except REFUSALS as error:
        where = WHERE.search(error.diag.context or "")
        if where is None:
            raise
        raise _record_error(layer, path, name, error, int(where[1]), where[2]) from error


def _record_error(
    layer: Layer, path: Path, name: str, error: psycopg.Error, record: int, column: str | None
) -> Exception:
    known = column if column in layer.table.column_names else None
    problem = f"PostgreSQL refuses it: {reported(error.diag.message_primary)}."
    remedy = "Fix the file and reload."
    if isinstance(error, errors.NotNullViolation):
        remedy = "Fix the file; or, if the declaration allows NULL now, load with accept_schema_change: true."
    return describe_record(path, Place(file=name, record=record, column=known), problem, remedy)


def refuse_contradiction(context: LoadContext, file: ReleaseFile, version: Version, waiting: int | None = None) -> None:
    """Raise ManifestError when the manifest says another count than the file had when `version` was made of it.

    `waiting` records are missing in the version, as far as that is known.
    """
    if file.rows is None or version.rows is None:
        return
    aside = quarantine.waiting(context.control, context.layer, version.lease) if waiting is None else waiting
    if version.rows + aside == file.rows:
        return
    parts = f" ({version.rows:,} in the table, {aside:,} in quarantine)" if aside else ""
    raise ManifestError(
        f"{file.address}: the manifest says {counted(file.rows, 'row')}, and the register says"
        f" {version.rows + aside:,}{parts}: the file has the same bytes as the one that version"
        f" {version.version[:12]} of {context.layer.title} was made of.",
        "Regenerate the manifest for this file, or deliver the file that the manifest describes. Published data is"
        " intact.",
    )
