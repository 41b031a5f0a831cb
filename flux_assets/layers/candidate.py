"""Making a version that may be published from a release file: fetch, stage, then what all versions need.

Here: the steps between the release file and a filled table. Not here: indexing and auditing it (finishing.py), and
publishing it (load.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from flux_assets.checks.audit import Case
from flux_assets.errors import ReleaseError
from flux_assets.failpoints import reach
from flux_assets.layers import disk_estimate, staging, versions
from flux_assets.layers.context import LoadContext
from flux_assets.layers.copy_faults import described
from flux_assets.layers.finishing import finish
from flux_assets.layers.layer_state import LayerState, live_version
from flux_assets.layers.quarantine import records
from flux_assets.layers.quarantine.staging import stage_with_quarantine
from flux_assets.layers.schema_diff import Public
from flux_assets.layers.versions import Version
from flux_assets.postgis.batch import run
from flux_assets.postgis.copy_texts import texts_of
from flux_assets.postgis.ddl import create_template, create_version
from flux_assets.postgis.names import version_table
from flux_assets.release.decode.gunzip import expanded_bytes
from flux_assets.release.decode.sieve import Sieve
from flux_assets.release.decode.stream import LayerStream
from flux_assets.release.release import ReleaseFile


@dataclass(frozen=True)
class Candidate:
    """An audited version, and the bytes of CSV that went into it."""

    version: Version
    csv_bytes: int


def make_candidate(
    shop: LoadContext, file: ReleaseFile, version: Version, public: Public, state: LayerState
) -> Candidate:
    """Load the file into a table of its own, index and audit it, and note it in the register.

    `state` is that of the layer once the lease is held. Raises ReleaseError, LayerError, or AuditError when a blocking
    audit failed; the version's table then stays for inspection.
    """
    with shop.clock.timed("fetch"):
        path = shop.release.at_hand(file)
    reach("load.fetched")
    need = disk_estimate.need_of(expanded_bytes(path), state.kept_bytes)
    disk_estimate.refuse_above(shop.layer, need, shop.options.disk_limit)
    published = live_version(shop.control, state)
    run(shop.control, [records.pruning(shop.layer), versions.adding_staging(shop.layer, version)])
    reach("load.registered")
    try:
        with shop.clock.timed("stage"):
            stream, refused = _staged(shop, path, file, version, public, need)
    except BaseException as error:
        _forget(shop, version)
        if isinstance(error, ReleaseError):
            shop.release.fetch(file)  # another file than the promised one is better refused as that
        raise
    reach("load.staged")
    case = Case(
        connection=shop.control,
        layer=shop.layer,
        relation=version_table(version.relation),
        rows=stream.facts.rows,
        promised_rows=file.rows,
        quarantined_rows=refused,
        published_rows=published.rows if published else None,
        accept_fewer_rows=shop.options.accept_fewer_rows,
        decoded=True,
        present=stream.facts.present,
    )
    judged = finish(shop, case, version, public, extent=stream.facts.extent, source=file.file)
    return Candidate(judged, stream.facts.csv_bytes)


def _staged(
    shop: LoadContext, path: Path, file: ReleaseFile, version: Version, public: Public, need: disk_estimate.Need
) -> tuple[LayerStream, int]:
    """The file's rows in the version's table; returns what read them and how many went into quarantine."""

    def fill(stream: LayerStream, batches: Iterable[pa.RecordBatch]) -> None:
        _fill(shop, batches, stream.schema, version, public, need)

    with texts_of(shop.target, shop.layer.name, shop.options.stop) as ask:

        def stream_of(sieve: Sieve | None) -> LayerStream:
            return LayerStream(path, file.file, shop.layer.table, sha256=file.sha256, sieve=sieve, ask=ask)

        if shop.options.quarantine:
            return stage_with_quarantine(shop, version, public, stream_of, fill)
        stream = stream_of(None)
        with described(shop.layer, path, file.file):
            fill(stream, stream)
        return stream, 0


def _fill(
    shop: LoadContext,
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    version: Version,
    public: Public,
    need: disk_estimate.Need,
) -> None:
    before = [create_template(shop.layer)] if public.oid is not None else []
    create = [create_version(shop.layer, version.relation, like_template=public.oid is not None)]
    create += [change(version_table(version.relation)) for change in public.changes]
    limit = None if shop.options.disk_limit is None else shop.options.disk_limit - need.kept
    stop = shop.options.stop
    with shop.target.session(f"stage {shop.layer.name}", stop) as session:
        staging.fill(session, version.relation, create, batches, schema, before=before, limit_bytes=limit, stop=stop)


def _forget(shop: LoadContext, version: Version) -> None:
    """The staging transaction was rolled back, so there is no table; say so where we still can."""
    if not shop.control.closed and not shop.control.broken:
        shop.control.execute(versions.dropping(shop.layer, version))
