"""Loading one static table from a release: resolve, stage, index, audit, publish, keep, clean up."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

import psycopg
from psycopg import sql

from flux_assets.checks.audit import AuditResult
from flux_assets.errors import ManifestError, PinnedError, PublishError, counted, reported
from flux_assets.layers import publish, schema_diff
from flux_assets.layers.computing import InputsChangedError, MissingInputsError, QueryOrigin
from flux_assets.layers.context import LoadOptions, VersionContext, recorded
from flux_assets.layers.indexes import make_equal
from flux_assets.layers.publish import Publication
from flux_assets.layers.schema_diff import Public
from flux_assets.layers.staging import FileOrigin, Origin, stage
from flux_assets.layers.versions import Extent, LayerState, Pin, Version, VersionTimes
from flux_assets.ledger.runs import Lease, leased, reach
from flux_assets.postgis.locking import LockRetries, refresh_views
from flux_assets.postgis.relations import Layer
from flux_assets.postgis.session import Target, run
from flux_assets.release.files import MissingError
from flux_assets.release.release import Release
from flux_assets.release.stopping import stoppable
from flux_assets.spec import StaticTable
from flux_assets.telemetry import span

_PublishWith = Callable[[psycopg.Connection, Publication, LockRetries], tuple[float, Version]]
"""Publishes a version: returns the milliseconds for which names were locked, and the version as it was judged last."""
# At computing a layer whose inputs are published meanwhile; a publish tries again within the pause.
_ATTEMPTS, _PAUSE_SECONDS = 5, 2.0
_AUDITED = frozenset({"staged", "published"})
_NOT_FLUSHED = sql.SQL("SET LOCAL synchronous_commit = off")


@dataclass(frozen=True, kw_only=True)
class _HeldLoad:
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
    `quarantined` how many records of the file the version lacks because they were refused, `inputs` the versions of the
    layers that it was computed from, `mapping` the digest of what FLUX_CONFIG maps of its file. The publish locked
    readers out for `lock_seconds`, where there were any before.
    """

    outcome: Literal["published", "unchanged", "pinned", "absent"]
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
    extent: Extent | None
    audits: tuple[AuditResult, ...]
    clocks: VersionTimes | None = None
    pin: Pin | None = None
    held: _HeldLoad | None = None
    inputs: Mapping[str, str] | None = None
    lock_seconds: float | None = None
    mapping: str = ""


def load_layer(
    table: StaticTable,
    release: Release | None,
    target: Target,
    options: LoadOptions,
    log: Callable[[str], None],
    publish_with: _PublishWith | None = None,
) -> LoadResult:
    """Make the release's version of a layer the published one; do nothing when it is already, or another is pinned.

    A layer that the release has no file of is computed from the versions of its inputs that are published. One that can
    be made of nothing stays as it is, `absent`, where that is no error (an optional file, `brought_along`). Without a
    `release` there is no file.
    With `publish_with`, which takes the place of `publish`, it is published with those of other layers or not at all.
    Raises ReleaseError for the file, TargetError for the database, AuditError, SchemaChangeError, PublishError,
    BusyError or LayerError for the layer. Whatever is raised, what was published before is still published.
    """
    layer = Layer(target.schema, table)
    with (
        span("load", table=table.name, kind="static", run_id=options.run_id),
        stoppable(options.stop.check),
        recorded(layer.title, [layer], target, options, log, "FULL") as (_, [alone]),
    ):
        context = replace(alone, joined=publish_with is not None)
        with context.clock.timed("resolve"):
            origin = _origin(context, release)
        if isinstance(origin, str):
            return _absent(context, origin)
        reach("load.resolved")
        for _ in range(_ATTEMPTS):
            version = Version.id_of(origin.identity, table)
            try:
                result = _Load(context, origin, version, publish_with).run()
            except InputsChangedError as error:
                changed = error
                log(f"{layer.title}: an input is being published; computing it again after that")
                options.stop.wait(_PAUSE_SECONDS)
                again = _origin(context, release)
                origin = origin if isinstance(again, str) else again
            else:
                reach("load.done")
                return result
        raise changed


def _absent(context: VersionContext, why: str) -> LoadResult:
    """Leave a layer as it is, because there is nothing to make it of."""
    live = Version.live(context.control, context.layer)
    known = live or Version(lease=0, version="", sha256="", release_tag="", relation="")
    unchanged = context.entry.loaded(known.rows, version=known.version, sync_type="UNCHANGED", published=False)
    run(context.control, [unchanged if live else context.entry.forgotten()])
    context.log(f"{context.layer.title} stays as it is: {why}")
    return LoadResult(
        outcome="absent",
        rows_changed=False,
        version=known.version,
        sha256=known.sha256,
        release_tag=known.release_tag,
        rows=known.rows or 0,
        quarantined=0,
        gz_bytes=0,
        csv_bytes=0,
        table_bytes=known.bytes or 0,
        seconds={},
        peak_memory_bytes=0,
        extent=known.extent,
        audits=(),
    )


