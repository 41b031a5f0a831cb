"""Making a version that may be published of a release file: fetching and staging it, naming the record at fault."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pyarrow as pa
from psycopg import errors

from flux_assets.checks.audit import Case
from flux_assets.errors import ManifestError, ReleaseError, counted, reported
from flux_assets.layers import quarantine, staging, versions
from flux_assets.layers.context import LoadContext
from flux_assets.layers.finishing import finish
from flux_assets.layers.layer_state import LayerState, confirm_live
from flux_assets.layers.quarantine import REFUSALS, WHERE, stage_with_quarantine
from flux_assets.layers.schema_diff import Public
from flux_assets.layers.versions import Version
from flux_assets.postgis.copy_texts import texts_of
from flux_assets.postgis.relations import Layer, create_template, create_version, version_table
from flux_assets.postgis.session import run
from flux_assets.release.decode.sieve import Sieve
from flux_assets.release.decode.stream import LayerStream, describe_record, expanded_bytes
from flux_assets.release.release import ReleaseFile
from flux_assets.steps import reach


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
    need = staging.need_of(expanded_bytes(path), state.kept_bytes)
    staging.refuse_above(context.layer, need, context.options.disk_limit)
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
    context: LoadContext, path: Path, file: ReleaseFile, version: Version, public: Public, need: staging.Need
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
    need: staging.Need,
) -> None:
    before = [create_template(context.layer)] if public.oid is not None else []
    create = [create_version(context.layer, version.relation, like_template=public.oid is not None)]
    create += [change(version_table(version.relation)) for change in public.changes]
    limit = None if context.options.disk_limit is None else context.options.disk_limit - need.kept
    stop = context.options.stop
    with context.target.session(f"stage {context.layer.name}", stop) as session:
        staging.fill(session, version.relation, create, batches, schema, before=before, limit_bytes=limit, stop=stop)


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
    return describe_record(path, name, layer.table, record, known, problem, remedy)


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
