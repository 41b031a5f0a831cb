"""Everything joined; nothing decided here. `dagster … -m flux_assets.definitions` starts from this module."""

from __future__ import annotations

import dagster as dg

from flux_assets.orchestration.alerts.rounds import alert_sensor
from flux_assets.orchestration.automation import jobs, release_sensor, schedules, sensors
from flux_assets.orchestration.layer_assets import layer_asset
from flux_assets.orchestration.match_checks import release_match, source_match
from flux_assets.orchestration.names import Names
from flux_assets.orchestration.origins import release_sources, snowflake_sources
from flux_assets.orchestration.resources import PostgisResource, ReleaseResource, WarehouseResource
from flux_assets.orchestration.spread.steps import Steps
from flux_assets.orchestration.sync_assets import dynamic_assets
from flux_assets.orchestration.view_assets import view_asset
from flux_assets.tables import dynamic_tables, layers, static_tables, views

_NAMES = Names.configured()
_JOBS = jobs(_NAMES)
_WITH_FILE = [table for table in layers() if table.file != "none"]

defs = dg.Definitions(
    assets=[
        *(layer_asset(table, _NAMES, _WITH_FILE) for table in layers()),
        *(view_asset(view, _NAMES) for view in views()),
        release_sources(_WITH_FILE, _NAMES),
        dynamic_assets(dynamic_tables(), _NAMES),
        *snowflake_sources(dynamic_tables(), _NAMES),
    ],
    asset_checks=[release_match(static_tables(), _NAMES), source_match(dynamic_tables(), _NAMES)],
    jobs=_JOBS,
    schedules=schedules(_NAMES),
    sensors=[release_sensor(_WITH_FILE, _NAMES), *sensors(_JOBS, _NAMES), alert_sensor(_NAMES)],
    resources={"postgis": PostgisResource(), "release": ReleaseResource(), "snowflake": WarehouseResource()},
    executor=Steps.executor(),
)
