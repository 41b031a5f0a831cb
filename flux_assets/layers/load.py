"""Loading one static table from a release: resolve, stage, index, audit, publish, keep, clean up."""

from __future__ import annotations

import hashlib
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import psycopg
from psycopg import sql

from flux_assets.checks.audit import AuditResult
from flux_assets.errors import PinnedError, PublishError, reported
from flux_assets.layers import indexes, publish, quarantine, schema_diff, versions
from flux_assets.layers.context import LoadContext, LoadOptions, recorded
from flux_assets.layers.indexes import make_equal
from flux_assets.layers.publish import Publication, Swap
from flux_assets.layers.staging import Candidate, make_candidate, refuse_contradiction
from flux_assets.layers.versions import (
    LayerState,
    Pin,
    Version,
    VersionTimes,
    ask_state,
    confirm_live,
    note_release,
    noting_release,
    retag,
)
from flux_assets.ledger import entries, leases
from flux_assets.ledger.entries import Entry
from flux_assets.ledger.leases import Lease
from flux_assets.postgis.locking import LockRetries
from flux_assets.postgis.relations import Layer, version_table
from flux_assets.postgis.session import Target, run
from flux_assets.release.release import Release, ReleaseFile
from flux_assets.release.stopping import stoppable
from flux_assets.spec import StaticTable
from flux_assets.sqlfiles import query
from flux_assets.steps import reach

PublishWith = Callable[[psycopg.Connection, Publication, LockRetries], tuple[float, Version]]
"""Publishes a version: returns the milliseconds for which names were locked, and the version as it was judged last."""
_Outcome = Literal["published", "unchanged", "pinned"]
_AUDITED = frozenset({"staged", "published"})


@dataclass(frozen=True, kw_only=True)
class HeldLoad:
    """What a load left unpublished: the release's version, its file and release, and whether it is staged already."""

    version: str
    sha256: str
    release_tag: str
    staged: bool

    def __str__(self) -> str:
        kept = "staged and audited already" if self.staged else "not staged"
        return f"version {self.version[:12]} of release {self.release_tag} was not published ({kept})"


@dataclass(frozen=True, kw_only=True)
class LoadResult:
    """What a load did. Sizes in bytes, `seconds` by step, `extent` west, south, east, north in degrees (EPSG:4326).

    Everything is of the version that readers see now; `held` is what a load of a layer with a `pin` did not publish,
    `quarantined` how many records of the file the version lacks because they were refused.
    """

    outcome: _Outcome
    rows_changed: bool
    version: str
    sha256: str
    release_tag: str
    rows: int
    quarantined: int
    gz_bytes: int
    csv_bytes: int
    table_bytes: int
    seconds: dict[str, float]
    peak_memory_bytes: int
    extent: tuple[float, float, float, float] | None
    audits: tuple[AuditResult, ...]
    clocks: VersionTimes | None = None
    pin: Pin | None = None
    held: HeldLoad | None = None


def load_layer(
    table: StaticTable,
    release: Release,
    target: Target,
    options: LoadOptions,
    log: Callable[[str], None],
    publish_with: PublishWith | None = None,
) -> LoadResult:
    """Make the release's version of a layer the published one; do nothing when it is already, or another is pinned.

    With `publish_with`, which takes the place of `publish`, it is published with those of other layers or not at all.

    Raises ReleaseError for the file, TargetError for the database, AuditError, SchemaChangeError, PublishError,
    BusyError or LayerError for the layer. Whatever is raised, what was published before is still published.
    """
    layer = Layer(target.schema, table)
    with stoppable(options.stop.check), recorded(layer, target, options, "FULL") as (control, entry):
        context = LoadContext(
            layer=layer,
            release=release,
            target=target,
            control=control,
            options=options,
            log=log,
            joined=publish_with is not None,
        )
        result = _load(context, entry, publish_with)
        reach("load.done")
        return result


@dataclass(frozen=True)
class _Wanted:
    """What a load is to publish: the file of the release, the version made of it, and the ledger's row of the load."""

    file: ReleaseFile
    version: str
    entry: Entry


