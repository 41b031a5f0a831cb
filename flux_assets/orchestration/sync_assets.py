"""The dynamic tables as assets: one step that syncs any of them together, and the op that creates them.

Annotations are evaluated here: Dagster reads config and resources from them.
"""

from collections.abc import Sequence

import dagster as dg
from pydantic import Field

from flux_assets.errors import FluxError, SyncError
from flux_assets.orchestration.executor import Interrupted, stop_of
from flux_assets.orchestration.layer_assets import LayerFailure
from flux_assets.orchestration.metadata import declared_sync_metadata
from flux_assets.orchestration.origins import source_key
from flux_assets.orchestration.resources import PostgisResource, WarehouseResource
from flux_assets.orchestration.sync_step import Events, SyncRequest, SyncStep, check_specs
from flux_assets.postgis.session import Target
from flux_assets.spec import DynamicTable
from flux_assets.sync.result import SyncOptions
from flux_assets.tables import dynamic_tables

GROUP = "dynamic_operations"
STEP = "sync_dynamic_tables"


class _SyncConfig(dg.Config):
    """What one run may ask of a sync beyond syncing what has changed."""

    force: bool = Field(
        default=False, description="Read and compare the sources even when nothing seems to have changed."
    )
    accept_vanished: bool = Field(
        default=False, description="Accept, this once, that many rows of the sources have vanished."
    )


def dynamic_assets(tables: Sequence[DynamicTable]) -> dg.AssetsDefinition:
    """Return all dynamic tables with their checks; any of either can be selected, and is synced together."""

    @dg.multi_asset(
        name=STEP, specs=[_dynamic_spec(table) for table in tables], check_specs=check_specs(tables), can_subset=True
    )
    def sync_dynamic_tables(
        context: dg.AssetExecutionContext, config: _SyncConfig, postgis: PostgisResource, snowflake: WarehouseResource
    ) -> Events:
        try:
            asked = SyncRequest(force=config.force, accept_vanished=config.accept_vanished)
            yield from _step(context, asked, snowflake, postgis.target(), tables).run()
        except FluxError as error:
            raise LayerFailure(error) from None
        except dg.DagsterExecutionInterruptedError:
            raise Interrupted from None

    return sync_dynamic_tables


def _step(
    context: dg.AssetExecutionContext,
    asked: SyncRequest,
    snowflake: WarehouseResource,
    target: Target,
    tables: Sequence[DynamicTable],
) -> SyncStep:
    """Return the step; a configuration that forbids to begin is recorded as a failed sync of the selected tables."""
    try:
        return SyncStep(context, asked, snowflake, target, tables)
    except FluxError as error:
        from flux_assets.sync.record import refuse

        wanted = {key.to_user_string() for key in context.selected_asset_keys}
        if refused := [table for table in tables if table.name in wanted]:
            refuse(refused, target, error, context.run.run_id, context.log.info)
        raise


def _dynamic_spec(table: DynamicTable) -> dg.AssetSpec:
    """Return what the asset graph knows of a dynamic table."""
    return dg.AssetSpec(
        table.name,
        description=table.description,
        group_name=GROUP,
        owners=[table.owner],
        kinds={"postgres", "snowflake", *(["postgis"] if table.spatial_columns else [])},
        code_version=table.digest[:12],
        deps=[source_key(table), *table.origins],
        freshness_policy=dg.FreshnessPolicy.time_window(
            fail_window=table.freshness.fail, warn_window=table.freshness.warn
        ),
        metadata=declared_sync_metadata(table),
        skippable=True,
    )


@dg.op
def make_dynamic_tables(context: dg.OpExecutionContext, postgis: PostgisResource, snowflake: WarehouseResource) -> None:
    """Create tables that are missing, add columns and indexes that are missing, refuse a table that is another one."""
    from flux_assets.sync.setup import set_up_tables

    options = SyncOptions(run_id=context.run.run_id, stop=stop_of(context.run.run_id))
    try:
        found = set_up_tables(snowflake.family(dynamic_tables()).tables, postgis.target(), options, context.log.info)
    except FluxError as error:
        raise LayerFailure(error) from None
    for name, done in found.items():
        if not isinstance(done, FluxError):
            context.log.info(f"{name}: {'changed to match its declaration' if done else 'matches its declaration'}")
    refused = [done for done in found.values() if isinstance(done, FluxError)]
    if refused:
        raise LayerFailure(refused[0] if len(refused) == 1 else SyncError("\n".join(map(str, refused))))
