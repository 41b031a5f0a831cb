"""The upkeep of Dagster's storage, on its real PostgreSQL: what goes, what never does, and that it stops growing."""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster import DagsterRunStatus as Status
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    ScheduleInstigatorData,
    TickData,
    TickStatus,
)
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._core.storage.runs.schema import RunsTable
from dagster._core.test_utils import create_run_for_test

from flux_assets.definitions import defs as ours
from flux_assets.orchestration import names as naming
from flux_assets.orchestration import pruning
from flux_assets.orchestration.names import Names
from flux_assets.orchestration.pruning import (
    _outdated_runs,
    _remove_files,
    prune_dagster,
    prune_job,
)
from flux_assets.orchestration.resources import PostgisResource
from flux_assets.postgis.session import prepare
from flux_assets.settings import Settings, load_settings
from flux_assets_tests.running import QUIET, Run, run_job

NOW = datetime(2026, 6, 1, tzinfo=UTC)
KEEP = Settings(_env_file=None, flux_keep_runs=2, flux_keep_runs_for="3d", flux_keep_failures_for="30d")
REPOSITORY_ORIGIN = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("here"), "all")
STORAGE = {
    "storage": {
        "custom": {"module": "flux_assets.orchestration.storage.instance", "class": "InstanceStorage", "config": {}}
    }
}
TABLES = ("runs", "run_tags", "event_logs", "asset_event_tags", "asset_check_executions", "job_ticks", "asset_keys")
ORPHANED_TAGS = "SELECT count(*) FROM asset_event_tags WHERE event_id NOT IN (SELECT id FROM event_logs)"


@pytest.fixture
def instance(cluster, database, tmp_path: Path, monkeypatch) -> Iterator[dg.DagsterInstance]:
    """Dagster's storage in a fresh PostgreSQL database, as dagster.yaml names it; keeps two runs of each job."""
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", cluster.url(database))
    monkeypatch.setenv("FLUX_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FLUX_KEEP_RUNS", "2")
    monkeypatch.setenv("FLUX_KEEP_RUNS_FOR", "0")
    load_settings.cache_clear()
    (tmp_path / "dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster"), overrides=STORAGE | QUIET) as instance:
        yield instance


class Log:
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, text: str) -> None:
        self.lines.append(text)

    warning = info


def prune(instance: dg.DagsterInstance, now: datetime | None = None) -> list[str]:
    log = Log()
    prune_dagster(instance, Names(), load_settings(), now or datetime.now(UTC), log)
    return log.lines


def run_of_age(instance: dg.DagsterInstance, status: Status, days: float, job: str = "sync") -> str:
    origin = RemoteJobOrigin(REPOSITORY_ORIGIN, job)
    run = create_run_for_test(instance, job_name=job, status=status, remote_job_origin=origin)
    created = (NOW - timedelta(days=days)).replace(tzinfo=None)
    change = sa.update(RunsTable).where(RunsTable.c.run_id == run.run_id).values(create_timestamp=created)
    with instance.run_storage.connect() as connection:
        connection.execute(change)
    return run.run_id


def ask(instance: dg.DagsterInstance, query: str, **values: object) -> list[tuple]:
    with instance.event_log_storage.index_connection() as connection:
        result = connection.execute(sa.text(query), values)
        return [tuple(row) for row in result] if result.returns_rows else []


def count(instance: dg.DagsterInstance, table: str) -> int:
    return ask(instance, f"SELECT count(*) FROM {table}")[0][0]


def revision_of(instance: dg.DagsterInstance) -> str:
    """The revision of the schema of Dagster's storage."""
    return instance.event_log_storage.alembic_version()[0]


def outdated(instance: dg.DagsterInstance, *needed: str) -> list[str]:
    return _outdated_runs(Names().runs(instance), KEEP, set(needed), NOW)


def test_runs_that_are_old_and_not_among_the_newest_go_oldest_first(instance):
    oldest, old, *_ = (run_of_age(instance, Status.SUCCESS, days) for days in (9, 8, 7, 6))
    assert outdated(instance) == [oldest, old]


def test_young_runs_stay_however_many_there_are(instance):
    for _ in range(5):
        run_of_age(instance, Status.SUCCESS, 2.9)
    assert outdated(instance) == []


