"""How a declared layer becomes an asset, and what its step does.

Annotations are evaluated here: Dagster reads config and resources from them.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from flux_assets.compare.match import MATCHES_RELEASE
from flux_assets.errors import AuditError, FluxError, PublishError, SettingError, TargetError
from flux_assets.layers.context import LoadOptions
from flux_assets.orchestration.checks import (
    check_results,
    check_specs,
    failed_attempt,
    log_outcomes,
    repeat_outcomes,
    without_outcome,
)
from flux_assets.orchestration.dagster_internals import LayerFailure
from flux_assets.orchestration.executor import stop_of
from flux_assets.orchestration.names import Names
from flux_assets.orchestration.origins import origin_tags, record_file
from flux_assets.orchestration.resources import PostgisResource, ReleaseResource
from flux_assets.orchestration.shown.metadata import declared_metadata, loaded_metadata
from flux_assets.orchestration.shown.pictures import layer_pictures
from flux_assets.orchestration.spread.steps import Steps
from flux_assets.release.files import MissingError
from flux_assets.settings import Settings
from flux_assets.spec import StaticTable

if TYPE_CHECKING:
    from flux_assets.layers.load import LoadResult
    from flux_assets.release.release import Release

GROUP, DERIVED = "static_layers", "derived_layers"
WHEN_INPUTS_CHANGE = (
    dg.AutomationCondition.any_deps_match(dg.AutomationCondition.data_version_changed()).since_last_handled()
    & ~dg.AutomationCondition.any_deps_in_progress()
    & ~dg.AutomationCondition.in_progress()
)
"""Has automation_sensor ask for what is derived after a load or rollback of an input that did not bring it along."""
_LOOK_SECONDS = 0.2
_MOST_OVERTAKEN = 3
# Judged after a load that failed too.
_OF_READERS = {"recent_failures", "only_writer", "map_ready", "quarantined", "dropped_keys", "inputs_current"}
_Events = Iterator[
    dg.MaterializeResult[None] | dg.AssetCheckResult | dg.AssetCheckEvaluation | dg.AssetObservation | dg.Output[None]
]
# Of the run whose layers are loaded together, by deployment: what becomes of each, as the first step to ask finds out.
_first = Lock()
_whole_loads: dict[tuple[str, str | None], Future[dict[str, "LoadResult | FluxError"]]] = {}


class _LayerConfig(dg.Config):
    """What one run may ask of a layer beyond "make it current"."""

    force: bool = Field(
        default=False,
        description="Load the file again although this version is published already. A pinned layer stays as it is.",
    )
    accept_fewer_rows: bool = Field(
        default=False, description="Publish a version that is empty or has less than half of the published rows."
    )
    accept_schema_change: bool = Field(
        default=False, description="Remove or retype columns of the public table as the declaration now says."
    )
    take_over: bool = Field(
        default=False,
        description="Adopt an ordinary table of the layer's name, left by another loader: it is renamed when the new"
        " one is ready, and what hangs on it comes along.",
    )
    drop_foreign_keys: bool = Field(
        default=False,
        description="With take_over: drop foreign keys of other tables that point at the table that is adopted.",
    )
    quarantine: int | None = Field(
        default=None,
        description="Records of the file that may be refused and set aside in postgres_sync.quarantine; more of them"
        " refuse the file. 0 refuses it for the first. What FLUX_QUARANTINE_LIMIT says where this is not given.",
    )

    def options(self, run_id: str, layer: str, settings: Settings) -> LoadOptions:
        """Return what run and settings ask of a load; raises SettingError naming the `layer` for an illegal value."""
        if self.quarantine is not None and not 0 <= self.quarantine <= settings.most_quarantined:
            raise SettingError(
                f"quarantine of {layer} is {self.quarantine:,} in the run config.",
                f"Give a number of records from 0 to {settings.most_quarantined:,}.",
            )
        return LoadOptions(
            force=self.force,
            accept_fewer_rows=self.accept_fewer_rows,
            accept_schema_change=self.accept_schema_change,
            take_over=self.take_over,
            drop_foreign_keys=self.drop_foreign_keys,
            publish_wait=settings.flux_publish_wait,
            keep_versions=settings.flux_keep_versions,
            keep_bytes=settings.flux_keep_bytes,
            disk_limit=settings.flux_disk_limit,
            quarantine=settings.flux_quarantine_limit if self.quarantine is None else self.quarantine,
            run_id=run_id,
            stop=stop_of(run_id),
        )


def layer_asset(table: StaticTable, names: Names, among: Sequence[StaticTable] = ()) -> dg.AssetsDefinition:
    """Return the asset of one layer with its checks; either can be selected without the other.

    `among` are all layers that a release may have a file of. Where it is published whole, those of them that it has a
    file of are published together; what is computed follows.
    """
    inputs = table.computed.inputs if table.computed else ()
    spec = dg.AssetSpec(
        names.key(table.name),
        description=table.description,
        group_name=names.group(DERIVED if table.computed else GROUP),
        owners=[table.owner],
        kinds={"postgres", "postgis"},
        code_version=table.digest[:12],
        deps=[*([] if table.file == "none" else [names.origin(table)]), *map(names.key, inputs)],
        automation_condition=WHEN_INPUTS_CHANGE if table.computed else None,
        metadata=declared_metadata(table, names),
        skippable=True,
    )

    @dg.multi_asset(
        name=names.named(table.name),
        specs=[spec],
        check_specs=check_specs(table, names),
        can_subset=True,
        op_tags=Steps.tags(table, names),
        pool=Steps.pool(names),
        required_resource_keys={PostgisResource.key(names), ReleaseResource.key(names)},
    )
    def layer(context: dg.AssetExecutionContext, config: _LayerConfig) -> _Events:
        step = _LayerStep(context, table, names)
        with LayerFailure.translated():
            if context.selected_asset_keys:
                yield from step.loaded(config, ReleaseResource.of(context, names), among or [table])
            else:
                yield from step.audited()

    return layer


def are_loaded_too(context: dg.AssetExecutionContext, inputs: Iterable[dg.AssetKey]) -> bool:
    """Tell whether the run has a layer among these, so that what is derived from it came along unasked."""
    return any(key in context.job_def.asset_layer.executable_asset_keys for key in inputs)


class _LayerStep:
    """The step of a layer in one run."""

    def __init__(self, context: dg.AssetExecutionContext, table: StaticTable, names: Names) -> None:
        self._context = context
        self._table = table
        self._names = names
        self._key = names.key(table.name)
        self._postgis = PostgisResource.of(context, names)
        self._stop = stop_of(context.run.run_id)
        self._checks = frozenset(key.name for key in context.selected_asset_check_keys)

    def audited(self) -> _Events:
        """Yield the selected checks alone, on the published rows."""
        from flux_assets.layers.status import audit_live

        found = audit_live(self._table, self._postgis.target(), self._checks, self._stop)
        log_outcomes(self._table.name, found, self._context.log)
        yield from check_results(self._key, found, self._checks)

    def loaded(self, config: _LayerConfig, release: ReleaseResource, among: Sequence[StaticTable]) -> _Events:
        """Load the layer, or the release that it is part of, and yield what is recorded of it."""
        from flux_assets.layers.load import load_layer

        context, table, log = self._context, self._table, self._context.log.info
        try:
            given = None if table.file == "none" else release.release(log)
            if given:
                self._report_undeclared(given, among)
            if given and release.whole_release() != "off" and _is_loaded(table, given):
                result = self._loaded_together(release, among)
            else:
                options = config.options(context.run.run_id, table.name, self._names.settings())
                inputs = map(self._names.key, table.computed.inputs if table.computed else ())
                options = replace(options, brought_along=are_loaded_too(context, inputs))
                result = load_layer(table, given, self._postgis.target(), options, log)
        except FluxError as error:
            if isinstance(error, PublishError) and error.retryable:
                # Frozen for a while, it was overtaken by an attempt on another worker, perhaps of the same step.
                raise dg.RetryRequested(max_retries=_MOST_OVERTAKEN) from error
            yield from self._after_failure(error)
            raise
        if result.outcome == "absent":
            yield from without_outcome(context.job_def, context.selected_asset_check_keys)
            return
        # A load of a pinned layer has seen another file than the one that its version was made of.
        seen = result.held.sha256 if result.held else result.sha256
        if result.inputs is None:
            yield from record_file(context, self._names.origin(table), seen)
        if result.rows_changed:
            log(_pace(table, result))
        judged = "Of the pinned version:" if result.held else ""
        yield dg.MaterializeResult(
            asset_key=self._key,
            data_version=dg.DataVersion(result.version),
            metadata={
                **layer_pictures(context, self._names, table, self._postgis.target(), result),
                **loaded_metadata(result),
            },
            tags=origin_tags(context.instance, self._key, result.version, self._names.origin(table), result.sha256)
            if result.held and result.inputs is None
            else {},
            check_results=list(check_results(self._key, result.audits, self._checks, judged)),
        )
        # What only readers' table can tell, and what earlier releases of flux_assets did not ask of a version.
        yield from self._live_checks(self._checks - {audit.name for audit in result.audits})

    def _report_undeclared(self, release: "Release", among: Sequence[StaticTable]) -> None:
        """Log which files of the release nobody loads; the first of the run's layers does, for all of them."""
        keys = self._context.job_def.asset_layer.executable_asset_keys
        first = min(table.name for table in among if self._names.key(table.name) in keys)
        if self._table.name == first and (found := release.undeclared([table.name for table in among])):
            self._context.log.warning(f"No declaration names the files of {', '.join(found)}: they are not loaded.")

    def _loaded_together(self, release: ReleaseResource, among: Sequence[StaticTable]) -> "LoadResult":
        """Load the layers of this run that are `among` these in the first step to ask; the others wait for it.

        A step in another process loads as well: it waits for the first, and finds its layer current.
        """
        run_id = self._context.run.run_id
        ours = run_id, self._names.utility
        with _first:
            is_first = ours not in _whole_loads
            if is_first:
                for other in [key for key in _whole_loads if key[0] != run_id]:  # of runs that this process had before
                    del _whole_loads[other]
                _whole_loads[ours] = Future()
            found = _whole_loads[ours]
        if is_first:
            try:
                found.set_result(self._load_release(release, among))
            except BaseException as error:
                found.set_exception(error)
                raise
        while not wait([found], timeout=_LOOK_SECONDS).done:
            self._stop.check()
        result = found.result()[self._table.name]
        if isinstance(result, FluxError):
            raise result
        return result

    def _load_release(
        self, release: ReleaseResource, among: Sequence[StaticTable]
    ) -> dict[str, "LoadResult | FluxError"]:
        from flux_assets.layers.whole_release.load import load_release

        context, log, given = self._context, self._context.log.info, release.release(self._context.log.info)
        settings = self._names.settings()
        keys = context.job_def.asset_layer.executable_asset_keys
        # As Dagster has resolved them: values may come from the environment.
        configs = context.get_step_execution_context().resolved_run_config.ops
        options = {
            table: _LayerConfig(**(configs[self._names.named(table.name)].config or {})).options(
                context.run.run_id, table.name, settings
            )
            for table in among
            if self._names.key(table.name) in keys and _is_loaded(table, given)
        }
        return load_release(
            options,
            given,
            self._postgis.target(),
            log,
            parallel=settings.flux_parallel_layers,
            strict=release.whole_release() == "strict",
        )

    def _after_failure(self, error: FluxError) -> _Events:
        """Yield what the attempt found, and the checks of the published rows."""
        yield failed_attempt("load", self._key, error, error.audits if isinstance(error, AuditError) else ())
        left = set(self._checks)
        if not isinstance(error, TargetError):
            for result in self._live_checks(self._checks & _OF_READERS):
                left.discard(str(result.check_name))
                yield result
        yield from repeat_outcomes(self._context, self._key, left, MATCHES_RELEASE, self._when_staged(error))

    def _when_staged(self, error: FluxError) -> Iterator[dg.AssetCheckResult]:
        """Yield how the published version was judged when it was staged; nothing without a database to ask."""
        import psycopg

        from flux_assets.layers.status import live_audits

        if isinstance(error, TargetError):
            return
        try:
            found = live_audits(self._postgis.target(), self._table)
        except (FluxError, psycopg.Error):  # the failure of the load is what is worth telling
            return
        yield from check_results(self._key, found, {audit.name for audit in found}, "Before it was published:")

    def _live_checks(self, names: frozenset[str]) -> Iterator[dg.AssetCheckResult]:
        """Yield checks of the public table after a load, however it ended; an error in them is logged only."""
        from flux_assets.layers.status import audit_live

        try:
            found = audit_live(self._table, self._postgis.target(), names, self._stop) if names else ()
        except FluxError as error:
            self._context.log.info(f"{self._table.name}: checks not run: {', '.join(sorted(names))}; {error}")
            return
        yield from check_results(self._key, found, names)


def _is_loaded(table: StaticTable, release: "Release") -> bool:
    """Tell whether a layer is loaded from the release, and not computed because it has no file of it."""
    if not table.computed:
        return True
    try:
        release.glance(table.file_name, table.name)
    except MissingError:
        return False
    return True


def _pace(table: StaticTable, result: "LoadResult") -> str:
    """Return where the time of a load went."""
    total = sum(result.seconds.values())
    steps = ", ".join(f"{step} {seconds:.1f}" for step, seconds in result.seconds.items() if seconds >= 0.05)
    shown = f" ({steps})" if steps else ""
    return f"{table.name}: {result.rows:,} rows in {total:.1f} s, {result.rows / total:,.0f} rows/s{shown}"
