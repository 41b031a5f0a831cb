"""Everything joined; nothing decided here. `dagster … -m flux_assets.definitions` starts from this module."""

from __future__ import annotations

import dagster as dg

from flux_assets.orchestration.alerts.rounds import alert_sensor
from flux_assets.orchestration.automation import JOBS, SCHEDULES, automation_sensor, release_sensor
from flux_assets.orchestration.executor import threads_executor
from flux_assets.orchestration.layer_assets import layer_asset
from flux_assets.orchestration.match_checks import release_match, source_match
from flux_assets.orchestration.origins import release_sources, snowflake_sources
from flux_assets.orchestration.resources import PostgisResource, ReleaseResource, WarehouseResource
from flux_assets.orchestration.sync_assets import dynamic_assets
from flux_assets.orchestration.view_assets import view_asset
from flux_assets.tables import dynamic_tables, layers, static_tables, views

_WITH_FILE = [table for table in layers() if table.file != "none"]

defs = dg.Definitions(
    assets=[
        *(layer_asset(table, _WITH_FILE) for table in layers()),
        *map(view_asset, views()),
        release_sources(_WITH_FILE),
        dynamic_assets(dynamic_tables()),
        *snowflake_sources(dynamic_tables()),
    ],
    asset_checks=[release_match(static_tables()), source_match(dynamic_tables())],
    jobs=JOBS,
    schedules=SCHEDULES,
    sensors=[
        release_sensor(_WITH_FILE),
        automation_sensor,
        alert_sensor,
    ],
    resources={"postgis": PostgisResource(), "release": ReleaseResource(), "snowflake": WarehouseResource()},
    executor=threads_executor,
)