def test_the_newest_of_each_job_stay_however_old(instance):
    rare = [run_of_age(instance, Status.SUCCESS, 900, job="loads") for _ in range(3)]
    for _ in range(3):
        run_of_age(instance, Status.SUCCESS, 1)
    assert outdated(instance) == rare[:1]


def test_a_failure_stays_longer(instance):
    old, _ = (run_of_age(instance, Status.FAILURE, days) for days in (31, 29))
    for _ in range(2):
        run_of_age(instance, Status.SUCCESS, 1)
    assert outdated(instance) == [old]


def test_a_run_that_is_not_done_stays_whatever_its_age(instance):
    for status in Status:
        if status not in FINISHED_STATUSES:
            run_of_age(instance, status, 900)
    canceled = run_of_age(instance, Status.CANCELED, 900)
    for _ in range(2):
        run_of_age(instance, Status.SUCCESS, 1)
    assert outdated(instance) == [canceled]


def test_what_is_needed_stays(instance):
    needed, gone, *_ = (run_of_age(instance, Status.SUCCESS, 9) for _ in range(4))
    assert outdated(instance, needed) == [gone]


def test_a_backlog_is_worked_off_page_by_page_and_night_by_night(instance, monkeypatch):
    monkeypatch.setattr(naming, "_PAGE", 3)
    monkeypatch.setattr(pruning, "_MOST_AT_ONCE", 4)
    made = [run_of_age(instance, Status.SUCCESS, 20 - number) for number in range(10)]
    assert outdated(instance) == made[:4]
    for run_id in made[:4]:
        instance.delete_run(run_id)
    assert outdated(instance) == made[4:8]


@dg.multi_asset(
    specs=[dg.AssetSpec("busy", skippable=True)],
    check_specs=[dg.AssetCheckSpec("sound", asset="busy")],
    can_subset=True,
)
def busy(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    context.log.info("a line")
    yield dg.MaterializeResult(asset_key="busy", metadata={"note": "x" * 2000})
    if context.selected_asset_check_keys:
        yield dg.AssetCheckResult(asset_key="busy", check_name="sound", passed=True)


@dg.asset
def rare() -> None:
    pass


@dg.op
def observe(context: dg.OpExecutionContext) -> None:
    context.log_event(dg.AssetObservation("seen"))


@dg.job(executor_def=dg.in_process_executor)
def look() -> None:
    observe()


made_up = dg.Definitions(
    assets=[busy, rare],
    jobs=[
        dg.define_asset_job("tick", dg.AssetSelection.assets(busy), executor_def=dg.in_process_executor),
        dg.define_asset_job("load", dg.AssetSelection.assets(rare), executor_def=dg.in_process_executor),
        dg.define_asset_job(
            "tick_unchecked", dg.AssetSelection.assets(busy).without_checks(), executor_def=dg.in_process_executor
        ),
        look,
    ],
)


def ran(instance: dg.DagsterInstance, job: str, times: int = 1) -> list[str]:
    """Ids of runs of a job of the made-up definitions."""
    found = [run_job(made_up.resolve_job_def(job), instance) for _ in range(times)]
    assert all(run.succeeded for run in found)
    return [run.run_id for run in found]


def test_it_stops_growing(instance):
    """Rows after each night with the same number of ticks, by table: the same from the second night on."""
    nights = []
    for _ in range(3):
        ran(instance, "tick", 5)
        prune(instance)
        nights.append({table: count(instance, table) for table in TABLES})
    assert nights[1] == nights[2]
    assert nights[2]["runs"] == 2
    assert nights[2]["asset_check_executions"] == 2
    assert 0 < nights[2]["event_logs"] < 60
    assert count(instance, "asset_event_tags") > 0


def test_what_the_latest_records_belong_to_stays(instance):
    """The newest materialisation, observation and check of each asset, also when hundreds of runs came after."""
    checked, loaded, looked = (ran(instance, job)[0] for job in ("tick", "load", "look"))
    others = ran(instance, "tick_unchecked", 4)
    for job in ("load", "look", "tick"):  # two newer runs of the same jobs that recorded nothing
        for _ in range(2):
            run_of_age(instance, Status.CANCELED, 1, job=job)
    prune(instance)
    assert {run.run_id for run in instance.get_runs()} >= {checked, loaded, looked, others[-1]}
    assert others[0] not in {run.run_id for run in instance.get_runs()}
    assert instance.get_latest_materialization_event(dg.AssetKey("rare")).run_id == loaded
    assert instance.fetch_observations(dg.AssetKey("seen"), limit=1).records[0].run_id == looked
    key = dg.AssetCheckKey(dg.AssetKey("busy"), "sound")
    latest = instance.event_log_storage.get_latest_asset_check_execution_by_key([key])[key]
    assert (latest.run_id, latest.evaluation.passed) == (checked, True)
    assert Run(instance, checked).checks()


def test_a_deleted_runs_evaluations_events_and_tags_go_with_it(instance):
    first, *_ = ran(instance, "tick", 3)
    prune(instance)
    for table in ("runs", "run_tags", "event_logs", "asset_check_executions"):
        assert ask(instance, f"SELECT count(*) FROM {table} WHERE run_id = :run", run=first) == [(0,)]
    assert ask(instance, ORPHANED_TAGS) == [(0,)]


def test_what_an_interrupted_deletion_left_is_made_good(instance):
    first, *_ = ran(instance, "tick", 3)
    instance.run_storage.delete_run(first)
    assert ask(instance, "SELECT count(*) > 5 FROM event_logs WHERE run_id = :run", run=first) == [(True,)]
    prune(instance)
    assert ask(instance, "SELECT count(*) FROM event_logs WHERE run_id = :run", run=first) == [(0,)]
    assert ask(instance, ORPHANED_TAGS) == [(0,)]


def test_of_events_of_no_run_the_newest_of_each_kind_stays(instance):
    for number in range(3):
        instance.report_runless_asset_event(dg.AssetMaterialization("elsewhere", metadata={"number": number}))
        instance.report_runless_asset_event(dg.AssetObservation("elsewhere"))
        instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(asset_key=dg.AssetKey("elsewhere"), check_name="c", passed=True, metadata={})
        )
    prune(instance, datetime.now(UTC) + timedelta(minutes=1))
    kinds = ask(instance, "SELECT dagster_event_type, count(*) FROM event_logs WHERE run_id = '' GROUP BY 1")
    assert kinds
    assert {number for _, number in kinds} == {1}
    assert count(instance, "asset_check_executions") == 1
    last = instance.get_latest_materialization_event(dg.AssetKey("elsewhere"))
    assert last.asset_materialization.metadata["number"].value == 2


