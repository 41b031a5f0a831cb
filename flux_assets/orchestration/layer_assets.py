"""How a declared layer becomes an asset, and how its errors become a failed step.

Annotations are evaluated here: Dagster reads config and resources from them.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, wait
from threading import Lock
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from flux_assets.compare.match import MATCHES_RELEASE
from flux_assets.errors import AuditError, FluxError, SettingError, TargetError
from flux_assets.layers.context import LoadOptions
from flux_assets.orchestration.checks import (
    check_results,
    check_specs,
    failed_attempt,
    log_outcomes,
    repeat_comparison,
    repeat_outcomes,
)
from flux_assets.orchestration.dagster_internals import SentenceError
from flux_assets.orchestration.executor import stop_of
from flux_assets.orchestration.layer_history import input_version_tag, origin_tags
from flux_assets.orchestration.metadata import declared_layer_metadata, loaded_metadata
from flux_assets.orchestration.origins import file_key, record_file
from flux_assets.orchestration.pictures import layer_pictures
from flux_assets.orchestration.resources import PostgisResource, ReleaseResource
from flux_assets.postgis.liveness import Stop
from flux_assets.settings import MOST_QUARANTINED, load_settings
from flux_assets.spec import StaticTable
from flux_assets.tables import static_tables


class LayerConfig(dg.Config):
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
        description="Rename an ordinary table of the layer's name, left by another loader, when the new one is ready.",
    )
    quarantine: int | None = Field(
        default=None,
        description="Records of the file that may be refused and set aside in postgres_sync.quarantine; more of them"
        " refuse the file. 0 refuses it for the first. What FLUX_QUARANTINE_LIMIT says where this is not given.",
    )

    def options(self, run_id: str, layer: str) -> LoadOptions:
        """Return what run and settings ask of a load; raises SettingError naming the `layer` for an illegal value."""
        settings = load_settings()
        if self.quarantine is not None and not 0 <= self.quarantine <= MOST_QUARANTINED:
            raise SettingError(
                f"quarantine of {layer} is {self.quarantine:,} in the run config.",
                f"Give a number of records from 0 to {MOST_QUARANTINED:,}.",
            )
        return LoadOptions(
            force=self.force,
            accept_fewer_rows=self.accept_fewer_rows,
            accept_schema_change=self.accept_schema_change,
            take_over=self.take_over,
            publish_wait=settings.flux_publish_wait,
            keep_versions=settings.flux_keep_versions,
            keep_bytes=settings.flux_keep_bytes,
            disk_limit=settings.flux_disk_limit,
            quarantine=settings.flux_quarantine_limit if self.quarantine is None else self.quarantine,
            run_id=run_id,
            stop=stop_of(run_id),
        )


_LOOK_SECONDS = 0.2
_first = Lock()
_loads: dict[str, "_WholeRelease"] = {}


class _WholeRelease:
    """The outcome of each layer of a run."""

    def __init__(self) -> None:
        self._found: Future[dict[str, LoadResult | FluxError]] = Future()

    def of(self, table: StaticTable, stop: Stop) -> "LoadResult":
        """Return the result of one layer; raises the error that it, or all of them, ended with."""
        while not wait([self._found], timeout=_LOOK_SECONDS).done:
            stop.check()
        result = self._found.result()[table.name]
        if isinstance(result, FluxError):
            raise result
        return result

    def load(
        self,
        context: dg.AssetExecutionContext,
        among: Sequence[StaticTable],
        release: ReleaseResource,
        postgis: PostgisResource,
    ) -> None:
        """Load all layers of the run."""
        from flux_assets.layers.whole_release.load import load_release

        log = context.log.info
        try:
            keys = context.job_def.asset_layer.executable_asset_keys
            tables = [table for table in among if dg.AssetKey(table.name) in keys]
            asked = {table: _layer_config(context, table).options(context.run.run_id, table.name) for table in tables}
            parallel = load_settings().flux_parallel_layers
            found = load_release(
                asked, release.release(log), postgis.target(), log, parallel=parallel, strict=release.is_strict()
            )
            self._found.set_result(found)
        except BaseException as error:
            self._found.set_exception(error)
            raise


def whole_release(
    context: dg.AssetExecutionContext, among: Sequence[StaticTable], release: ReleaseResource, postgis: PostgisResource
) -> _WholeRelease:
    """Load the layers of this run that are `among` these, or return what the first step to ask has loaded."""
    run_id = context.run.run_id
    with _first:
        if known := _loads.get(run_id):
            return known
        _loads.clear()  # of runs that this process had before
        found = _loads[run_id] = _WholeRelease()
    found.load(context, among, release, postgis)
    return found


def _layer_config(context: dg.AssetExecutionContext, table: StaticTable) -> LayerConfig:
    """Return the config of the layer's own op, as Dagster has resolved it: values may come from the environment."""
    resolved = context.get_step_execution_context().resolved_run_config.ops
    return LayerConfig(**(resolved[table.name].config or {}))


