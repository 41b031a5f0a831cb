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
from flux_assets.tables import catalogue

_NAMES = Names.configured()
_JOBS = jobs(_NAMES)
_TABLES = catalogue()

defs = dg.Definitions(
    assets=[
        *(layer_asset(table, _NAMES, _TABLES.with_file) for table in _TABLES.layers),
        *(view_asset(view, _NAMES) for view in _TABLES.views),
        *([release_sources(_TABLES.with_file, _NAMES)] if _TABLES.with_file else []),
        *([dynamic_assets(_TABLES.dynamic, _NAMES)] if _TABLES.dynamic else []),
        *snowflake_sources(_TABLES.dynamic, _NAMES),
    ],
    asset_checks=[
        *([release_match(_TABLES.static, _NAMES)] if _TABLES.static else []),
        *([source_match(_TABLES.dynamic, _NAMES)] if _TABLES.dynamic else []),
    ],
    jobs=_JOBS,
    schedules=schedules(_JOBS, _NAMES),
    sensors=[
        *([release_sensor(_TABLES.with_file, _NAMES)] if _TABLES.with_file else []),
        *sensors(_JOBS, _NAMES),
        alert_sensor(_NAMES),
    ],
    resources={"postgis": PostgisResource(), "release": ReleaseResource(), "snowflake": WarehouseResource()},
    executor=Steps.executor(),
)