def test_young_events_of_no_run_stay(instance):
    for _ in range(3):
        instance.report_runless_asset_event(dg.AssetObservation("elsewhere"))
    prune(instance, datetime.now(UTC) - timedelta(days=1))
    assert count(instance, "event_logs") == 3


def test_leftovers_go_batch_by_batch(instance, monkeypatch):
    monkeypatch.setattr(pruning, "_BATCH", 2)
    ran(instance, "tick", 9)
    prune(instance)
    assert count(instance, "asset_check_executions") == 2


def tick_of(instance: dg.DagsterInstance, selector: str, status: TickStatus, days: float) -> None:
    moment = (NOW - timedelta(days=days)).timestamp()
    runs = ["a run"] if status is TickStatus.SUCCESS else None
    what = TickData(f"origin {selector}", selector, InstigatorType.SCHEDULE, status, moment, runs, selector_id=selector)
    instance.create_tick(what)


def test_ticks_go_as_dagster_yaml_says_also_of_what_is_stopped_or_gone(instance, monkeypatch):
    origin = RemoteInstigatorOrigin(REPOSITORY_ORIGIN, "nightly")
    data = ScheduleInstigatorData(cron_schedule="0 0 * * *")
    state = InstigatorState(origin, InstigatorType.SCHEDULE, InstigatorStatus.STOPPED, data)
    instance.add_instigator_state(state)
    days = {TickStatus.SKIPPED: 2, TickStatus.SUCCESS: 14}
    monkeypatch.setattr(type(instance), "get_tick_retention_settings", lambda *_: days)
    for selector in (state.selector_id, "of a schedule that is gone"):
        for status in (TickStatus.SKIPPED, TickStatus.SUCCESS):
            for age in (1, 5, 20):
                tick_of(instance, selector, status, age)
    prune(instance, NOW)
    kept = ask(instance, "SELECT selector_id, status, count(*) FROM job_ticks GROUP BY 1, 2 ORDER BY 3")
    assert {(status, number) for selector, status, number in kept if selector == state.selector_id} == {
        ("SKIPPED", 1), ("SUCCESS", 2),
    }  # fmt: skip
    assert {selector for selector, *_ in kept} == {state.selector_id}


