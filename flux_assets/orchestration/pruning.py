"""The job that removes history nobody needs any more, once a night.

Annotations are evaluated here: Dagster reads resources from them.
"""

import shutil
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, cast
from uuid import UUID

import dagster as dg
import sqlalchemy as sa
from dagster import DagsterRunStatus as Status

from flux_assets.errors import FluxError
from flux_assets.orchestration.executor import stop_of
from flux_assets.orchestration.layer_assets import LayerFailure
from flux_assets.orchestration.resources import PostgisResource
from flux_assets.settings import Settings, load_settings
from flux_assets.words import megabytes

if TYPE_CHECKING:
    from dagster_postgres import PostgresEventLogStorage

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

    keep = Keep(
        runs=settings.flux_keep_runs, runs_for=settings.flux_keep_runs_for, failures_for=settings.flux_keep_failures_for
    )
    known = is_known(instance)
    needed = runs_of_latest_events(instance) | (runs_of_latest_checks(instance) if known else frozenset())
    outdated = outdated_runs(instance, keep, needed, now)
    delete_runs(instance, outdated)
    purge_ticks(instance, now)
    files = remove_files(settings.flux_home / "dagster", frozenset(instance.get_run_ids()), now - keep.runs_for)
    log.info(f"Removed: {len(outdated):,} runs, {files:,} folders and files of runs that are gone")
    if not known:
        log.warning(_unknown(revision(instance)))
        return
    before = size(instance)
    gone = remove_leftovers(instance, now - keep.runs_for)
    vacuum(instance)
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
    from flux_assets.postgis.session import prepare, require_writable

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


_PAGE = 500
# A day's work even where nothing was removed for months: minutes, during which everything else continues.
MOST_AT_ONCE = 20_000


@dataclass(frozen=True, kw_only=True)
class Keep:
    """What is always kept: the newest `runs` of each job, and those younger than `runs_for` or `failures_for`."""

    runs: int
    runs_for: timedelta
    failures_for: timedelta


def outdated_runs(instance: dg.DagsterInstance, keep: Keep, needed: frozenset[str], now: datetime) -> list[str]:
    """Return ids of the runs that nobody needs any more, the oldest first, at most MOST_AT_ONCE.

    A run that is not done stays, whatever its age, and so does one of `needed`. `now` is aware.
    """
    newer: Counter[str] = Counter()
    found = []
    for record in _newest_first(instance):
        run = record.dagster_run
        newer[run.job_name] += 1
        kept_for = max(keep.runs_for, keep.failures_for) if run.status is Status.FAILURE else keep.runs_for
        beyond = newer[run.job_name] > keep.runs and record.create_timestamp < now - kept_for
        if beyond and run.is_finished and run.run_id not in needed:
            found.append(run.run_id)
    return found[::-1][:MOST_AT_ONCE]


def runs_of_latest_events(instance: dg.DagsterInstance) -> frozenset[str]:
    """Return the runs with the latest materialisation or observation of an asset, which the UI shows."""
    keys = instance.all_asset_keys()
    events = list(instance.event_log_storage.get_latest_materialization_events(keys).values())
    for key in keys:
        events += [record.event_log_entry for record in instance.fetch_observations(key, limit=1).records]
    return frozenset(event.run_id for event in events if event is not None)


def delete_runs(instance: dg.DagsterInstance, run_ids: Sequence[str]) -> None:
    """Delete runs and their events, one after another: a stop in between leaves the others for the next time."""
    for run_id in run_ids:
        instance.delete_run(run_id)


def _newest_first(instance: dg.DagsterInstance) -> Iterator[dg.RunRecord]:
    cursor = None
    while page := instance.get_run_records(limit=_PAGE, cursor=cursor):
        yield from page
        cursor = page[-1].dagster_run.run_id


def purge_ticks(instance: dg.DagsterInstance, now: datetime) -> None:
    """Purge the ticks of everything that has ever ticked; `now` is aware."""
    for state in instance.all_instigator_state():
        settings = instance.get_tick_retention_settings(state.instigator_type)
        for status, days in settings.items():
            if days >= 0:  # less means for ever
                before = (now - timedelta(days=days)).timestamp()
                instance.purge_ticks(state.instigator_origin_id, state.selector_id, before, [status])


def remove_files(folder: Path, runs: Container[str], before: datetime) -> int:
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
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink() and not _is_id(path.name):
            yield from _outermost(path)
        elif not path.is_symlink():
            yield path


def _is_id(name: str) -> bool:
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False


