"""Quarantined records that are acceptable by now, added to the published version as a new version."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import psycopg

from flux_assets.checks.audit import Case
from flux_assets.errors import LayerError, PinnedError
from flux_assets.layers import publish, quarantine, schema_diff, versions
from flux_assets.layers.context import LoadOptions, VersionContext, recorded
from flux_assets.layers.indexes import finish
from flux_assets.layers.publish import Publication
from flux_assets.layers.quarantine import QuarantinedRecord, create_probe, refused_rows
from flux_assets.layers.replay.records import SURPLUS, Correction, ReadAgain, read_again, surplus_of, without, written
from flux_assets.layers.schema_diff import Public
from flux_assets.layers.staging import Need, fill
from flux_assets.layers.versions import Extent, LayerState, Version, VersionTimes
from flux_assets.ledger import entries, leases
from flux_assets.ledger.entries import Entry
from flux_assets.ledger.leases import Lease
from flux_assets.postgis import catalog, relations
from flux_assets.postgis.copying import continued, texts_of
from flux_assets.postgis.relations import VERSIONS, Layer, version_table
from flux_assets.postgis.session import Target, prepare, translated
from flux_assets.spec import StaticTable


@dataclass(frozen=True, kw_only=True)
class ReplayResult:
    """What a replay did: the version that is live now, how many records it added, and those that stay, with why."""

    version: Version
    replayed: int
    waiting: tuple[QuarantinedRecord, ...]


def waiting_records(table: StaticTable, target: Target) -> list[QuarantinedRecord]:
    """Return the records that the published version lacks. Raises LayerError when there is no such version."""
    layer = Layer(target.schema, table)
    with target.session(f"look {layer.name}") as session:
        prepare(session, target.schema)
        return _waiting(session, layer, _current(session, layer))


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
    if (nothing := _nothing_to_do(layer, target, options)) is not None:
        return nothing
    with (
        recorded(layer, target, options, log, "REPLAY") as (context, entry),
        leases.leased(context.control, target, layer, context.patience) as lease,
    ):
        current = _current(context.control, layer)
        _correct(context.control, layer, current, given)
        return _replay(context, entry, current, lease)


def _nothing_to_do(layer: Layer, target: Target, options: LoadOptions) -> ReplayResult | None:
    """Return the result where the quarantine is empty, which is no run for the ledger."""
    with translated(layer.title, options.stop), target.session(f"look {layer.name}", options.stop) as session:
        prepare(session, target.schema)
        current = _current(session, layer)
        if quarantine.waiting(session, layer, current.lease):
            _refuse_pinned(session, layer)
            return None
        return ReplayResult(version=current, replayed=0, waiting=())


def _refuse_pinned(session: psycopg.Connection, layer: Layer) -> None:
    """Raise PinnedError before anything is read or stored: what a replay makes is another version."""
    if pin := versions.Pin.of(session, layer):
        raise PinnedError(
            f"{layer.title} is {pin}, and a replay would publish another version.",
            f"Run `flux-assets unpin {layer.name}` and replay again.",
        )


def _replay(context: VersionContext, entry: Entry, current: Version, lease: Lease) -> ReplayResult:
    control, layer = context.control, context.layer
    state = LayerState.of(control, layer)
    public = schema_diff.reconcile(context, state, lease)
    _refuse_retyped(control, layer, current)
    found = _read(context, public, _waiting(control, layer, current))
    quarantine.explain(control, layer, current.lease, found.refused)
    if not found.passed:
        control.execute(current.noting_quarantined(layer, entry))
        control.execute(entries.loaded(entry, 0, version=current.version, sync_type=entry.sync_type))
        return ReplayResult(version=current, replayed=0, waiting=tuple(found.refused))
    kept = publish.clean_up(context, lease, state)
    Need.of_copy(current.bytes or 0, kept.kept_bytes).refuse_above(layer, context.options.disk_limit)
    version = _made(context, current, public, found, lease)
    control.execute(version.noting_quarantined(layer, entry))
    publication = Publication(layer, public, version, lease, entry)
    publish.publish(control, context.target, [publication], context.patience)
    context.log(f"{layer.title}: published version {version.version[:12]}, with {len(found.passed):,} records replayed")
    schema_diff.refresh_comments(control, layer, state)
    layer.analyze(control, version.relation)
    publish.clean_up(context, lease, LayerState.of(control, layer))
    published_at = VersionTimes.of(control, layer).published_at
    return ReplayResult(
        version=replace(version, current=True, published_at=published_at),
        replayed=len(found.passed),
        waiting=tuple(found.refused),
    )


def _current(connection: psycopg.Connection, layer: Layer) -> Version:
    current = versions.live_version(connection, layer)
    if current is None or not current.is_whole(connection):
        raise LayerError(
            f"{layer.title} has no published version with all its rows, so there is nothing to add records to.",
            "Load it (`flux-assets status` says what is wrong).",
        )
    return current


def _waiting(connection: psycopg.Connection, layer: Layer, version: Version) -> list[QuarantinedRecord]:
    return [held for held in quarantine.kept_records(connection, layer, version.lease) if not held.replayed]


def _correct(connection: psycopg.Connection, layer: Layer, current: Version, given: Sequence[Correction]) -> None:
    """Store the records that somebody changed: all of them, or none.

    A record that came back as it was written is no correction: what the file could not hold of it would be lost.
    """
    table, known = layer.table, {held.record: held for held in _waiting(connection, layer, current)}
    for one in given:
        if sorted(one.header) != sorted(table.column_names):
            raise LayerError(
                f"{layer.title}: the corrections have the columns {', '.join(one.header)}, and the table"
                f" {', '.join(table.column_names)}; nothing was corrected.",
                "Keep the header that `flux-assets replay TABLE --out FILE` writes.",
            )
    if doubled := [number for number, count in Counter(one.record for one in given).items() if count > 1]:
        raise LayerError(
            f"{layer.title}: record {doubled[0]} is corrected more than once; nothing was corrected.",
            "Leave one line of each record.",
        )
    changed = [one for one in given if one.record not in known or _is_changed(table, one, known[one.record])]
    if kept := [one.record for one in changed if one.surplus]:
        raise LayerError(
            f"{layer.title}: record {kept[0]} still has values in {SURPLUS}, behind its last column; nothing was"
            " corrected.",
            "Move them where they belong, or empty the cell.",
        )
    with connection.transaction():
        for one in changed:
            if not quarantine.correct(connection, layer, current.lease, one.record, one.header, one.raw):
                raise LayerError(
                    f"{layer.title}: record {one.record} is not in quarantine, so nothing was corrected.",
                    "`flux-assets replay TABLE --out FILE` writes those that are.",
                )


def _is_changed(table: StaticTable, one: Correction, before: QuarantinedRecord) -> bool:
    surplus = surplus_of(before) or b""
    return one.values() != written(table, before) or (one.surplus is not None and one.surplus != surplus)


def _refuse_retyped(connection: psycopg.Connection, layer: Layer, current: Version) -> None:
    """Raise LayerError for a retyped column: rows are copied, which fits texts of another length alone."""
    relation = catalog.find(connection, VERSIONS, current.relation)
    standing = {
        column.name: column.bare_type for column in catalog.columns(connection, relation.oid if relation else 0)
    }
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


def _read(context: VersionContext, public: Public, waiting: Sequence[QuarantinedRecord]) -> ReadAgain:
    """Return what passes by the declaration, and then in an empty table that is as the version's will be."""
    with (
        texts_of(context.target, context.layer.name, context.options.stop) as ask,
        context.target.session(f"probe {context.layer.name}", context.options.stop) as session,
    ):
        found = read_again(context.layer.table, waiting, ask)
        create_probe(session, context.layer, public)
        return without(context.layer.table, found, [*refused_rows(session, found.batch)], ask)