def test_of_an_unknown_schema_nothing_is_deleted_by_sql_and_it_is_said(instance, monkeypatch):
    monkeypatch.setattr(pruning, "_REVISIONS", frozenset({"another"}))
    ran(instance, "tick", 3)
    lines = prune(instance)
    assert (count(instance, "runs"), count(instance, "asset_check_executions")) == (2, 3)
    assert any(revision_of(instance) in line and "is not one that is known here" in line for line in lines)


def test_the_installed_dagster_is_known(instance):
    """Fails with the first Dagster that has changed its tables: look at dagster.sql, then add the revision."""
    assert not [line for line in prune(instance) if "is not one that is known here" in line]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "files"


def file_of_age(path: Path, hours: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    then = time.time() - hours * 3600
    for part in (path, *path.parents[:2]):
        os.utime(part, (then, then))
    return path


def test_files_of_runs_that_are_gone_go(folder):
    kept, gone, young = (str(uuid4()) for _ in range(3))
    for name, hours in ((kept, 9), (gone, 9), (young, 1)):
        file_of_age(folder / "compute_logs" / name / "compute_logs" / "x.out", hours)
    file_of_age(folder / "compute_logs" / "a_sensor" / "old.err", 9)
    file_of_age(folder / "compute_logs" / "a_sensor" / "young.err", 1)
    hours_ago = datetime.now(UTC) - timedelta(hours=5)
    assert _remove_files(folder, {kept}, hours_ago) == 2
    left = {path.relative_to(folder).parts[1] for path in folder.rglob("*.*")}
    assert left == {kept, young, "a_sensor"}
    assert [path.name for path in folder.rglob("*.err")] == ["young.err"]
    assert _remove_files(folder / "nowhere", set(), hours_ago) == 0


def test_links_are_not_followed(folder, tmp_path):
    outside = file_of_age(tmp_path / "outside" / "mine.txt", 9)
    folder.mkdir()
    (folder / "link").symlink_to(outside.parent)
    (folder / "mine.txt").symlink_to(outside)
    assert _remove_files(folder, set(), datetime.now(UTC)) == 0
    assert outside.exists()


job_alone = dg.Definitions(jobs=[prune_job(Names())], resources={"postgis": PostgisResource()}).resolve_job_def(
    "prune_history"
)


def test_the_job_prunes_both_histories_and_says_what(instance, target, sql, monkeypatch):
    """Here the ledger lies in the same database; the job finds each through its own setting."""
    monkeypatch.setenv("FLUX_POSTGRES_URL", os.environ["DAGSTER_POSTGRES_URL"])
    load_settings.cache_clear()
    with target.session("test") as session:
        prepare(session, "public")
    sql(
        "INSERT INTO postgres_sync.sync_status (layer_name, sync_type, status, started_at)"
        " SELECT 'poles', 'UNCHANGED', 'SUCCESS', now() - days * interval '1 day'"
        " FROM unnest(ARRAY[1, 80, 100, 200]) AS days"
    )
    ran(instance, "tick", 4)
    run = run_job(job_alone, instance)
    assert run.succeeded
    told = " ".join(run.lines())
    for said in ("2 runs", "2 check evaluations", "MB", "2 rows of the ledger"):
        assert said in told
    assert sql("SELECT count(*) FROM postgres_sync.sync_status") == [(2,)]


def test_without_the_target_dagsters_own_history_is_pruned_all_the_same(instance, monkeypatch):
    monkeypatch.setenv("FLUX_POSTGRES_URL", "postgresql://nobody@127.0.0.1:1/none")
    load_settings.cache_clear()
    ran(instance, "tick", 4)
    run = run_job(job_alone, instance)
    assert not run.succeeded
    assert "127.0.0.1" in run.failure("prune")
    assert "Stack Trace" not in run.failure("prune")
    assert len(instance.get_runs(dg.RunsFilter(job_name="tick"))) == 2


def test_the_schedule_is_nightly_and_created_stopped():
    schedule = ours.resolve_schedule_def("prune_history_schedule")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("40 3 * * *", "UTC")
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
    assert schedule.job_name == prune_job(Names()).name
    assert int(prune_job(Names()).tags["dagster/max_runtime"]) > 0
