"""The job that removes history nobody needs any more, once a night: of Dagster and of the ledger.

What Dagster's API does not remove goes by sql/postgis/dagster.sql, which alone knows Dagster's tables. Annotations are
evaluated here: Dagster reads resources from them.
"""

import shutil
from collections import Counter
from collections.abc import Container, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import dagster as dg

from flux_assets.orchestration.dagster_internals import LayerFailure
from flux_assets.orchestration.executor import stop_of
from flux_assets.orchestration.names import Names
from flux_assets.orchestration.resources import PostgisResource
from flux_assets.settings import Settings
from flux_assets.sqlfiles import query
from flux_assets.words import megabytes

# Revisions of Dagster's schema that sql/postgis/dagster.sql was written for.
_REVISIONS = frozenset({"29b539ebc72a"})
# A day's work even where nothing was removed for months: minutes, during which everything else continues.
_MOST_AT_ONCE = 20_000
_BATCH = 5_000
_LEFTOVERS = ("check_evaluations", "events_of_deleted_runs", "events_of_no_run", "tags_of_events", "ticks")
_TIME_LIMIT = timedelta(hours=2)
_RULE = (
    "The newest FLUX_KEEP_RUNS runs of each job stay, all of the last FLUX_KEEP_RUNS_FOR, failed ones of the last"
    " FLUX_KEEP_FAILURES_FOR, and whatever holds the latest record of a table or check; of the ledger and of"
    " dropped versions, the rows of the last FLUX_KEEP_LEDGER_FOR, failures and published versions longer."
)


def prune_job(names: Names) -> dg.JobDefinition:
    """Return the job that removes the history of a deployment."""

    @dg.op(
        name=names.named("prune"),
        required_resource_keys={PostgisResource.key(names)},
        description=f"Removes old runs, ticks, files and rows of the ledger. {_RULE}",
    )
    def prune(context: dg.OpExecutionContext) -> None:
        # It needs nothing but Dagster's storage.
        prune_dagster(context.instance, names, names.settings(), datetime.now(UTC), context.log)
        with LayerFailure.translated():
            _prune_ledger(context, PostgisResource.of(context, names), names.settings().flux_keep_ledger_for)

    # One at a time, whoever's: all remove what is left over of the same storage.
    limit = f"{_TIME_LIMIT.total_seconds():.0f}"

    @dg.job(
        name=names.named("prune_history"),
        description=f"Removes runs, ticks, check evaluations, files and ledger rows that nobody needs any more."
        f" {_RULE}",
        executor_def=dg.in_process_executor,
        tags={**names.tags, dg.MAX_RUNTIME_SECONDS_TAG: limit, "flux/exclusive": "upkeep"},
    )
    def prune_history() -> None:
        prune()

    return prune_history


def prune_dagster(
    instance: dg.DagsterInstance, names: Names, settings: Settings, now: datetime, log: dg.DagsterLogManager
) -> None:
    """Remove our runs with their events, then what runs leave behind. Interrupted, it continues the next time.

    `now` is aware.
    """
    from dagster_postgres import PostgresEventLogStorage

    storage = instance.event_log_storage
    revision, _heads = storage.alembic_version() or (None, None)
    known = storage if isinstance(storage, PostgresEventLogStorage) and revision in _REVISIONS else None
    needed = _runs_of_latest_events(instance)
    if known:
        with known.index_connection() as connection:
            needed |= set(connection.exec_driver_sql(_statement("runs_of_latest_checks")).scalars())
    outdated = _outdated_runs(names.runs(instance), settings, needed, now)
    for run_id in outdated:  # one after another: a stop in between leaves the others for the next time
        instance.delete_run(run_id)
    _purge_ticks(instance, now)
    oldest = now - settings.flux_keep_runs_for
    files = _remove_files(settings.flux_home / "dagster", frozenset(instance.get_run_ids()), oldest)
    log.info(f"Removed: {len(outdated):,} runs, {files:,} folders and files of runs that are gone")
    if not known:
        log.warning(
            f"Dagster's storage has schema revision {revision}, which is not one that is known here: check evaluations"
            " and events of no run stay. Use a version of flux_assets that was made for this Dagster."
        )
        return
    # Each statement is a transaction of its own, and deletes what is left over at the time.
    with known.index_connection() as connection:
        before: int = connection.exec_driver_sql(_statement("size")).scalar_one()
        given = {"before": oldest.astimezone(UTC).replace(tzinfo=None), "batch": _BATCH}
        gone = []
        for kind in _LEFTOVERS:
            rows = count = connection.exec_driver_sql(_statement(kind), given).rowcount
            while count == _BATCH:
                count = connection.exec_driver_sql(_statement(kind), given).rowcount
                rows += count
            gone.append(f"{rows:,} {kind.replace('_', ' ')}")
        connection.exec_driver_sql(_statement("vacuum"))
    log.info(f"Removed: {', '.join(gone)}. Dagster's database has {megabytes(before, 1)}; free space in it is reused")


