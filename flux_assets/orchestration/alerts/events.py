"""What is wrong, as Dagster knows it and the ledger does not: checks, freshness, failed runs, no daemon or schedule."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg

from flux_assets.alerting.delivery import Delivery, length
from flux_assets.alerting.incident import Observation
from flux_assets.alerting.watching import Watch
from flux_assets.orchestration.checks import JUDGED_AT
from flux_assets.orchestration.dagster_internals import AssetCheckExecutionRecord, finished_evaluations
from flux_assets.orchestration.names import Names
from flux_assets.spec import DynamicTable

# A heartbeat comes every half minute; Dagster itself waits half an hour before it calls a daemon dead.
_SIGN_OF_LIFE = timedelta(minutes=5)
# What these say of a table follows from its not being synced, where it is not.
_STATE_CHECKS = {"lag", "recent_failures"}
_MOST_RUNS, _MOST_SUCCESSES = 300, 50
_Failed = Collection[tuple[str, str]]
_Succeeded = Mapping[str, datetime]


def observed(
    dagster: tuple[dg.DagsterInstance, Sequence[dg.AssetCheckKey]],
    names: Names,
    failed_on: Callable[[set[str]], _Failed],
    succeeded: _Succeeded,
    watch: Watch,
    now: datetime,
) -> Iterator[Observation]:
    """Yield all that is wrong, by an instance and these checks, and that the ledger does not describe better.

    `failed_on` says on which (run, table) of some runs the ledger has a failure, `succeeded` when it has each table as
    last made current.
    """
    instance, keys = dagster[0], [key for key in dagster[1] if names.table(key.asset_key)]
    checks, failures = _failing_checks(instance, keys), _failed_runs(instance, names, now)
    failed = failed_on({record.run_id for record in checks} | {runs[0].dagster_run.run_id for runs in failures})
    yield from _of_checks(checks, names, failed, watch)
    for runs in failures:
        if not _in_ledger(runs[0], names, failed, succeeded):
            yield _of_runs(instance, names, runs, watch, now)
    yield from _stale(instance, names, succeeded, watch)
    yield from _nobody_starts_syncs(instance, names, succeeded, watch, now)


def _failing_checks(instance: dg.DagsterInstance, keys: Sequence[dg.AssetCheckKey]) -> list[AssetCheckExecutionRecord]:
    """Return the last finished evaluations of these checks that failed with severity ERROR."""
    records: list[AssetCheckExecutionRecord] = []
    for key, record in instance.event_log_storage.get_latest_asset_check_execution_by_key(list(keys)).items():
        # One that is only planned: a run is under way, or died.
        is_finished = isinstance(record.evaluation, dg.AssetCheckEvaluation)
        records += [record] if is_finished else finished_evaluations(instance, key)
    error = dg.AssetCheckSeverity.ERROR
    return [each for each in records if (said := each.evaluation) and not said.passed and said.severity is error]


def _of_checks(
    records: Sequence[AssetCheckExecutionRecord], names: Names, failed: _Failed, watch: Watch
) -> Iterator[Observation]:
    """Yield one observation per table, because what makes its checks fail is mostly one thing.

    What a failed run found belongs to its failure; an outcome that such a run repeats is of the published rows.
    """
    tables: dict[str, list[AssetCheckExecutionRecord]] = {}
    for record in records:
        table = _name(record.key.asset_key, names)
        repeated = record.evaluation and JUDGED_AT in record.evaluation.metadata
        if repeated or (record.run_id, table) not in failed:
            tables.setdefault(table, []).append(record)
    for table, failing in tables.items():
        failing.sort(key=lambda record: (record.key.name in _STATE_CHECKS, record.create_timestamp))
        checks = sorted(record.key.name for record in failing)
        evaluation = failing[0].evaluation
        words = watch.cause_of((evaluation.description if evaluation else None) or "It gives no reason.")
        yield Observation(
            kind="check",
            cause=", ".join(checks),
            apart=table,
            tables=(table,),
            problem=f"{', '.join(checks)}: this does not hold: {words.problem}",
            remedy="The checks' page in Dagster's UI has figures, keys and SQL.",
            since=datetime.fromtimestamp(min(record.create_timestamp for record in failing), UTC),
            run_id=failing[0].run_id,
            symptom=set(checks) <= _STATE_CHECKS,
        )


def _failed_runs(instance: dg.DagsterInstance, names: Names, now: datetime) -> list[list[dg.RunRecord]]:
    """Return our failed runs of the last days that no later success follows, by job and assets, the newest first."""
    filters = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=now - Delivery.RUNS_LOOKED_BACK)
    groups: dict[tuple[str, frozenset[str] | None], list[dg.RunRecord]] = {}
    for record in names.runs(instance, filters, _MOST_RUNS):
        run = record.dagster_run
        groups.setdefault((run.job_name, _selected(run, names)), []).append(record)
    good = {job: _successes(instance, names, job, now) for job in {job for job, _ in groups}}
    found = []
    for (job, wanted), records in groups.items():
        # None, all of the job, covers whatever is wanted.
        made_good = [at for done, at in good[job] if done is None or (wanted is not None and wanted <= done)]
        if left := [record for record in records if all(_ended(record) > at for at in made_good)]:
            found.append(left)
    return found


def _successes(
    instance: dg.DagsterInstance, names: Names, job: str, now: datetime
) -> list[tuple[frozenset[str] | None, datetime]]:
    filters = dg.RunsFilter(
        job_name=job, statuses=[dg.DagsterRunStatus.SUCCESS], updated_after=now - Delivery.RUNS_LOOKED_BACK
    )
    records = names.runs(instance, filters, _MOST_SUCCESSES)
    return [(_selected(record.dagster_run, names), _ended(record)) for record in records]


def _selected(run: dg.DagsterRun, names: Names) -> frozenset[str] | None:
    """Return the assets and checks that a run names; None is all of its job."""
    if run.asset_selection is None and run.asset_check_selection is None:
        return None
    assets = {_name(key, names) for key in run.asset_selection or ()}
    # Materialising an asset takes its checks along; they are named apart only where they run alone.
    checks = {
        f"{_name(key.asset_key, names)}:{key.name}"
        for key in run.asset_check_selection or ()
        if _name(key.asset_key, names) not in assets
    }
    return frozenset(assets | checks)


def _name(key: dg.AssetKey, names: Names) -> str:
    return names.table(key) or key.to_user_string()


def _tables(run: dg.DagsterRun, names: Names) -> tuple[str, ...]:
    """Return the names of the assets, where the run names any."""
    return tuple(sorted({name.partition(":")[0] for name in _selected(run, names) or ()}))


def _ended(record: dg.RunRecord) -> datetime:
    ended = record.end_time or record.update_timestamp.replace(tzinfo=UTC).timestamp()
    return datetime.fromtimestamp(ended, UTC)


def _in_ledger(record: dg.RunRecord, names: Names, failed: _Failed, succeeded: _Succeeded) -> bool:
    """Return whether the ledger covers the run: it has its failure, or all of its tables were made current since."""
    if any(run_id == record.dagster_run.run_id for run_id, _ in failed):
        return True
    since = [succeeded.get(table) for table in _tables(record.dagster_run, names)]
    return bool(since) and all(current and current > _ended(record) for current in since)


def _of_runs(
    instance: dg.DagsterInstance, names: Names, records: Sequence[dg.RunRecord], watch: Watch, now: datetime
) -> Observation:
    run, ticks, since = records[0].dagster_run, len(records), _ended(records[-1])
    tables = _tables(run, names)
    words = watch.cause_of(_message(instance, run.run_id))
    return Observation(
        kind="run",
        cause=", ".join(tables) or "assets" if run.job_name == Names.AD_HOC_JOB else run.job_name,
        apart=", ".join(sorted(_selected(run, names) or ())),
        tables=tables,
        problem=words.problem,
        remedy=words.remedy,
        since=since,
        ticks=ticks,
        run_id=run.run_id,
        ready="dagster/schedule_name" not in run.tags or watch.policy.reached(ticks, since, now),
    )


def _message(instance: dg.DagsterInstance, run_id: str) -> str:
    """Return the message of the first failed step, else that of the run."""
    for log in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        data = log.dagster_event.step_failure_data if log.dagster_event else None
        error = data.error if data else None
        while error is not None and error.cause is not None:
            error = error.cause
        if error is not None:
            return error.message
    logs = instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    messages = (log.dagster_event.message for log in logs if log.dagster_event)
    return next(filter(None, messages), "")


def _stale(instance: dg.DagsterInstance, names: Names, succeeded: _Succeeded, watch: Watch) -> Iterator[Observation]:
    """Yield tables that fail Dagster's freshness policy; one that was synced since is only not judged again yet."""
    budgets = {names.key(each.name): each.freshness.fail for each in watch.tables if isinstance(each, DynamicTable)}
    for key, record in instance.get_freshness_state_records(list(budgets)).items():
        table = _name(key, names)
        current = succeeded.get(table)
        if record.freshness_state.value == "FAIL" and not (current and current > record.updated_at):
            silence = f"Dagster has seen no sync of it for {length(budgets[key])}."
            yield Observation.late(table, silence, record.updated_at)


