"""Making the dynamic tables without syncing them: the one op of job setup_dynamic_tables.

Here: what it says of each table. Not here: making a table, or making one fit (postgis/sync_shape.py).

Annotations are evaluated here: Dagster reads resources from them.
"""

import dagster as dg

from flux_assets.errors import FluxError, SyncError
from flux_assets.orchestration.executor import stop_of
from flux_assets.orchestration.layers.assets import LayerFailure
from flux_assets.orchestration.resources import PostgisResource, WarehouseResource
from flux_assets.sync.result import SyncOptions
from flux_assets.tables import dynamic_tables


@dg.op
def make_dynamic_tables(context: dg.OpExecutionContext, postgis: PostgisResource, snowflake: WarehouseResource) -> None:
    """Create tables that are missing, add columns and indexes that are missing, refuse a table that is another one."""
    from flux_assets.sync.setup import set_up_tables

    options = SyncOptions(run_id=context.run.run_id, stop=stop_of(context.run.run_id))
    try:
        tables = snowflake.family(dynamic_tables()).tables
        found = set_up_tables(tables, postgis.target(), options, context.log.info)
    except FluxError as error:
        raise LayerFailure(error) from None
    for name, done in found.items():
        if not isinstance(done, FluxError):
            context.log.info(f"{name}: {'made fit' if done else 'was fit already'}")
    refused = [done for done in found.values() if isinstance(done, FluxError)]
    if refused:
        raise LayerFailure(refused[0] if len(refused) == 1 else SyncError("\n".join(map(str, refused))))
