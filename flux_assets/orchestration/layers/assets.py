"""How a declared layer becomes an asset, and how its errors become a failed step.

Annotations are evaluated here: Dagster reads config and resources from them.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import dagster as dg

from flux_assets.compare.match import MATCHES_RELEASE
from flux_assets.errors import AuditError, FluxError, TargetError
from flux_assets.orchestration.dagster_internals import SentenceError
from flux_assets.orchestration.executor import stop_of
from flux_assets.orchestration.failed_attempts import failed_attempt, repeat_comparison, repeat_outcomes
from flux_assets.orchestration.layers.checks import check_results, check_specs, log_outcomes
from flux_assets.orchestration.layers.config import LayerConfig
from flux_assets.orchestration.layers.history import input_version_tag, origin_tags
from flux_assets.orchestration.layers.metadata import declared_metadata, loaded_metadata
from flux_assets.orchestration.layers.release_sources import record_file, source_key
from flux_assets.orchestration.layers.whole_release import whole_release
from flux_assets.orchestration.pictures import layer_pictures
from flux_assets.orchestration.resources import PostgisResource, ReleaseResource
from flux_assets.spec import StaticTable
from flux_assets.tables import static_tables

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
                yield from _audited(context, table, postgis)
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
        deps=[source_key(table)],
        metadata=declared_metadata(table),
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
    file = {input_version_tag(source_key(table)): result.sha256}
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


def _audited(context: dg.AssetExecutionContext, table: StaticTable, postgis: PostgisResource) -> _Events:
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