def _origin(context: VersionContext, release: Release | None) -> Origin | str:
    """Return what the layer's version is made of, the release's file or else a query; or why there is neither."""
    table = context.layer.table
    if release is not None and table.file != "none":
        try:
            return FileOrigin(release, release.resolve(table.file_name, table.name))
        except MissingError:
            if table.file == "required":
                raise
    if table.computed is None:
        return f"release {release.tag if release else ''} has no file of it, and need not have"
    try:
        return QueryOrigin.of(context.control, context.layer, table.computed)
    except MissingInputsError as error:
        if not context.options.brought_along:
            raise
        return str(error)


@dataclass(frozen=True)
class _Load:
    """A load of the version that is made of an origin."""

    context: VersionContext
    origin: Origin
    version: str
    publish_with: _PublishWith | None

    def run(self) -> LoadResult:
        context, control, layer = self.context, self.context.control, self.context.layer
        state = LayerState.of(control, layer)
        if current := self._current(state):
            return self._unchanged(state, current)
        if state.pin and state.pin.version != self.version:
            return self._pinned(state, state.pin)
        with leased(control, context.target, context.patience, layer) as lease:
            reach("load.leased")
            # Another process may have published meanwhile.
            state = LayerState.of(control, layer)
            if current := self._current(state):
                return self._unchanged(state, current)
            try:
                return self._publish(state, lease)
            except PinnedError:
                state = LayerState.of(control, layer)
                if state.pin is None:
                    raise
                return self._pinned(state, state.pin)

    def _publish(self, state: LayerState, lease: Lease) -> LoadResult:
        context, control, layer = self.context, self.context.control, self.context.layer
        public = schema_diff.reconcile(context, state, lease)
        reach("load.reconciled")
        # A version that was staged before lacks the columns that a plain table brings along.
        anew = context.options.force or (public.taking is not None and bool(public.changes))
        ready = None if anew else self._ready_version(state)
        kept = publish.clean_up(context, lease, state, spare=ready.lease if ready else None)
        reach("load.cleaned")
        if ready:
            version, csv_bytes = self._made_equal(ready, public, kept), 0
        else:
            new = Version(
                lease=lease.number,
                version=self.version,
                sha256=self.origin.sha256,
                release_tag=self.origin.release_tag,
                relation=layer.relation(self.version, lease.number),
                run_id=context.options.run_id,
                inputs=self.origin.inputs,
            )
            version, csv_bytes = stage(context, self.origin, new, public, kept)
        [[(quarantined,)]] = run(control, [version.noting_quarantined(layer, context.entry)])
        entry = replace(context.entry, sync_type="PUBLISH") if ready else context.entry
        locked_ms, version = self._swap(Publication(layer, public, version, lease, entry))
        reach("load.swapped")
        locked = f", locked for {locked_ms:.1f} ms" if locked_ms else ""
        context.log(f"{layer.title}: published version {version.version[:12]}, {version.rows or 0:,} rows{locked}")
        self._tidy(state, version, lease)
        reach("load.tidied")
        result = self._result(version, quarantined, self._times(), csv_bytes)
        return replace(result, lock_seconds=locked_ms / 1000 if locked_ms else None)

    def _swap(self, publication: Publication) -> tuple[float, Version]:
        context, control, taking = self.context, self.context.control, publication.public.taking
        try:
            if taking is not None:
                with context.clock.timed("take over"):
                    taking.prepare(control, publication.version.table, publication.lease)
            reach("load.before_swap")
            with context.clock.timed("publish"):
                if self.publish_with is not None:
                    return self.publish_with(control, publication, context.patience)
                return publish.publish(control, context.target, [publication], context.patience), publication.version
        except BaseException:
            if taking is not None and not (control.closed or control.broken):
                with suppress(psycopg.Error, PublishError):
                    taking.discard(control, publication.lease)
            raise

    def _current(self, state: LayerState) -> Version | None:
        """Return the live version when it is the wanted one and nobody asked for it to be loaded again."""
        context, attached = self.context, state.attached
        if context.options.force or attached is None or not attached.holds(self.version):
            return None
        return state.live(context.control) if state.keeps_declared_columns else None

    def _unchanged(self, state: LayerState, current: Version) -> LoadResult:
        context, control, layer = self.context, self.context.control, self.context.layer
        self._refuse_contradiction(current, state)
        state.refresh_comments(control)
        statements = [
            *(current.noting_release(layer, self.origin.release_tag) if not context.joined else ()),
            context.entry.loaded(current.rows, version=current.version, sync_type="UNCHANGED", published=False),
            context.entry.measured(context.clock.seconds),
            current.noting_quarantined(layer, context.entry),
            VersionTimes.asking(layer),
        ]
        [[(quarantined,)], times] = run(control, statements)
        context.log(f"{layer.title} is unchanged: version {current.version[:12]}, {current.rows or 0:,} rows")
        result = self._result(current, quarantined, VersionTimes.read(times))
        return replace(result, outcome="unchanged", rows_changed=False, pin=state.pin)

    def _pinned(self, state: LayerState, pin: Pin) -> LoadResult:
        """End well; raises PinnedError when readers do not see the pinned version: that calls for a person."""
        context, control, layer = self.context, self.context.control, self.context.layer
        is_staged = any(each.version == self.version and each.state in _AUDITED for each in state.versions)
        held = _HeldLoad(
            version=self.version, sha256=self.origin.sha256, release_tag=self.origin.release_tag, staged=is_staged
        )
        live = state.live(control)
        if live is None or live.version != pin.version:
            raise PinnedError(
                f"{layer.title} is {pin}, but readers do not see that version any more.",
                f"Run `flux-assets unpin {layer.name}` and load again.",
            )
        closing = context.entry.held(live.version, held.version, live.rows)
        [[(quarantined,)]] = run(control, [closing, live.noting_quarantined(layer, context.entry)])
        forced = "; force: true does not override a pin" if context.options.force else ""
        context.log(
            f"{layer.title} is {pin}: {held}{forced}. `flux-assets unpin {layer.name}` lets the next load publish it."
        )
        return replace(
            self._result(live, quarantined, self._times()),
            outcome="pinned",
            rows_changed=False,
            sha256=live.sha256,
            release_tag=live.release_tag,
            gz_bytes=0,
            pin=pin,
            held=held,
            mapping="",
        )

    def _ready_version(self, state: LayerState) -> Version | None:
        """Return a version of the wanted id that was audited, or published, before and has all its rows and columns."""
        control = self.context.control
        for version in state.versions:
            fits = version.holds(self.version) and version.state in _AUDITED and not version.current
            if fits and version.is_whole(control) and state.fits(control, version):
                return version
        return None

    def _made_equal(self, version: Version, public: Public, state: LayerState) -> Version:
        context, layer = self.context, self.context.layer
        self._refuse_contradiction(version, state)
        context.log(f"{layer.title}: version {version.version[:12]} was staged and audited before; publishing it")
        make_equal(context, version, public)
        return version.retagged(context.control, layer, self.origin.release_tag)

    def _refuse_contradiction(self, version: Version, state: LayerState) -> None:
        """Raise ManifestError when the manifest says another count than the file had when `version` was made of it."""
        origin, waiting = self.origin, state.waiting.get(version.lease, 0)
        if origin.rows is None or version.rows is None or version.rows + waiting == origin.rows:
            return
        parts = f" ({version.rows:,} in the table, {waiting:,} in quarantine)" if waiting else ""
        raise ManifestError(
            f"{origin.address}: the manifest says {counted(origin.rows, 'row')}, and the register says"
            f" {version.rows + waiting:,}{parts}: the file has the same bytes as the one that version"
            f" {version.version[:12]} of {self.context.layer.title} was made of.",
            "Regenerate the manifest for this file, or deliver the file that the manifest describes. Published data is"
            " intact.",
        )

    def _tidy(self, state: LayerState, version: Version, lease: Lease) -> None:
        """Do what may fail without harm once the version is live."""
        context, control, layer = self.context, self.context.control, self.context.layer
        try:
            with context.clock.timed("tidy"):
                state.refresh_comments(control)
                for statement in version.noting_release(layer, self.origin.release_tag):
                    control.execute(statement)
                layer.analyze(control, version.relation)
                refresh_views(control, [layer], context.log, context.log, context.options.stop)
                publish.clean_up(context, lease, LayerState.of(control, layer))
        except (psycopg.Error, PublishError) as error:
            context.log(
                f"{layer.title} is published; tidying up is left to the next run, because of: {reported(error)}"
            )

    def _times(self) -> VersionTimes | None:
        """Note how long the steps took and return the layer's clocks.

        What is published stays published when the session breaks before this is asked.
        """
        context = self.context
        try:
            measured = context.entry.measured(context.clock.seconds)
            return VersionTimes.read(
                run(context.control, [_NOT_FLUSHED, measured, VersionTimes.asking(context.layer)])[0]
            )
        except psycopg.Error:
            return None

    def _result(self, version: Version, quarantined: int, times: VersionTimes | None, csv_bytes: int = 0) -> LoadResult:
        """Return what a load that has published says; other outcomes replace what is otherwise."""
        # The audits asked the version's table; from now on their queries ask the public one.
        staged, public = version.table.as_string(), self.context.layer.public.as_string()
        audits = (AuditResult.from_json(stored) for stored in version.audits)
        peak_memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return LoadResult(
            outcome="published",
            rows_changed=True,
            version=version.version,
            sha256=self.origin.sha256,
            release_tag=self.origin.release_tag,
            rows=version.rows or 0,
            quarantined=quarantined,
            gz_bytes=self.origin.bytes or 0,
            csv_bytes=csv_bytes,
            table_bytes=version.bytes or 0,
            seconds=dict(self.context.clock.seconds),
            peak_memory_bytes=peak_memory if sys.platform == "darwin" else peak_memory * 1024,
            extent=version.extent,
            audits=tuple(replace(audit, sql=audit.sql.replace(staged, public)) for audit in audits),
            clocks=times,
            inputs=version.inputs,
            mapping=self.origin.mapping,
        )
