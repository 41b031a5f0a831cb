"""One static table, from a release into PostGIS: resolve, stage, index, audit, publish, keep, clean up.

Here: the order of the steps. Not here: how a step is done (loading/candidate.py, release/, postgis/), going back
(rollback.py), Dagster, or the name of any table.
"""

from __future__ import annotations

import hashlib
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import psycopg

from flux_assets.checks.audit import AuditResult
from flux_assets.errors import PinnedError, PublishError, reported
from flux_assets.failpoints import reach
from flux_assets.layers import indexes, publish, schema_diff, versions
from flux_assets.layers.candidate import Candidate, make_candidate, refuse_contradiction
from flux_assets.layers.context import LoadContext, LoadOptions
from flux_assets.layers.finishing import make_equal
from flux_assets.layers.layer_state import LayerState, ask_state, live_version
from flux_assets.layers.pins import HeldLoad, Pin, hold
from flux_assets.layers.publish import Publication, Swap
from flux_assets.layers.quarantine import records
from flux_assets.layers.run import recorded
from flux_assets.layers.versions import Version, VersionTimes, note_release, noting_release, retag
from flux_assets.ledger import entries, leases
from flux_assets.ledger.entries import Entry
from flux_assets.ledger.leases import Lease
from flux_assets.postgis import statistics
from flux_assets.postgis.batch import run
from flux_assets.postgis.connect import Target
from flux_assets.postgis.names import Layer, version_table
from flux_assets.release.release import Release, ReleaseFile
from flux_assets.release.stopping import stoppable
from flux_assets.spec import StaticTable

Outcome = Literal["published", "unchanged", "pinned"]


@dataclass(frozen=True, kw_only=True)
class LoadResult:
    """What a load did. Sizes in bytes, `seconds` by step, `extent` west, south, east, north in degrees (EPSG:4326).

    Everything is of the version that readers see now; `held` is what a load of a layer with a `pin` did not publish,
    `quarantined` how many records of the file the version lacks because they were refused.
    """

    outcome: Outcome
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
    table: StaticTable, release: Release, target: Target, options: LoadOptions, log: Callable[[str], None]
) -> LoadResult:
    """Make the release's version of a layer the published one; do nothing when it is already, or another is pinned.

    Raises ReleaseError for the file, TargetError for the database, AuditError, SchemaChangeError, PublishError,
    BusyError or LayerError for the layer. Whatever is raised, what was published before is still published.
    """
    layer = Layer(target.schema, table)
    with stoppable(options.stop.check), recorded(layer, target, options, "FULL") as (control, entry):
        shop = LoadContext(layer=layer, release=release, target=target, control=control, options=options, log=log)
        result = _load(shop, entry)
        reach("load.done")
        return result


def _load(shop: LoadContext, entry: Entry) -> LoadResult:
    with shop.clock.timed("resolve"):
        file = shop.release.resolve(shop.layer.table.file_name, shop.layer.name)
        wanted = _version_id(file, shop.layer.table)
    reach("load.resolved")
    state = ask_state(shop.control, shop.layer)
    if current := _current(shop, state, wanted):
        return _unchanged(shop, entry, file, state, current)
    if (pin := state.pin) and pin.version != wanted:
        return _pinned(shop, state, entry, file, wanted, pin)
    with leases.leased(shop.control, shop.target, shop.layer, shop.options.patience(shop.log)) as lease:
        reach("load.leased")
        # Another process may have published meanwhile.
        state = ask_state(shop.control, shop.layer)
        if current := _current(shop, state, wanted):
            return _unchanged(shop, entry, file, state, current)
        try:
            return _publish(shop, state, entry, file, wanted, lease)
        except PinnedError:
            state = ask_state(shop.control, shop.layer)
            if state.pin is None:
                raise
            return _pinned(shop, state, entry, file, wanted, state.pin)


def _current(shop: LoadContext, state: LayerState, wanted: str) -> Version | None:
    """Return the live version when it is the wanted one and nobody asked for it to be loaded again."""
    attached = state.attached
    if shop.options.force or attached is None or not attached.holds(wanted):
        return None
    return live_version(shop.control, state) if schema_diff.keeps_declared_columns(shop.layer, state) else None


def _unchanged(shop: LoadContext, entry: Entry, file: ReleaseFile, state: LayerState, current: Version) -> LoadResult:
    refuse_contradiction(shop, file, current, state.waiting)
    schema_diff.refresh_comments(shop.control, shop.layer, state)
    is_alone = shop.options.together is None
    statements = [
        *(noting_release(shop.layer, current, shop.release.tag) if is_alone else ()),
        entries.loaded(entry, 0, version=current.version, sync_type="UNCHANGED"),
        records.noting(shop.layer, entry, current),
        versions.asking_times(shop.layer),
    ]
    [[(quarantined,)], clocks] = run(shop.control, statements)
    shop.log(f"{shop.layer.title} is unchanged: version {current.version[:12]}, {current.rows or 0:,} rows")
    result = _result(shop, "unchanged", file, Candidate(current, 0), quarantined, versions.read_times(clocks))
    return replace(result, pin=state.pin)


def _pinned(shop: LoadContext, state: LayerState, entry: Entry, file: ReleaseFile, wanted: str, pin: Pin) -> LoadResult:
    is_staged = any(
        version.version == wanted and version.state in {"staged", "published"} for version in state.versions
    )
    held = HeldLoad(version=wanted, sha256=file.sha256, release_tag=shop.release.tag, staged=is_staged)
    live = hold(shop, live_version(shop.control, state), entry, pin, held)
    quarantined = records.note(shop.control, shop.layer, entry, live)
    result = _result(shop, "pinned", file, Candidate(live, 0), quarantined, _clocks(shop))
    return replace(result, sha256=live.sha256, release_tag=live.release_tag, gz_bytes=0, pin=pin, held=held)