if TYPE_CHECKING:
    from flux_assets.layers.load import LoadResult

GROUP = "static_layers"
_Events = Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult | dg.AssetCheckEvaluation | dg.AssetObservation]


class LayerFailure(SentenceError, dg.Failure):  # noqa: N818 - Dagster's own word
    """A failed step shown as the sentence and remedy of its error."""

    def __init__(self, error: FluxError) -> None:
        super().__init__(str(error), type(error).__name__, description=str(error), allow_retries=False)


def layer_assets() -> list[dg.AssetsDefinition]:
    """Return an asset for every declared layer."""
    return [layer_asset(table, static_tables()) for table in static_tables()]


def layer_asset(table: StaticTable, among: Sequence[StaticTable] = ()) -> dg.AssetsDefinition:
    """Return the asset of one layer with its checks; either can be selected without the other.

    Where a release is published whole, its layers that are `among` these are published together.
    """

    @dg.multi_asset(
        name=table.name,
        specs=[_layer_spec(table)],
        check_specs=check_specs(table),
        can_subset=True,
        op_tags={"dagster/priority": str(_priority(table))},
    )
    def layer(
        context: dg.AssetExecutionContext, config: LayerConfig, postgis: PostgisResource, release: ReleaseResource
    ) -> _Events:
        try:
            if context.selected_asset_keys:
                yield from _loaded(context, table, among or [table], config, postgis, release)
            else:
                yield from _audited_layer(context, table, postgis)
        except FluxError as error:
            raise LayerFailure(error) from None

    return layer


def _priority(table: StaticTable) -> int:
    """Return the largest as the first, after the small ones that lie behind the pictures of all others."""
    return table.release_rows + (10**9 if table.ground else 0)


def _layer_spec(table: StaticTable) -> dg.AssetSpec:
    """Return what the asset graph knows of a layer."""
    return dg.AssetSpec(
        table.name,
        description=table.description,
        group_name=GROUP,
        owners=[table.owner],
        kinds={"postgres", "postgis"},
        code_version=table.digest[:12],
        deps=[file_key(table)],
        metadata=declared_layer_metadata(table),
        skippable=True,
    )


