"""Jobs, and the schedules that start them.

Annotations are evaluated here: Dagster reads resources from them.
"""

import time
from collections.abc import Iterator
from datetime import timedelta

import dagster as dg

from flux_assets.compare.match import MATCHES_RELEASE, MATCHES_SOURCE
from flux_assets.errors import FluxError, SyncError
from flux_assets.orchestration.checks import check_specs
from flux_assets.orchestration.dagster_internals import NOT_FINISHED_STATUSES
from flux_assets.orchestration.executor import stop_of
from flux_assets.orchestration.layer_assets import GROUP, LayerFailure
from flux_assets.orchestration.match_checks import match_keys
from flux_assets.orchestration.pruning import prune_history
from flux_assets.orchestration.resources import PostgisResource, WarehouseResource
from flux_assets.orchestration.sync_assets import GROUP as DYNAMIC
from flux_assets.settings import load_settings
from flux_assets.sync.gate import TIME_LIMIT
from flux_assets.sync.result import SyncOptions
from flux_assets.tables import declarations, dynamic_tables, static_tables

# Run monitoring ends a sync that takes longer; runs that only would fight over its lock queue up (dagster.yaml).
_SYNC_TAGS = {dg.MAX_RUNTIME_SECONDS_TAG: f"{TIME_LIMIT.total_seconds():.0f}", "flux/exclusive": "sync"}
# The job of runs that are started from the UI or a command line for some assets.
AD_HOC_JOB = "__ASSET_JOB"
_MATCH_LAYERS = dg.AssetSelection.checks(*match_keys(static_tables(), MATCHES_RELEASE))

load_static_layers = dg.define_asset_job(
    "load_static_layers",
    # Checks that cost are not for a load: it reads no file twice.
    selection=dg.AssetSelection.groups(GROUP) - _MATCH_LAYERS,
    description="Makes every layer current: those that the release has not changed stay, the others load side by side.",
)
# Without the checks: Dagster would note twice in every run that it is going to run each of them. The step reports those
# that have something new to say (sync_assets.py).
sync_all_dynamic = dg.define_asset_job(
    "sync_all_dynamic",
    selection=dg.AssetSelection.groups(DYNAMIC).without_checks(),
    description="Syncs the three dynamic tables with Snowflake, all at once.",
    executor_def=dg.in_process_executor,
    tags=_SYNC_TAGS,
)
# A step and a session a layer, one step for all dynamic tables.
_check_all_tables = dg.define_asset_job(
    "check_all_tables",
    selection=dg.AssetSelection.checks(*(spec.key for table in declarations() for spec in check_specs(table))),
    description="Runs every check on every published table; loads and syncs nothing. Those that read the release"
    " or Snowflake's rows again are in jobs of their own.",
)
_static_layers_match = dg.define_asset_job(
    "check_static_layers_match",
    selection=_MATCH_LAYERS,
    description="Compares every row of every layer with the release file that it was loaded from; changes nothing.",
)
_dynamic_tables_match = dg.define_asset_job(
    "check_dynamic_tables_match",
    selection=dg.AssetSelection.checks(*match_keys(dynamic_tables(), MATCHES_SOURCE)),
    description="Compares every row of the dynamic tables with Snowflake, under the sync's rule; changes nothing.",
)


@dg.op(name="make_dynamic_tables")
def _make_dynamic_tables(
    context: dg.OpExecutionContext, postgis: PostgisResource, snowflake: WarehouseResource
) -> None:
    """Create tables that are missing, add columns and indexes that are missing, refuse a table that is another one."""
    from flux_assets.sync.setup import set_up_tables

    options = SyncOptions(run_id=context.run.run_id, stop=stop_of(context.run.run_id))
    try:
        found = set_up_tables(snowflake.family(dynamic_tables()).tables, postgis.target(), options, context.log.info)
    except FluxError as error:
        raise LayerFailure(error) from None
    for name, done in found.items():
        if not isinstance(done, FluxError):
            context.log.info(f"{name}: {'changed to match its declaration' if done else 'matches its declaration'}")
    refused = [done for done in found.values() if isinstance(done, FluxError)]
    if refused:
        raise LayerFailure(refused[0] if len(refused) == 1 else SyncError("\n".join(map(str, refused))))


