"""Jobs, and what starts them.

Here: selections by group and when they run. Not here: what an asset does.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

import dagster as dg

from flux_assets.orchestration.assets import GROUP
from flux_assets.orchestration.match_checks import match_keys
from flux_assets.orchestration.sync_assets import GROUP as DYNAMIC
from flux_assets.orchestration.sync_setup import make_dynamic_tables
from flux_assets.postgis.matching import MATCHES_RELEASE
from flux_assets.postgis.sync_gate import TIME_LIMIT
from flux_assets.tables import static_tables

# Run monitoring ends a sync that takes longer; runs that only would fight over its lock queue up (dagster.yaml).
SYNC_TAGS = {dg.MAX_RUNTIME_SECONDS_TAG: f"{TIME_LIMIT.total_seconds():.0f}", "flux/exclusive": "sync"}
_UNDER_WAY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]

load_static_layers = dg.define_asset_job(
    "load_static_layers",
    # Checks that cost are not for a load: it reads no file twice.
    selection=dg.AssetSelection.groups(GROUP) - dg.AssetSelection.checks(*match_keys(static_tables(), MATCHES_RELEASE)),
    description="Makes every layer current: those the release has not changed stay, the others load side by side.",
)

# Without the checks: Dagster would note twice in every run that it is going to run each of them. The step reports those
# that have something new to say (sync_checks.py).
sync_all_dynamic = dg.define_asset_job(
    "sync_all_dynamic",
    selection=dg.AssetSelection.groups(DYNAMIC).without_checks(),
    description="Brings the three dynamic tables into step with Snowflake, all at once.",
    executor_def=dg.in_process_executor,
    tags=SYNC_TAGS,
)


@dg.job(
    description="Makes the dynamic tables, or makes them fit; once is enough, again does no harm. Syncs nothing.",
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
    description="A sync every five minutes, unless one is under way. Ticks that were missed are not made up for.",
)
def dynamic_sync_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Ask for a sync unless one is under way; one older than a sync may take is a ghost and holds up nothing."""
    if found := _under_way(context.instance):
        run_id, until = found
        return dg.SkipReason(
            f"Run {run_id} of {sync_all_dynamic.name} is still under way. If its process is gone, terminate it on its"
            f" page; from {datetime.fromtimestamp(until, UTC):%H:%M:%S} UTC on it holds up nothing."
        )
    # Of one tick comes one run, also when the daemon dies between asking for it and noting that it has.
    return dg.RunRequest(run_key=context.scheduled_execution_time.isoformat())


def _under_way(instance: dg.DagsterInstance) -> tuple[str, float] | None:
    """The newest run of the job that is not done and not yet past its time limit, and when it will be (Unix time)."""
    runs = instance.get_run_records(dg.RunsFilter(job_name=sync_all_dynamic.name, statuses=_UNDER_WAY))
    limit = TIME_LIMIT.total_seconds()
    ends = ((run.dagster_run.run_id, (run.start_time or run.create_timestamp.timestamp()) + limit) for run in runs)
    return next(((run_id, until) for run_id, until in ends if until > time.time()), None)