def _load(context: LoadContext, entry: Entry, publish_with: PublishWith | None) -> LoadResult:
    control, layer = context.control, context.layer
    with context.clock.timed("resolve"):
        file = context.release.resolve(layer.table.file_name, layer.name)
        wanted = _Wanted(file, _version_id(file, layer.table), entry)
    reach("load.resolved")
    state = ask_state(control, layer)
    if current := _current(context, wanted, state):
        return _unchanged(context, wanted, state, current)
    if state.pin and state.pin.version != wanted.version:
        return _pinned(context, wanted, state, state.pin)
    with leases.leased(control, context.target, layer, context.options.patience(context.log)) as lease:
        reach("load.leased")
        # Another process may have published meanwhile.
        state = ask_state(control, layer)
        if current := _current(context, wanted, state):
            return _unchanged(context, wanted, state, current)
        try:
            return _publish(context, wanted, state, lease, publish_with)
        except PinnedError:
            state = ask_state(control, layer)
            if state.pin is None:
                raise
            return _pinned(context, wanted, state, state.pin)


def _current(context: LoadContext, wanted: _Wanted, state: LayerState) -> Version | None:
    """Return the live version when it is the wanted one and nobody asked for it to be loaded again."""
    attached = state.attached
    if context.options.force or attached is None or not attached.holds(wanted.version):
        return None
    return confirm_live(context.control, state) if schema_diff.keeps_declared_columns(context.layer, state) else None


def _unchanged(context: LoadContext, wanted: _Wanted, state: LayerState, current: Version) -> LoadResult:
    control, layer, tag = context.control, context.layer, context.release.tag
    refuse_contradiction(context, wanted.file, current, state.waiting)
    schema_diff.refresh_comments(control, layer, state)
    statements = [
        *(noting_release(layer, current, tag) if not context.joined else ()),
        entries.loaded(wanted.entry, 0, version=current.version, sync_type="UNCHANGED"),
        quarantine.noting(layer, wanted.entry, current),
        versions.asking_times(layer),
    ]
    [[(quarantined,)], times] = run(control, statements)
    context.log(f"{layer.title} is unchanged: version {current.version[:12]}, {current.rows or 0:,} rows")
    result = _result(context, wanted, Candidate(current, 0), quarantined, versions.read_times(times))
    return replace(result, outcome="unchanged", rows_changed=False, pin=state.pin)


def _pinned(context: LoadContext, wanted: _Wanted, state: LayerState, pin: Pin) -> LoadResult:
    is_staged = any(each.version == wanted.version and each.state in _AUDITED for each in state.versions)
    held = HeldLoad(
        version=wanted.version, sha256=wanted.file.sha256, release_tag=context.release.tag, staged=is_staged
    )
    live = _hold(context, confirm_live(context.control, state), wanted.entry, pin, held)
    quarantined = quarantine.note(context.control, context.layer, wanted.entry, live)
    result = _result(context, wanted, Candidate(live, 0), quarantined, _times(context))
    return replace(
        result,
        outcome="pinned",
        rows_changed=False,
        sha256=live.sha256,
        release_tag=live.release_tag,
        gz_bytes=0,
        pin=pin,
        held=held,
    )


def _hold(context: LoadContext, live: Version | None, entry: Entry, pin: Pin, held: HeldLoad) -> Version:
    """End a load of a pinned layer well; returns the version that stays, which is the `live` one.

    Raises PinnedError when the version that the layer is pinned to is not what readers see: that calls for a person.
    """
    layer = context.layer
    if live is None or live.version != pin.version:
        raise PinnedError(
            f"{layer.title} is {pin}, but readers do not see that version any more.",
            f"Run `flux-assets unpin {layer.name}` and load again.",
        )
    _record_held(context.control, entry, live.version, held.version)
    forced = "; force: true does not override a pin" if context.options.force else ""
    context.log(
        f"{layer.title} is {pin}: {held}{forced}. `flux-assets unpin {layer.name}` lets the next load publish it."
    )
    return live


def _record_held(connection: psycopg.Connection, entry: Entry, live: str, held: str) -> None:
    """Close a load's row of the ledger as PINNED: version `live` stays, version `held` was not published."""
    connection.execute(
        query("entries", "close_held").format(
            version=sql.Literal(live), held=sql.Literal(held), sync_id=sql.Literal(entry.sync_id)
        )
    )