@dg.job(
    description="Creates the dynamic tables, or adds the columns and indexes they lack. Idempotent; syncs nothing.",
    executor_def=dg.in_process_executor,
    tags=_SYNC_TAGS,
)
def setup_dynamic_tables() -> None:
    """Make the dynamic tables."""
    _make_dynamic_tables()


@dg.schedule(
    job=sync_all_dynamic,
    cron_schedule="*/5 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="A sync every five minutes, unless one is under way. Missed ticks are not made up for.",
)
def dynamic_sync_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Ask for a sync unless one is under way; a run whose process is gone is failed, and blocks nothing."""
    for run, age in unfinished_runs(context.instance, sync_all_dynamic.name):
        if not _is_over(context.instance, run, age):
            return dg.SkipReason(
                f"Run {run.run_id} of {run.job_name} is still under way. If its process is gone, the next tick finds"
                " out and syncs."
            )
    # Of one tick comes one run, also when the daemon dies between asking for it and noting that it has.
    return dg.RunRequest(run_key=context.scheduled_execution_time.isoformat())


def unfinished_runs(
    instance: dg.DagsterInstance, job_name: str | None = None
) -> Iterator[tuple[dg.DagsterRun, timedelta]]:
    """Yield the runs of a job, or of all, that Dagster has not seen ending, the newest first, with their age."""
    for record in instance.get_run_records(dg.RunsFilter(job_name=job_name, statuses=NOT_FINISHED_STATUSES)):
        began = record.start_time or record.create_timestamp.timestamp()
        yield record.dagster_run, timedelta(seconds=time.time() - began)


def _is_over(instance: dg.DagsterInstance, run: dg.DagsterRun, age: timedelta) -> bool:
    if run.status == dg.DagsterRunStatus.STARTED and _is_dead(instance, run.run_id, age):
        # Where the queue counts it as running, the next sync would wait for it.
        instance.report_run_failed(run, "The process of this run is gone: its sync has no session in PostGIS.")
        return True
    return age > TIME_LIMIT


def _is_dead(instance: dg.DagsterInstance, run_id: str, age: timedelta) -> bool:
    """Return whether the database knows that the run's process is gone."""
    import psycopg

    from flux_assets.sync.gate import is_dead
    from flux_assets.wiring.target import postgis_target

    # Where another code location of this instance has the schedule too, its runs are of another database.
    states = instance.all_instigator_state()
    named = [state.origin.repository_origin for state in states if state.name == dynamic_sync_schedule.name]
    locations = {origin.code_location_origin.location_name for origin in named}
    try:
        return is_dead(postgis_target(load_settings()), run_id, age, is_ours=len(locations) <= 1)
    except (FluxError, psycopg.Error):
        return False


JOBS = [
    load_static_layers,
    sync_all_dynamic,
    _check_all_tables,
    _static_layers_match,
    _dynamic_tables_match,
]


def _at_night(job: str, cron: str, description: str) -> dg.ScheduleDefinition:
    return dg.ScheduleDefinition(
        name=f"{job.removeprefix('check_')}_schedule",
        job_name=job,
        cron_schedule=cron,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description=description,
    )


_PRUNING = "Every night. Start it together with dynamic_sync_schedule: without it the history grows for ever."
_LAYERS = "Every Sunday at 3:17 UTC: finds layers that somebody has edited by hand."
_DYNAMIC = "Every night at 2:33 UTC: finds dynamic tables that differ from Snowflake."
SCHEDULES = [
    dynamic_sync_schedule,
    _at_night(prune_history.name, "40 3 * * *", _PRUNING),
    _at_night(_static_layers_match.name, "17 3 * * 0", _LAYERS),
    # Between two syncs, and late enough after one that it is done.
    _at_night(_dynamic_tables_match.name, "33 2 * * *", _DYNAMIC),
]
