"""Jobs, and what starts them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta

import dagster as dg

from flux_assets.compare.match import MATCHES_RELEASE, MATCHES_SOURCE
from flux_assets.orchestration import checks as layer_checks
from flux_assets.orchestration import sync_step as sync_checks
from flux_assets.orchestration.dagster_internals import UnresolvedAssetJobDefinition
from flux_assets.orchestration.layer_assets import GROUP
from flux_assets.orchestration.match_checks import match_keys
from flux_assets.orchestration.sync_assets import GROUP as DYNAMIC
from flux_assets.orchestration.sync_assets import make_dynamic_tables
from flux_assets.settings import load_settings
from flux_assets.spec import DynamicTable, StaticTable
from flux_assets.sync.gate import TIME_LIMIT
from flux_assets.tables import dynamic_tables, static_tables

# Run monitoring ends a sync that takes longer; runs that only would fight over its lock queue up (dagster.yaml).
SYNC_TAGS = {dg.MAX_RUNTIME_SECONDS_TAG: f"{TIME_LIMIT.total_seconds():.0f}", "flux/exclusive": "sync"}
# The job of runs that are started from the UI or a command line for some assets.
AD_HOC_JOB = "__ASSET_JOB"
_FINISHED = {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}
# Runs that Dagster manages for others (MANAGED) are none of ours.
UNFINISHED = [status for status in dg.DagsterRunStatus if status not in _FINISHED | {dg.DagsterRunStatus.MANAGED}]

load_static_layers = dg.define_asset_job(
    "load_static_layers",
    # Checks that cost are not for a load: it reads no file twice.
    selection=dg.AssetSelection.groups(GROUP) - dg.AssetSelection.checks(*match_keys(static_tables(), MATCHES_RELEASE)),
    description="Makes every layer current: those that the release has not changed stay, the others load side by side.",
)

# Without the checks: Dagster would note twice in every run that it is going to run each of them. The step reports those
# that have something new to say (sync_step.py).
sync_all_dynamic = dg.define_asset_job(
    "sync_all_dynamic",
    selection=dg.AssetSelection.groups(DYNAMIC).without_checks(),
    description="Syncs the three dynamic tables with Snowflake, all at once.",
    executor_def=dg.in_process_executor,
    tags=SYNC_TAGS,
)


@dg.job(
    description="Creates the dynamic tables, or adds the columns and indexes they lack. Idempotent; syncs nothing.",
    executor_def=dg.in_process_executor,
    tags=SYNC_TAGS,
)
def setup_dynamic_tables() -> None:
    """Make the dynamic tables."""
    make_dynamic_tables()


@dg.schedule(
    job=sync_all_dynamic,
    cron_schedule="*/5 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="A sync every five minutes, unless one is under way. Missed ticks are not made up for.",
)
def dynamic_sync_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Ask for a sync unless one is under way; a run whose process is gone is failed, and blocks nothing."""
    if run_id := _under_way(context.instance):
        return dg.SkipReason(
            f"Run {run_id} of {sync_all_dynamic.name} is still under way. If its process is gone, the next tick finds"
            " out and syncs."
        )
    # Of one tick comes one run, also when the daemon dies between asking for it and noting that it has.
    return dg.RunRequest(run_key=context.scheduled_execution_time.isoformat())


def _under_way(instance: dg.DagsterInstance) -> str | None:
    """Return the newest unfinished run of the job; runs whose process is gone are failed, and do not count."""
    records = instance.get_run_records(dg.RunsFilter(job_name=sync_all_dynamic.name, statuses=UNFINISHED))
    return next((record.dagster_run.run_id for record in records if not _is_over(instance, record)), None)


def _is_over(instance: dg.DagsterInstance, record: dg.RunRecord) -> bool:
    run = record.dagster_run
    age = timedelta(seconds=time.time() - (record.start_time or record.create_timestamp.timestamp()))
    if run.status == dg.DagsterRunStatus.STARTED and _is_dead(instance, run.run_id, age):
        # Where the queue counts it as running, the next sync would wait for it.
        instance.report_run_failed(run, "The process of this run is gone: its sync has no session in PostGIS.")
        return True
    return age > TIME_LIMIT


def _is_alone(instance: dg.DagsterInstance) -> bool:
    """Return whether no other code location of this instance has the schedule: its runs are of another database."""
    states = instance.all_instigator_state()
    named = [state.origin.repository_origin for state in states if state.name == dynamic_sync_schedule.name]
    return len({origin.code_location_origin.location_name for origin in named}) <= 1


def _is_dead(instance: dg.DagsterInstance, run_id: str, age: timedelta) -> bool:
    """Return whether the database knows that the run's process is gone."""
    import psycopg

    from flux_assets.errors import FluxError
    from flux_assets.sync.gate import is_dead
    from flux_assets.wiring.target import postgis_target

    try:
        return is_dead(postgis_target(load_settings()), run_id, age, is_ours=_is_alone(instance))
    except (FluxError, psycopg.Error):
        return False


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
