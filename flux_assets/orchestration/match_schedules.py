"""When the checks that cost are run: a job for either of them, and its schedule.

Here: static layers against their release weekly, dynamic tables against Snowflake nightly, both once they are switched
on. Not here: the checks (match_checks.py).
"""

from __future__ import annotations

import dagster as dg

from flux_assets.compare.match import MATCHES_RELEASE, MATCHES_SOURCE
from flux_assets.orchestration.match_checks import match_keys
from flux_assets.tables import dynamic_tables, static_tables

check_static_layers_match = dg.define_asset_job(
    "check_static_layers_match",
    selection=dg.AssetSelection.checks(*match_keys(static_tables(), MATCHES_RELEASE)),
    description="Compares every row of every layer with the release file that it was loaded from; changes nothing.",
)
check_dynamic_tables_match = dg.define_asset_job(
    "check_dynamic_tables_match",
    selection=dg.AssetSelection.checks(*match_keys(dynamic_tables(), MATCHES_SOURCE)),
    description="Compares every row of the dynamic tables with Snowflake, under the sync's rule; changes nothing.",
)

static_layers_match_schedule = dg.ScheduleDefinition(
    name="static_layers_match_schedule",
    job=check_static_layers_match,
    cron_schedule="17 3 * * 0",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Every Sunday at 3:17 UTC: finds layers that somebody has edited by hand.",
)
# Between two syncs, and late enough after one that it is done.
dynamic_tables_match_schedule = dg.ScheduleDefinition(
    name="dynamic_tables_match_schedule",
    job=check_dynamic_tables_match,
    cron_schedule="33 2 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Every night at 2:33 UTC: finds dynamic tables that are not what Snowflake says.",
)