def _publish(
    context: LoadContext, wanted: _Wanted, state: LayerState, lease: Lease, publish_with: PublishWith | None
) -> LoadResult:
    control, layer, options = context.control, context.layer, context.options
    patience = options.patience(context.log)
    public = schema_diff.reconcile(
        control,
        layer,
        state,
        lease,
        patience,
        accept_change=options.accept_schema_change,
        take_over=options.take_over,
    )
    reach("load.reconciled")
    ready = None if options.force else _ready_version(context, wanted, state)
    spare = ready.lease if ready else None
    dropped = publish.clean_up(control, layer, lease, options, context.log, state=state, spare=spare)
    reach("load.cleaned")
    if ready:
        candidate = _ready(context, wanted, ready, public)
    else:
        new = _new(context, wanted, lease)
        candidate = make_candidate(context, wanted.file, new, public, state.without(dropped))
    quarantined = quarantine.note(control, layer, wanted.entry, candidate.version)
    swap = Swap(candidate.version, lease, wanted.entry, "PUBLISH" if ready else "FULL")
    reach("load.before_swap")
    with context.clock.timed("publish"):
        if publish_with is None:
            locked_ms = publish.publish(control, context.target, [Publication(layer, public, swap)], patience)
        else:
            locked_ms, judged = publish_with(control, Publication(layer, public, swap), patience)
            candidate = replace(candidate, version=judged)
    reach("load.swapped")
    version, locked = candidate.version, f", locked for {locked_ms:.1f} ms" if locked_ms else ""
    context.log(f"{layer.title}: published version {version.version[:12]}, {version.rows or 0:,} rows{locked}")
    _tidy(context, state, version, lease)
    reach("load.tidied")
    return _result(context, wanted, candidate, quarantined, _times(context))


def _ready_version(context: LoadContext, wanted: _Wanted, state: LayerState) -> Version | None:
    """Return a version of the wanted id that was audited, or published, before and has all its rows and columns."""
    for version in state.versions:
        fits = version.holds(wanted.version) and version.state in _AUDITED and not version.current
        whole = fits and indexes.is_whole(context.control, version.relation, version.rows)
        if whole and schema_diff.has_columns(context.control, context.layer, version.relation, state):
            return version
    return None


def _ready(context: LoadContext, wanted: _Wanted, version: Version, public: schema_diff.Public) -> Candidate:
    control, layer = context.control, context.layer
    refuse_contradiction(context, wanted.file, version)
    context.log(f"{layer.title}: version {version.version[:12]} was staged and audited before; publishing it")
    make_equal(control, layer, context.target, context.options, version.relation, public)
    return Candidate(retag(control, layer, version, context.release.tag), 0)


def _new(context: LoadContext, wanted: _Wanted, lease: Lease) -> Version:
    return Version(
        lease=lease.number,
        version=wanted.version,
        sha256=wanted.file.sha256,
        release_tag=context.release.tag,
        relation=context.layer.relation(wanted.version, lease.number),
        run_id=context.options.run_id,
    )


def _tidy(context: LoadContext, state: LayerState, version: Version, lease: Lease) -> None:
    """Do what may fail without harm once the version is live."""
    control, layer = context.control, context.layer
    try:
        with context.clock.timed("tidy"):
            schema_diff.refresh_comments(control, layer, state)
            note_release(control, layer, version, context.release.tag)
            layer.analyze(control, version.relation)
            publish.clean_up(control, layer, lease, context.options, context.log)
    except (psycopg.Error, PublishError) as error:
        context.log(f"{layer.title} is published; tidying up is left to the next run, because of: {reported(error)}")


def _version_id(file: ReleaseFile, table: StaticTable) -> str:
    return hashlib.sha256(f"{file.sha256}\n{table.digest}".encode()).hexdigest()


def _result(
    context: LoadContext, wanted: _Wanted, candidate: Candidate, quarantined: int, times: VersionTimes | None
) -> LoadResult:
    """Return what a load that has published says; other outcomes replace what is otherwise."""
    version = candidate.version
    return LoadResult(
        outcome="published",
        rows_changed=True,
        version=version.version,
        sha256=wanted.file.sha256,
        release_tag=context.release.tag,
        rows=version.rows or 0,
        quarantined=quarantined,
        gz_bytes=wanted.file.bytes or 0,
        csv_bytes=candidate.csv_bytes,
        table_bytes=version.bytes or 0,
        seconds=dict(context.clock.seconds),
        peak_memory_bytes=_peak_memory_bytes(),
        extent=version.extent,
        audits=_readable(context.layer, version),
        clocks=times,
    )


def _times(context: LoadContext) -> VersionTimes | None:
    """Return the layer's clocks; what is published stays published when the session breaks before this is asked."""
    try:
        return versions.version_times(context.control, context.layer)
    except psycopg.Error:
        return None


def _readable(layer: Layer, version: Version) -> tuple[AuditResult, ...]:
    """Return the version's audits, with queries that ask the public table now that it is there."""
    staged, public = version_table(version.relation).as_string(), layer.public.as_string()
    found = (AuditResult.from_json(stored) for stored in version.audits)
    return tuple(replace(audit, sql=audit.sql.replace(staged, public)) for audit in found)


def _peak_memory_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