def _publish(
    shop: LoadContext, state: LayerState, entry: Entry, file: ReleaseFile, wanted: str, lease: Lease
) -> LoadResult:
    patience = shop.options.patience(shop.log)
    public = schema_diff.reconcile(
        shop.control,
        shop.layer,
        state,
        lease,
        patience,
        accept_change=shop.options.accept_schema_change,
        take_over=shop.options.take_over,
    )
    reach("load.reconciled")
    ready = None if shop.options.force else _ready_version(shop, wanted, state)
    spare = ready.lease if ready else None
    keep = shop.options.retention
    dropped = publish.clean_up(shop.control, shop.layer, lease, keep, shop.log, state=state, spare=spare)
    reach("load.cleaned")
    if ready:
        candidate = _ready(shop, file, ready, public)
    else:
        candidate = make_candidate(shop, file, _new(shop, file, wanted, lease), public, state.without(dropped))
    quarantined = records.note(shop.control, shop.layer, entry, candidate.version)
    publication = Publication(shop.layer, public, Swap(candidate.version, lease, entry, "PUBLISH" if ready else "FULL"))
    reach("load.before_swap")
    together = shop.options.together
    with shop.clock.timed("publish"):
        if together is None:
            locked_ms = publish.publish(shop.control, shop.target, [publication], patience)
        else:
            locked_ms, judged = together.publish(shop.control, publication, patience)
            candidate = replace(candidate, version=judged)
    reach("load.swapped")
    locked = f", locked for {locked_ms:.1f} ms" if locked_ms else ""
    shop.log(
        f"{shop.layer.title}: published version {candidate.version.version[:12]},"
        f" {candidate.version.rows or 0:,} rows{locked}"
    )
    _tidy(shop, state, candidate.version, lease)
    reach("load.tidied")
    return _result(shop, "published", file, candidate, quarantined, _clocks(shop))


def _ready_version(shop: LoadContext, wanted: str, state: LayerState) -> Version | None:
    """Return a version of the wanted id that was audited, or published, before and has all its rows and columns."""
    for version in state.versions:
        fits = version.holds(wanted) and version.state in {"staged", "published"} and not version.current
        whole = fits and indexes.is_whole(shop.control, version.relation, version.rows)
        if whole and schema_diff.has_columns(shop.control, shop.layer, version.relation, state):
            return version
    return None


def _ready(shop: LoadContext, file: ReleaseFile, version: Version, public: schema_diff.Public) -> Candidate:
    refuse_contradiction(shop, file, version)
    shop.log(f"{shop.layer.title}: version {version.version[:12]} was staged and audited before; publishing it")
    make_equal(shop.control, shop.layer, shop.target, shop.options, version.relation, public)
    return Candidate(retag(shop.control, shop.layer, version, shop.release.tag), 0)


def _new(shop: LoadContext, file: ReleaseFile, wanted: str, lease: Lease) -> Version:
    return Version(
        lease=lease.number,
        version=wanted,
        sha256=file.sha256,
        release_tag=shop.release.tag,
        relation=shop.layer.relation(wanted, lease.number),
        run_id=shop.options.run_id,
    )


def _tidy(shop: LoadContext, state: LayerState, version: Version, lease: Lease) -> None:
    """Do what may fail without harm once the version is live."""
    try:
        with shop.clock.timed("tidy"):
            schema_diff.refresh_comments(shop.control, shop.layer, state)
            note_release(shop.control, shop.layer, version, shop.release.tag)
            statistics.analyze_public(shop.control, shop.layer.public, version.relation)
            publish.clean_up(shop.control, shop.layer, lease, shop.options.retention, shop.log)
    except (psycopg.Error, PublishError) as error:
        shop.log(f"{shop.layer.title} is published; tidying up is left to the next run, because of: {reported(error)}")


def _version_id(file: ReleaseFile, table: StaticTable) -> str:
    return hashlib.sha256(f"{file.sha256}\n{table.digest}".encode()).hexdigest()


def _result(
    shop: LoadContext,
    outcome: Outcome,
    file: ReleaseFile,
    candidate: Candidate,
    quarantined: int,
    clocks: VersionTimes | None,
) -> LoadResult:
    version = candidate.version
    return LoadResult(
        outcome=outcome,
        rows_changed=outcome == "published",
        version=version.version,
        sha256=file.sha256,
        release_tag=shop.release.tag,
        rows=version.rows or 0,
        quarantined=quarantined,
        gz_bytes=file.bytes or 0,
        csv_bytes=candidate.csv_bytes,
        table_bytes=version.bytes or 0,
        seconds=dict(shop.clock.seconds),
        peak_memory_bytes=_peak_memory_bytes(),
        extent=version.extent,
        audits=_readable(shop.layer, version),
        clocks=clocks,
    )


def _clocks(shop: LoadContext) -> VersionTimes | None:
    """What is published is published, also when the session breaks before this is asked."""
    try:
        return versions.version_times(shop.control, shop.layer)
    except psycopg.Error:
        return None


def _readable(layer: Layer, version: Version) -> tuple[AuditResult, ...]:
    """The version's audits, with queries that ask the public table now that it is there."""
    staged, public = version_table(version.relation).as_string(), layer.public.as_string()
    found = (AuditResult.from_json(stored) for stored in version.audits)
    return tuple(replace(audit, sql=audit.sql.replace(staged, public)) for audit in found)


def _peak_memory_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
