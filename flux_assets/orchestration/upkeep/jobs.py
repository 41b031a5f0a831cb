"""The job that removes history nobody needs any more, once a night.

Annotations are evaluated here: Dagster reads resources from them.
"""

from datetime import UTC, datetime, timedelta

import dagster as dg

from flux_assets.errors import FluxError
from flux_assets.orchestration.executor import stop_of
from flux_assets.orchestration.layers.assets import LayerFailure
from flux_assets.orchestration.resources import PostgisResource
from flux_assets.settings import Settings, load_settings
from flux_assets.words import megabytes

TIME_LIMIT = timedelta(hours=2)
_RULE = (
    "The newest FLUX_KEEP_RUNS runs of each job stay, all of the last FLUX_KEEP_RUNS_FOR, failed ones of the last"
    " FLUX_KEEP_FAILURES_FOR, and whatever holds the latest record of a table or check; of the ledger and of"
    " dropped versions, the rows of the last FLUX_KEEP_LEDGER_FOR, failures and published versions longer."
)


@dg.op(description=f"Removes old runs, ticks, files and rows of the ledger. {_RULE}")
def prune(context: dg.OpExecutionContext, postgis: PostgisResource) -> None:
    """Prune Dagster's own history first: it needs nothing but Dagster's storage."""
    prune_dagster(context.instance, load_settings(), datetime.now(UTC), context.log)
    try:
        _prune_ledger(context, postgis, load_settings().flux_keep_ledger_for)
    except FluxError as error:
        raise LayerFailure(error) from None


@dg.job(
    description=f"Removes runs, ticks, check evaluations, files and ledger rows that nobody needs any more. {_RULE}",
    executor_def=dg.in_process_executor,
    tags={dg.MAX_RUNTIME_SECONDS_TAG: f"{TIME_LIMIT.total_seconds():.0f}", "flux/exclusive": "upkeep"},
)
def prune_history() -> None:
    """Remove old history."""
    prune()


prune_history_schedule = dg.ScheduleDefinition(
    name="prune_history_schedule",
    job=prune_history,
    cron_schedule="40 3 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Every night. Start it together with dynamic_sync_schedule: without it the history grows for ever.",
)


def prune_dagster(instance: dg.DagsterInstance, settings: Settings, now: datetime, log: dg.DagsterLogManager) -> None:
    """Remove runs with their events, then what they leave behind. Interrupted, it continues the next time."""
    from flux_assets.orchestration.upkeep import tables
    from flux_assets.orchestration.upkeep.runs import (
        Keep,
        delete_runs,
        outdated_runs,
        purge_ticks,
        remove_files,
        runs_of_latest_events,
    )

    keep = Keep(
        runs=settings.flux_keep_runs, runs_for=settings.flux_keep_runs_for, failures_for=settings.flux_keep_failures_for
    )
    known = tables.is_known(instance)
    needed = runs_of_latest_events(instance) | (tables.runs_of_latest_checks(instance) if known else frozenset())
    outdated = outdated_runs(instance, keep, needed, now)
    delete_runs(instance, outdated)
    purge_ticks(instance, now)
    files = remove_files(settings.flux_home / "dagster", frozenset(instance.get_run_ids()), now - keep.runs_for)
    log.info(f"Removed: {len(outdated):,} runs, {files:,} folders and files of runs that are gone")
    if not known:
        log.warning(_unknown(tables.revision(instance)))
        return
    before = tables.size(instance)
    gone = tables.remove_leftovers(instance, now - keep.runs_for)
    tables.vacuum(instance)
    counts = ", ".join(f"{rows:,} {kind}" for kind, rows in gone.items())
    log.info(f"Removed: {counts}. Dagster's database has {megabytes(before, 1)}; free space in it is reused")


def _unknown(revision: str | None) -> str:
    return (
        f"Dagster's storage has schema revision {revision}, which is not one that is known here: check evaluations"
        " and events of no run stay. Use a version of flux_assets that was made for this Dagster."
    )


def _prune_ledger(context: dg.OpExecutionContext, postgis: PostgisResource, keep: timedelta) -> None:
    from flux_assets.layers.quarantine import prune_old
    from flux_assets.ledger.pruning import prune_ledger, prune_register
    from flux_assets.postgis.bootstrap import prepare
    from flux_assets.postgis.connect import require_writable

    target, stop = postgis.target(), stop_of(context.run.run_id)
    with target.session("prune the ledger", stop) as session:
        require_writable(session)
        prepare(session, target.schema)
        rows = prune_ledger(session, target.schema, keep, stop=stop)
        versions = prune_register(session, target.schema, keep, stop=stop)
        records = prune_old(session, target.schema)
        context.log.info(
            f"Removed: {rows:,} rows of the ledger, {versions:,} of versions that were dropped, {records:,} of the"
            " quarantine"
        )
