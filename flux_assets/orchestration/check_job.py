"""The job that judges every table as readers see it, without loading or syncing anything.

Here: which checks it runs. Not here: the checks (asset_checks.py, sync_checks.py), and those that read a table's origin
again, which cost more and have jobs of their own (match_schedules.py).
"""

from __future__ import annotations

from dagster import AssetSelection, define_asset_job

from flux_assets.orchestration.dagster_internals import UnresolvedAssetJobDefinition
from flux_assets.orchestration.layers import checks as layer_checks
from flux_assets.orchestration.sync import checks as sync_checks
from flux_assets.tables import dynamic_tables, static_tables

NAME = "check_all_tables"


def check_all_tables() -> UnresolvedAssetJobDefinition:
    """One step and one session for a layer, one for all dynamic tables, all in the run's own process."""
    specs = [spec for table in static_tables() for spec in layer_checks.check_specs(table)]
    specs += sync_checks.check_specs(dynamic_tables())
    return define_asset_job(
        NAME,
        selection=AssetSelection.checks(*(spec.key for spec in specs)),
        description="Runs every check on every table as it stands; loads and syncs nothing. Those that read the release"
        " or Snowflake's rows again are in jobs of their own.",
    )