# Revisions of Dagster's schema that these statements were written for.
REVISIONS = frozenset({"29b539ebc72a"})
TABLES = ("runs", "run_tags", "event_logs", "asset_event_tags", "asset_check_executions", "job_ticks", "asset_keys")
_BATCH = 5_000
_RUN_IS_GONE = "run_id <> '' AND NOT EXISTS (SELECT FROM runs WHERE runs.run_id = leftover.run_id)"
# The newest of each kind stays, whoever it belongs to: the UI, the freshness daemon and our own steps look it up.
_NEWEST_CHECKS = "SELECT max(id) FROM asset_check_executions GROUP BY asset_key, check_name, execution_status"
_NEWEST_RUNLESS = "SELECT max(id) FROM event_logs WHERE run_id = '' GROUP BY asset_key, dagster_event_type"
_LEFTOVERS = {
    "check evaluations": (
        "asset_check_executions",
        f"({_RUN_IS_GONE} OR run_id = '' AND create_timestamp < :before) AND id NOT IN ({_NEWEST_CHECKS})",
    ),
    # Where a deletion was interrupted between the run and its events.
    "events of deleted runs": ("event_logs", f"{_RUN_IS_GONE} AND timestamp < :before"),
    "events of no run": ("event_logs", f"run_id = '' AND timestamp < :before AND id NOT IN ({_NEWEST_RUNLESS})"),
    "tags of events": (
        "asset_event_tags",
        "NOT EXISTS (SELECT FROM event_logs WHERE event_logs.id = leftover.event_id)",
    ),
    "ticks": (
        "job_ticks",
        "timestamp < :before AND NOT EXISTS"
        " (SELECT FROM instigators WHERE instigators.selector_id = leftover.selector_id)",
    ),
}


def is_known(instance: dg.DagsterInstance) -> bool:
    """Return whether the instance keeps its history in PostgreSQL, in tables of a form that this module knows."""
    from dagster_postgres import PostgresEventLogStorage

    return isinstance(instance.event_log_storage, PostgresEventLogStorage) and revision(instance) in REVISIONS


def revision(instance: dg.DagsterInstance) -> str | None:
    """Return the revision of the storage's schema; None where it has none."""
    found, _heads = instance.event_log_storage.alembic_version() or (None, None)
    return found


def runs_of_latest_checks(instance: dg.DagsterInstance) -> frozenset[str]:
    """Return the runs with the latest evaluation of a check: the UI leads from the check to its run."""
    with _connected(instance) as connection:
        query = f"SELECT DISTINCT run_id FROM asset_check_executions WHERE id IN ({_NEWEST_CHECKS})"  # noqa: S608
        return frozenset(connection.execute(sa.text(query)).scalars())


def remove_leftovers(instance: dg.DagsterInstance, before: datetime) -> Mapping[str, int]:
    """Delete what belongs to no run any more, in batches; the number of rows by kind. `before` is aware."""
    with _connected(instance) as connection:
        naive = before.astimezone(UTC).replace(tzinfo=None)
        return {kind: sum(_deleted(connection, *what, naive)) for kind, what in _LEFTOVERS.items()}


def vacuum(instance: dg.DagsterInstance) -> None:
    """Free the space of deleted rows for new ones; it blocks nothing, and files keep their size."""
    with _connected(instance) as connection:
        for table in TABLES:
            connection.execute(sa.text(f"VACUUM (ANALYZE) {table}"))


def size(instance: dg.DagsterInstance) -> int:
    """Return the bytes of the storage's database."""
    with _connected(instance) as connection:
        return int(connection.execute(sa.text("SELECT pg_database_size(current_database())")).scalar_one())


@contextmanager
def _connected(instance: dg.DagsterInstance) -> Iterator[sa.Connection]:
    """Open a session in which each statement is a transaction of its own, as the storage opens them."""
    with cast("PostgresEventLogStorage", instance.event_log_storage).index_connection() as connection:
        yield connection


def _deleted(connection: sa.Connection, table: str, condition: str, before: datetime) -> Iterator[int]:
    """Yield row counts of batch after batch, until one is not full."""
    statement = sa.text(
        f"DELETE FROM {table} WHERE id IN"  # noqa: S608 - constants of this module
        f" (SELECT id FROM {table} AS leftover WHERE {condition} LIMIT {_BATCH})"
    )
    given = {"before": before} if ":before" in condition else {}
    while True:
        count = connection.execute(statement, given).rowcount
        yield count
        if count < _BATCH:
            return
