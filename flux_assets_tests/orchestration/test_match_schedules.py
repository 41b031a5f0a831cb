"""The jobs and schedules of the checks that cost."""

from __future__ import annotations

import dagster as dg
import pytest

from flux_assets.compare.match import MATCHES_RELEASE, MATCHES_SOURCE
from flux_assets.definitions import defs
from flux_assets.orchestration.match_checks import RELEASE_STEP, SOURCE_STEP, match_keys
from flux_assets.tables import dynamic_tables, static_tables

each_kind = pytest.mark.parametrize(
    ("name", "step", "keys", "cron"),
    [
        ("static_layers_match", RELEASE_STEP, match_keys(static_tables(), MATCHES_RELEASE), "17 3 * * 0"),
        ("dynamic_tables_match", SOURCE_STEP, match_keys(dynamic_tables(), MATCHES_SOURCE), "33 2 * * *"),
    ],
)


@each_kind
def test_a_job_is_one_step_that_runs_the_check_of_every_table_and_nothing_else(name, step, keys, cron):
    job = defs.resolve_job_def(f"check_{name}")
    assert [node.name for node in job.nodes] == [step]
    assert job.asset_layer.asset_graph.asset_check_keys == set(keys)
    assert job.asset_layer.selected_asset_keys == set()


@each_kind
def test_a_schedule_starts_it_in_utc_once_it_is_switched_on(name, step, keys, cron):
    schedule = defs.resolve_schedule_def(f"{name}_schedule")
    assert (schedule.job_name, schedule.cron_schedule, schedule.execution_timezone) == (f"check_{name}", cron, "UTC")
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
