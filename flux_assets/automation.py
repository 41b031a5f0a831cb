"""Jobs, and what starts them.

Here: selections by group and when they run. Not here: what an asset does.
"""

from __future__ import annotations

import dagster as dg

from flux_assets.assets import GROUP

load_static_layers = dg.define_asset_job(
    "load_static_layers",
    selection=dg.AssetSelection.groups(GROUP),
    description="Makes every layer current: those the release has not changed stay, the others load side by side.",
)
