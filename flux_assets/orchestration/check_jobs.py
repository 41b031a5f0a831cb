"""Jobs that only run checks, and the schedules of those that read a table's origin again."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from flux_assets.compare.match import MATCHES_RELEASE, MATCHES_SOURCE
from flux_assets.orchestration.dagster_internals import UnresolvedAssetJobDefinition
from flux_assets.orchestration.layers import checks as layer_checks
from flux_assets.orchestration.match_checks import match_keys
from flux_assets.orchestration.sync import checks as sync_checks
from flux_assets.spec import DynamicTable, StaticTable
from flux_assets.tables import dynamic_tables, static_tables


def check_all_tables(layers: Sequence[StaticTable], tables: Sequence[DynamicTable]) -> UnresolvedAssetJobDefinition:
    """Return the job of all cheap checks: a step and a session for each layer, one step for all dynamic tables."""
    specs = [spec for layer in layers for spec in layer_checks.check_specs(layer)] + sync_checks.check_specs(tables)
    return dg.define_asset_job(
        "check_all_tables",
        selection=dg.AssetSelection.checks(*(spec.key for spec in specs)),
        description="Runs every check on every published table; loads and syncs nothing. Those that read the release"
        " or Snowflake's rows again are in jobs of their own.",
    )


_static_layers_match = dg.define_asset_job(
    "check_static_layers_match",
    selection=dg.AssetSelection.checks(*match_keys(static_tables(), MATCHES_RELEASE)),
    description="Compares every row of every layer with the release file that it was loaded from; changes nothing.",
)
_dynamic_tables_match = dg.define_asset_job(
    "check_dynamic_tables_match",
    selection=dg.AssetSelection.checks(*match_keys(dynamic_tables(), MATCHES_SOURCE)),
    description="Compares every row of the dynamic tables with Snowflake, under the sync's rule; changes nothing.",
)
CHECK_JOBS = [check_all_tables(static_tables(), dynamic_tables()), _static_layers_match, _dynamic_tables_match]
CHECK_SCHEDULES = [
    dg.ScheduleDefinition(
        name="static_layers_match_schedule",
        job=_static_layers_match,
        cron_schedule="17 3 * * 0",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Every Sunday at 3:17 UTC: finds layers that somebody has edited by hand.",
    ),
    # Between two syncs, and late enough after one that it is done.
    dg.ScheduleDefinition(
        name="dynamic_tables_match_schedule",
        job=_dynamic_tables_match,
        cron_schedule="33 2 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Every night at 2:33 UTC: finds dynamic tables that differ from Snowflake.",
    ),
]
