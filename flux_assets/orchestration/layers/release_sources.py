"""The files of the release as observable source assets, one upstream of each layer; the data version is the SHA-256."""

import warnings
from collections.abc import Iterator

import dagster as dg

from flux_assets.errors import FluxError
from flux_assets.orchestration.executor import stop_of
from flux_assets.orchestration.layers.metadata import column_schema
from flux_assets.orchestration.links import file_links
from flux_assets.orchestration.resources import ReleaseResource
from flux_assets.release.stopping import stoppable
from flux_assets.spec import StaticTable
from flux_assets.tables import static_tables

_GROUP = "release"


def source_key(table: StaticTable) -> dg.AssetKey:
    """Return the key of the asset that stands for the layer's file."""
    return dg.AssetKey([_GROUP, table.name])


def release_sources() -> dg.AssetsDefinition:
    """Return the files of all declared layers; observing them reads digests, never rows."""
    tables = {source_key(table): table for table in static_tables()}

    def observe_release(context: dg.AssetExecutionContext, release: ReleaseResource) -> Iterator[dg.ObserveResult]:
        problems = []
        for key in sorted(context.selected_asset_keys):
            try:
                with stoppable(stop_of(context.run.run_id).check):
                    observation = _observation(context, tables[key], release)
                yield observation
            except FluxError as error:
                problems.append(str(error))
        if problems:
            raise dg.Failure("\n".join(problems), allow_retries=False)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        observable = dg.multi_observable_source_asset(specs=[_spec(t) for t in tables.values()], can_subset=True)
        observed_sources: dg.AssetsDefinition = observable(observe_release)
    return observed_sources


def record_file(context: dg.AssetExecutionContext, table: StaticTable, sha256: str) -> Iterator[dg.AssetObservation]:
    """Record within a step which file it has read, so that the materialisation that follows points at it.

    Dagster reads the versions of a step's inputs before the step begins; reading again replaces them.
    """
    key, step = source_key(table), context.get_step_execution_context()
    known = step.maybe_fetch_and_get_input_asset_version_info(key)
    if known is None or known.data_version != dg.DataVersion(sha256):
        yield dg.AssetObservation(key, tags={"dagster/data_version": sha256}, metadata={"sha256": sha256})
        step.wipe_input_asset_version_info(key)
        step.maybe_fetch_and_get_input_asset_version_info(key)


def _spec(table: StaticTable) -> dg.AssetSpec:
    return dg.AssetSpec(
        source_key(table),
        description=f"The file {table.file_name} of the release: {table.description}",
        group_name=_GROUP,
        owners=[table.owner],
        kinds={"csv"},
        metadata={"dagster/column_schema": column_schema(table), **file_links(table)},
    )


def _observation(context: dg.AssetExecutionContext, table: StaticTable, release: ReleaseResource) -> dg.ObserveResult:
    file = release.release(context.log.info).resolve(table.file_name, table.name)
    return dg.ObserveResult(
        asset_key=source_key(table), data_version=dg.DataVersion(file.sha256), metadata={"sha256": file.sha256}
    )