def _made(context: VersionContext, current: Version, public: Public, found: ReadAgain, lease: Lease) -> Version:
    control, layer = context.control, context.layer
    name = _version_id(layer.table, current, found.passed)
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
        with context.clock.timed("stage"):
            _fill(context, current, version, public, found)
    except BaseException:
        if not control.closed and not control.broken:
            control.execute(version.dropping(layer))
        raise
    _hold(control, layer, current, version, found)
    rows = catalog.count_rows(control, version_table(version.relation))
    case = Case(
        connection=control,
        layer=layer,
        relation=version_table(version.relation),
        rows=rows,
        promised_rows=(current.rows or 0) + len(found.passed),
        published_rows=current.rows,
    )
    extent = _joined(current.extent, found.facts.extent)
    return finish(context, case, version, public, extent=extent, source="the version with the replayed records")


def _version_id(table: StaticTable, current: Version, passed: Sequence[QuarantinedRecord]) -> str:
    parts = [current.version, table.digest, *(f"{held.record} {held.header} {held.raw_record}" for held in passed)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _fill(context: VersionContext, current: Version, version: Version, public: Public, found: ReadAgain) -> None:
    with context.target.session(f"copy {context.layer.name}", context.options.stop) as reading:
        chunks = continued(reading, current.relation, found.batch)
        fill(context, version, public, chunks, context.layer.table.column_names, None)


def _hold(connection: psycopg.Connection, layer: Layer, current: Version, version: Version, found: ReadAgain) -> None:
    """Write the new version's quarantine: what was replayed, now and before, and what it still lacks."""
    before = [held for held in quarantine.kept_records(connection, layer, current.lease) if held.replayed]
    now = [replace(held, replayed=True) for held in found.passed]
    with connection.transaction():
        quarantine.hold(connection, layer, version, [*before, *now, *found.refused])
        base = version.base_version or current.version
        quarantine.note_base(connection, layer, version, base, len(before) + len(now))


def _joined(one: Extent | None, other: Extent | None) -> Extent | None:
    if one is None or other is None:
        return one or other
    return (min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3]))