def _statement(name: str) -> str:
    return query("dagster", name).as_string()


def _outdated_runs(runs: Iterable[dg.RunRecord], settings: Settings, needed: set[str], now: datetime) -> list[str]:
    """Return ids of those of the runs that nobody needs any more, the oldest first, at most _MOST_AT_ONCE.

    A run that is not done stays, whatever its age, and so does one of `needed`. They come newest first; `now` is aware.
    """
    newer: Counter[str] = Counter()
    found = []
    for record in runs:
        run = record.dagster_run
        newer[run.job_name] += 1
        kept_for = settings.flux_keep_runs_for
        if run.status is dg.DagsterRunStatus.FAILURE:
            kept_for = max(kept_for, settings.flux_keep_failures_for)
        beyond = newer[run.job_name] > settings.flux_keep_runs and record.create_timestamp < now - kept_for
        if beyond and run.is_finished and run.run_id not in needed:
            found.append(run.run_id)
    return found[::-1][:_MOST_AT_ONCE]


def _runs_of_latest_events(instance: dg.DagsterInstance) -> set[str]:
    """Return the runs with the latest materialisation or observation of an asset, which the UI shows."""
    keys = instance.all_asset_keys()
    events = list(instance.event_log_storage.get_latest_materialization_events(keys).values())
    for key in keys:
        events += [record.event_log_entry for record in instance.fetch_observations(key, limit=1).records]
    return {event.run_id for event in events if event is not None}


def _purge_ticks(instance: dg.DagsterInstance, now: datetime) -> None:
    """Purge the ticks of everything that has ever ticked."""
    for state in instance.all_instigator_state():
        for status, days in instance.get_tick_retention_settings(state.instigator_type).items():
            if days >= 0:  # less means for ever
                before = (now - timedelta(days=days)).timestamp()
                instance.purge_ticks(state.instigator_origin_id, state.selector_id, before, [status])


def _remove_files(folder: Path, runs: Container[str], before: datetime) -> int:
    """Remove what lies below `folder` and belongs to no run of `runs`, unless it was written after `before`.

    Returns how many folders of runs and other files went. What cannot be removed stays, for the next time.
    """
    removed = 0
    for path in list(_outermost(folder)):
        if path.name in runs or path.stat().st_mtime >= before.timestamp():
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        removed += not path.exists()
    return removed


def _outermost(folder: Path) -> Iterator[Path]:
    """Yield folders that are named as a run is, and files outside of them; symbolic links are not followed."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir() and not path.is_symlink() and not _is_id(path.name):
            yield from _outermost(path)
        elif not path.is_symlink():
            yield path


def _is_id(name: str) -> bool:
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False


def _prune_ledger(context: dg.OpExecutionContext, postgis: PostgisResource, keep: timedelta) -> None:
    from flux_assets.ledger import pruning
    from flux_assets.postgis.session import prepare, require_writable

    target, stop = postgis.target(), stop_of(context.run.run_id)
    with target.session("prune the ledger", stop) as session:
        require_writable(session)
        prepare(session, target.schema)
        runs, versions, records = pruning.prune(session, target.schema, keep, stop=stop)
        context.log.info(
            f"Removed: {runs:,} rows of the ledger, {versions:,} of versions that were dropped, {records:,} of the"
            " quarantine"
        )
