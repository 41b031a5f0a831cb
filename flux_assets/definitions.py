"""Everything joined; nothing decided here. `dagster … -m flux_assets.definitions` starts from this module."""

from __future__ import annotations

import dagster as dg

from flux_assets.assets import layer_assets
from flux_assets.automation import load_static_layers
from flux_assets.executor import threads_executor
from flux_assets.release_sources import release_sources
from flux_assets.resources import PostgisResource, ReleaseResource

defs = dg.Definitions(
    assets=[*layer_assets(), release_sources()],
    jobs=[load_static_layers],
    resources={"postgis": PostgisResource(), "release": ReleaseResource()},
    executor=threads_executor,
)