def _nobody_starts_syncs(
    instance: dg.DagsterInstance, names: Names, succeeded: _Succeeded, watch: Watch, now: datetime
) -> Iterator[Observation]:
    """Yield that the daemon or the schedule is off, where tables that were synced before are meant to be live."""
    dynamic = {table.name for table in watch.tables if isinstance(table, DynamicTable)}
    live = {name: succeeded[name] for name in watch.names if name in dynamic & succeeded.keys()}
    oldest = min(live.values(), default=now)
    running = "RUNNING" in names.schedule_states(instance).values()
    if dead := _silent_daemons(instance, now, expected=running):
        who, since = dead
        yield Observation(
            kind="daemon",
            cause="daemon",
            tables=tuple(live),
            since=since,
            problem=f"{who} has been silent for {length(now - since)}: it starts no runs and sends no alerts.",
            remedy="Restart dagster-daemon (`dagster dev` has one); its log says why it ended.",
        )
    elif live and not running and now - oldest > watch.policy.patience:
        place = f" -l {names.utility}" if names.utility and not names.is_lodger else ""
        schedule = names.named(Names.SYNC_SCHEDULE)
        yield Observation(
            kind="schedule",
            cause="schedule",
            tables=tuple(live),
            since=oldest,
            problem=f"{schedule} is stopped, and nothing else has synced for {length(now - oldest)}.",
            remedy=f"dagster schedule start -w workspace.yaml{place} {schedule}, or the switch in Dagster's UI.",
        )


def _silent_daemons(instance: dg.DagsterInstance, now: datetime, *, expected: bool) -> tuple[str, datetime] | None:
    """Return which daemons have gone silent, and since when; one that never ran only where it is expected."""
    required, beats = instance.get_required_daemon_types(), instance.get_daemon_heartbeats()
    lived = {name: beat.timestamp for name, beat in beats.items() if name in required}
    if not lived:
        return ("Dagster's daemon", now) if expected else None
    silent = {name: beat for name, beat in lived.items() if now.timestamp() - beat > _SIGN_OF_LIFE.total_seconds()}
    if not silent:
        return None
    names = "Dagster's daemon" if silent.keys() == lived.keys() else f"Dagster's daemon ({', '.join(sorted(silent))})"
    return names, datetime.fromtimestamp(max(silent.values()), UTC)