def _loaded(
    context: dg.AssetExecutionContext,
    table: StaticTable,
    among: Sequence[StaticTable],
    config: LayerConfig,
    postgis: PostgisResource,
    release: ReleaseResource,
) -> _Events:
    from flux_assets.layers.load import load_layer

    log, selected = context.log.info, _selected_checks(context)
    try:
        if release.is_whole():
            result = whole_release(context, among, release, postgis).of(table, stop_of(context.run.run_id))
        else:
            options = config.options(context.run.run_id, table.name)
            result = load_layer(table, release.release(log), postgis.target(), options, log)
    except FluxError as error:
        yield from _after_failure(context, table, postgis, error, selected)
        raise
    yield from record_file(context, table, result.held.sha256 if result.held else result.sha256)
    if result.rows_changed:
        log(_pace(table, result))
    yield dg.MaterializeResult(
        asset_key=table.name,
        data_version=dg.DataVersion(result.version),
        metadata={**layer_pictures(context, table, postgis.target(), result), **loaded_metadata(result)},
        # A load of a pinned layer has seen another file than the one that its version was made of.
        tags=_origin(context, table, result) if result.held else {},
        check_results=list(
            check_results(table, result.audits, selected, "Of the pinned version:" if result.held else "")
        ),
    )
    # What only readers' table can tell, and what a version staged by an earlier release of flux_assets was not asked.
    yield from _live_checks(context, table, postgis, selected - {audit.name for audit in result.audits})


def _after_failure(
    context: dg.AssetExecutionContext,
    table: StaticTable,
    postgis: PostgisResource,
    error: FluxError,
    selected: frozenset[str],
) -> _Events:
    """Yield what the attempt found, and the checks of the published rows."""
    yield failed_attempt("load", table.name, error, error.audits if isinstance(error, AuditError) else ())
    judged: set[str] = set()
    if not isinstance(error, TargetError):
        for result in _live_checks(context, table, postgis, selected & {"recent_failures", "map_ready", "quarantined"}):
            judged.add(str(result.check_name))
            yield result
    yield from repeat_outcomes(context, table.name, selected - judged, _when_staged(table, postgis, error))
    yield from repeat_comparison(context, table.name, MATCHES_RELEASE)


def _when_staged(table: StaticTable, postgis: PostgisResource, error: FluxError) -> Iterator[dg.AssetCheckResult]:
    """Yield how the published version was judged when it was staged; nothing without a database to ask."""
    import psycopg

    from flux_assets.layers.status import live_audits

    if isinstance(error, TargetError):
        return
    try:
        found = live_audits(postgis.target(), table)
    except (FluxError, psycopg.Error):  # the failure of the load is what is worth telling
        return
    yield from check_results(table, found, {audit.name for audit in found}, "Before it was published:")


def _origin(context: dg.AssetExecutionContext, table: StaticTable, result: "LoadResult") -> dict[str, str]:
    file = {input_version_tag(file_key(table)): result.sha256}
    return {**origin_tags(context.instance, table.name, result.version), **file}


def _live_checks(
    context: dg.AssetExecutionContext, table: StaticTable, postgis: PostgisResource, names: frozenset[str]
) -> Iterator[dg.AssetCheckResult]:
    """Yield checks of the public table after a load, however it ended; an error in them is logged only."""
    from flux_assets.layers.status import audit_live

    try:
        found = audit_live(table, postgis.target(), names, stop_of(context.run.run_id)) if names else ()
    except FluxError as error:
        context.log.info(f"{table.name}: checks not run: {', '.join(sorted(names))}; {error}")
        return
    yield from check_results(table, found, names)


def _audited_layer(context: dg.AssetExecutionContext, table: StaticTable, postgis: PostgisResource) -> _Events:
    """Yield the selected checks alone, on the published rows."""
    from flux_assets.layers.status import audit_live

    names = _selected_checks(context)
    found = audit_live(table, postgis.target(), names, stop_of(context.run.run_id))
    log_outcomes(table.name, found, context.log)
    yield from check_results(table, found, names)


def _selected_checks(context: dg.AssetExecutionContext) -> frozenset[str]:
    return frozenset(key.name for key in context.selected_asset_check_keys)


def _pace(table: StaticTable, result: "LoadResult") -> str:
    """Return where the time of a load went."""
    total = sum(result.seconds.values())
    steps = ", ".join(f"{step} {seconds:.1f}" for step, seconds in result.seconds.items() if seconds >= 0.05)
    shown = f" ({steps})" if steps else ""
    return f"{table.name}: {result.rows:,} rows in {total:.1f} s, {result.rows / total:,.0f} rows/s{shown}"
