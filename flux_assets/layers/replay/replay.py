"""Quarantined records that are acceptable by now, added to the published version as a new version."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import psycopg
import pyarrow as pa
from psycopg import sql

from flux_assets.checks.audit import Case
from flux_assets.errors import LayerError, PinnedError
from flux_assets.layers import publish, schema_diff
from flux_assets.layers.context import LoadOptions, VersionContext, recorded
from flux_assets.layers.indexes import finish
from flux_assets.layers.publish import Publication
from flux_assets.layers.quarantine import QuarantinedRecord, VersionQuarantine
from flux_assets.layers.replay.records import Correction, ReadAgain
from flux_assets.layers.schema_diff import Public
from flux_assets.layers.staging import Need, fill, probing
from flux_assets.layers.versions import LayerState, Pin, Version
from flux_assets.ledger.runs import Lease, leased
from flux_assets.postgis import relations
from flux_assets.postgis.catalog import Relation, count_rows
from flux_assets.postgis.copying import encoded, texts_of
from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.locking import refresh_views
from flux_assets.postgis.relations import VERSIONS, Layer
from flux_assets.postgis.session import Target
from flux_assets.release.decode.geometry import Shapes
from flux_assets.spec import StaticTable
from flux_assets.spec.facts import Volume

_PIECE = 1 << 18
# Of PostgreSQL's binary format: an empty stream begins with this many bytes and ends with these two.
_HEADER, _TRAILER = 19, b"\xff\xff"


@dataclass(frozen=True, kw_only=True)
class ReplayResult:
    """What a replay did: the version that is live now, how many records it added, and those that stay, with why."""

    version: Version
    replayed: int
    waiting: tuple[QuarantinedRecord, ...]


def waiting_records(table: StaticTable, target: Target) -> list[QuarantinedRecord]:
    """Return the records that the published version lacks. Raises LayerError when there is no such version."""
    layer = Layer(target.schema, table)
    with target.prepared(layer.title, f"look {layer.name}", Stop()) as session:
        return _of_live(session, layer).waiting()


def replay(
    table: StaticTable,
    target: Target,
    options: LoadOptions,
    log: Callable[[str], None],
    corrections: Iterable[Correction] = (),
) -> ReplayResult:
    """Read the records that the published version lacks again, and publish a version that has those that pass.

    `corrections` take the place of what the file had, first. Raises LayerError, AuditError, PublishError or BusyError
    as a load does, PinnedError when the layer is pinned; what is published then stays as it is.
    """
    layer, given = Layer(target.schema, table), list(corrections)
    with target.prepared(layer.title, f"look {layer.name}", options.stop) as session:
        quarantine = _of_live(session, layer)
        if not quarantine.count_waiting():  # which is no run for the ledger
            return ReplayResult(version=quarantine.version, replayed=0, waiting=())
        if pin := Pin.of(session, layer):  # before anything is read or stored: what a replay makes is another version
            raise PinnedError(
                f"{layer.title} is {pin}, and a replay would publish another version.",
                f"Run `flux-assets unpin {layer.name}` and replay again.",
            )
    with (
        recorded(layer.title, [layer], target, options, log, "REPLAY") as (control, [context]),
        leased(control, target, context.patience, layer) as lease,
    ):
        quarantine = _of_live(control, layer)
        _correct(quarantine, given)
        return _replay(context, quarantine, lease)


def _of_live(connection: psycopg.Connection, layer: Layer) -> VersionQuarantine:
    current = Version.live(connection, layer)
    if current is None or not current.is_whole(connection):
        raise LayerError(
            f"{layer.title} has no published version with all its rows, so there is nothing to add records to.",
            "Load it (`flux-assets status` says what is wrong).",
        )
    return VersionQuarantine(connection, layer, current)


def _correct(quarantine: VersionQuarantine, given: Sequence[Correction]) -> None:
    """Store the records that somebody changed: all of them, or none."""
    stored = Correction.changed(quarantine.layer, given, quarantine.waiting())
    with quarantine.connection.transaction():
        for one in stored:
            if not quarantine.correct(one.record, one.header, one.raw):
                raise LayerError(
                    f"{quarantine.layer.title}: record {one.record} is not in quarantine, so nothing was corrected.",
                    "`flux-assets replay TABLE --out FILE` writes those that are.",
                )


def _replay(context: VersionContext, quarantine: VersionQuarantine, lease: Lease) -> ReplayResult:
    control, layer, current = context.control, context.layer, quarantine.version
    state = LayerState.of(control, layer)
    public = schema_diff.reconcile(context, state, lease)
    _refuse_retyped(control, layer, current)
    # What passes by the declaration is tried in an empty table that is as the version's will be.
    with texts_of(context.target, layer.name, context.options.stop) as ask, probing(context, public) as probe:
        found = ReadAgain.of(layer.table, quarantine.waiting(), ask, probe)
    quarantine.explain(found.refused)
    if not found.passed:
        control.execute(current.noting_quarantined(layer, context.entry))
        entry = context.entry
        control.execute(entry.loaded(current.rows, version=current.version, sync_type=entry.sync_type, published=False))
        return ReplayResult(version=current, replayed=0, waiting=tuple(found.refused))
    kept = publish.clean_up(context, lease, state)
    Need.of_copy(current.bytes or 0, kept.kept_bytes).refuse_above(layer, context.options.disk_limit)
    version = _made(context, quarantine, public, found, lease)
    control.execute(version.noting_quarantined(layer, context.entry))
    publication = Publication(layer, public, version, lease, context.entry)
    publish.publish(control, context.target, [publication], context.patience)
    context.log(f"{layer.title}: published version {version.version[:12]}, with {len(found.passed):,} records replayed")
    state.refresh_comments(control)
    layer.analyze(control, version.relation)
    refresh_views(control, [layer], context.log, context.log, context.options.stop)
    publish.clean_up(context, lease, LayerState.of(control, layer))
    live = version.as_published(control, layer)
    return ReplayResult(version=live, replayed=len(found.passed), waiting=tuple(found.refused))


def _refuse_retyped(connection: psycopg.Connection, layer: Layer, current: Version) -> None:
    """Raise LayerError for a retyped column: rows are copied, which fits texts of another length alone."""
    relation = Relation.find(connection, VERSIONS, current.relation)
    standing = {column.name: column.bare_type for column in (relation.columns() if relation else ())}
    for column in layer.table.columns:
        wanted, found = relations.type_name(column), standing.get(column.name, "missing")
        if wanted != found and not (_is_text(wanted) and _is_text(found)):
            raise LayerError(
                f"{layer.title}: column {column.name} is {found} in the published version and declared as {wanted}, so"
                " its rows cannot be copied.",
                "Load the layer from its release instead.",
            )


def _is_text(type_name: str) -> bool:
    return type_name == "text" or type_name.startswith("character varying")


def _made(
    context: VersionContext, quarantine: VersionQuarantine, public: Public, found: ReadAgain, lease: Lease
) -> Version:
    control, layer, current = context.control, context.layer, quarantine.version
    records = (f"{held.record} {held.header} {held.raw_record}" for held in found.passed)
    name = hashlib.sha256("\n".join([current.version, layer.table.digest, *records]).encode()).hexdigest()
    version = Version(
        lease=lease.number,
        version=name,
        sha256=current.sha256,
        release_tag=current.release_tag,
        relation=layer.relation(name, lease.number),
        run_id=context.options.run_id,
        base_version=current.base_version or current.version,
    )
    control.execute(version.adding(layer))
    try:
        purpose = f"copy {layer.name}"
        with context.clock.timed("stage"), context.target.session(purpose, context.options.stop) as reading:
            chunks = _continued(reading, current.table, found.batch)
            fill(context, version, public, chunks, layer.table.column_names, None)
    except BaseException:
        if not control.closed and not control.broken:
            control.execute(version.dropping(layer))
        raise
    _keep(quarantine, version, found)
    case = Case(
        connection=control,
        layer=layer,
        relation=version.table,
        rows=count_rows(control, version.table),
        promised_rows=(current.rows or 0) + len(found.passed),
        published_rows=current.rows,
        volume=context.target.volumes.get(layer.name, Volume()),
    )
    both = Shapes(extent=current.extent)
    both.add(Shapes(extent=found.facts.extent))
    return finish(context, case, version, public, extent=both.extent, source="the version with the replayed records")


def _continued(session: psycopg.Connection, table: sql.Identifier, batch: pa.RecordBatch) -> Iterator[bytes]:
    """Yield all rows of a version's table, then those of the batch, whose columns they have, as one stream."""
    copying = sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT (FORMAT binary)")
    held: list[bytes] = []
    size = 0
    with session.cursor().copy(copying.format(relations.names(batch.schema.names), table)) as copy:
        for chunk in map(bytes, copy):
            if size >= _PIECE:
                yield b"".join(held)
                held, size = [], 0
            held.append(chunk)
            size += len(chunk)
    yield b"".join(held).removesuffix(_TRAILER)
    yield b"".join(encoded([batch], batch.schema))[_HEADER:]


def _keep(quarantine: VersionQuarantine, version: Version, found: ReadAgain) -> None:
    """Write the new version's quarantine: what was replayed, now and before, and what it still lacks."""
    replayed = [held for held in quarantine.records() if held.replayed]
    replayed += [replace(held, replayed=True) for held in found.passed]
    kept = replace(quarantine, version=version)
    with quarantine.connection.transaction():
        kept.add([*replayed, *found.refused])
        kept.note_base(len(replayed))
