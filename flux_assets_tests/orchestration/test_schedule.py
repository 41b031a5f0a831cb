"""The schedule of the sync: never a second run beside one, and a ghost holds up nothing. And the jobs it is about."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster import DagsterRunStatus as Status
from dagster._core.definitions.dependency import NodeHandle
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.storage.runs.schema import RunsTable
from dagster._core.test_utils import create_run_for_test

from flux_assets.definitions import defs
from flux_assets.settings import load_settings
from flux_assets.sync.gate import TIME_LIMIT
from flux_assets.tables import dynamic_tables
from flux_assets_tests.running import run_job

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
NAMES = {table.name for table in dynamic_tables()}


def evaluate(instance: dg.DagsterInstance) -> dg.RunRequest | dg.SkipReason:
    """What the schedule says at noon."""
    context = dg.build_schedule_context(
        instance=instance, scheduled_execution_time=NOON, repository_def=defs.get_repository_def()
    )
    answer = defs.resolve_schedule_def("dynamic_sync_schedule")(context)
    assert isinstance(answer, (dg.RunRequest, dg.SkipReason))
    return answer


def run_of_age(instance: dg.DagsterInstance, status: Status, age: timedelta, *, job: str = "sync_all_dynamic") -> str:
    """A run that was created so long ago."""
    origin = RemoteJobOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("flux_assets"), "all"), job)
    run = create_run_for_test(instance, job_name=job, status=status, remote_job_origin=origin)
    created = (datetime.now(UTC) - age).replace(tzinfo=None)
    change = sa.update(RunsTable).where(RunsTable.c.run_id == run.run_id).values(create_timestamp=created)
    with instance.run_storage.connect() as connection:
        connection.execute(change)
    return run.run_id


def test_a_tick_asks_for_one_run(instance):
    request = evaluate(instance)
    assert isinstance(request, dg.RunRequest)
    assert request.run_key == evaluate(instance).run_key, "the same tick, asked twice, is one run"
    assert NOON.isoformat() in request.run_key


@pytest.mark.parametrize(
    "status", [Status.QUEUED, Status.NOT_STARTED, Status.STARTING, Status.STARTED, Status.CANCELING]
)
def test_a_run_under_way_is_named_and_waited_for(instance, status):
    run_id = run_of_age(instance, status, timedelta(minutes=1))
    answer = evaluate(instance)
    assert isinstance(answer, dg.SkipReason)
    assert run_id in answer.skip_message


@pytest.mark.parametrize("status", [Status.QUEUED, Status.STARTED, Status.CANCELING])
def test_a_run_beyond_its_time_limit_holds_up_nothing(instance, status, monkeypatch):
    monkeypatch.setenv("FLUX_POSTGRES_URL", "postgresql://nobody@127.0.0.1:1/nowhere")
    run_of_age(instance, status, TIME_LIMIT + timedelta(minutes=1))
    assert isinstance(evaluate(instance), dg.RunRequest)


@pytest.fixture
def ledger(reached, sql):
    """Writes what a sync of a Dagster run noted in the ledger."""
    reached.synced()

    def note(run_id, status="RUNNING", *, alive=True, ended=timedelta(0)):
        sql(
            "UPDATE postgres_sync.layer_leases SET holder_pid = pid, holder_start = backend_start, seen_at = now()"
            " FROM pg_stat_get_activity(pg_backend_pid()) WHERE layer_name = '(sync)' AND %s",
            alive and status == "RUNNING",
        )
        sql(
            "INSERT INTO postgres_sync.sync_status"
            " (layer_name, status, run_id, backend_pid, backend_start, completed_at)"
            " SELECT 'faults', %s, %s, pid, backend_start - %s, CASE WHEN %s <> 'RUNNING' THEN now() - %s END"
            " FROM pg_stat_get_activity(pg_backend_pid())",
            status, run_id, timedelta(0 if alive else 1), status, ended,
        )  # fmt: skip

    return note


def test_the_tick_after_a_crash_syncs_and_fails_the_run_that_died(instance, ledger):
    """Daemon, code server and run died together: nobody has told Dagster, and the run is young."""
    died = run_of_age(instance, Status.STARTED, timedelta(seconds=10))
    ledger(died, alive=False)
    assert isinstance(evaluate(instance), dg.RunRequest)
    assert instance.get_run_by_id(died).status == Status.FAILURE, "the queue must not wait for it"


def test_a_run_that_died_before_it_was_seen_in_the_database_is_found_out(instance, ledger):
    run_of_age(instance, Status.STARTED, timedelta(minutes=3))
    assert isinstance(evaluate(instance), dg.RunRequest)


def test_a_run_that_died_after_its_sync_is_found_out(instance, ledger):
    ledger(run_of_age(instance, Status.STARTED, timedelta(minutes=5)), "SUCCESS", ended=timedelta(minutes=5))
    assert isinstance(evaluate(instance), dg.RunRequest)


@pytest.mark.parametrize(("status", "ended"), [("RUNNING", timedelta(0)), ("SUCCESS", timedelta(seconds=30))])
def test_a_run_whose_sync_is_alive_is_waited_for_however_long_it_takes(instance, ledger, status, ended):
    run_id = run_of_age(instance, Status.STARTED, timedelta(minutes=9))
    ledger(run_id, status, ended=ended)
    assert isinstance(evaluate(instance), dg.SkipReason)
    assert instance.get_run_by_id(run_id).status == Status.STARTED


def test_a_run_whose_process_is_frozen_is_overtaken(instance, ledger, sql):
    run_id = run_of_age(instance, Status.STARTED, timedelta(minutes=5))
    ledger(run_id)
    sql("UPDATE postgres_sync.layer_leases SET seen_at = now() - interval '2 minutes' WHERE layer_name = '(sync)'")
    assert isinstance(evaluate(instance), dg.RunRequest)


def test_a_run_that_was_overtaken_is_dead(instance, ledger, sql):
    """Its session may live on: what holds the lease now is another sync."""
    ledger(run_of_age(instance, Status.STARTED, timedelta(minutes=5)))
    sql("UPDATE postgres_sync.layer_leases SET holder_pid = NULL WHERE layer_name = '(sync)'")
    assert isinstance(evaluate(instance), dg.RunRequest)


def test_a_sync_that_has_not_opened_its_rows_yet_is_waited_for(instance, ledger, sql):
    """It holds the lease, and makes the tables fit."""
    ledger("another run")
    sql("DELETE FROM postgres_sync.sync_status")
    run_of_age(instance, Status.STARTED, timedelta(minutes=5))
    assert isinstance(evaluate(instance), dg.SkipReason)


def test_a_run_beside_a_dead_one_is_waited_for(instance, ledger):
    ledger(run_of_age(instance, Status.STARTED, timedelta(minutes=1)), alive=False)
    young = run_of_age(instance, Status.STARTED, timedelta(seconds=5))
    answer = evaluate(instance)
    assert isinstance(answer, dg.SkipReason)
    assert young in answer.skip_message


@pytest.mark.parametrize("status", [Status.SUCCESS, Status.FAILURE, Status.CANCELED])
def test_a_run_that_is_done_is_no_reason_to_wait(instance, status):
    run_of_age(instance, status, timedelta(seconds=5))
    assert isinstance(evaluate(instance), dg.RunRequest)


def test_runs_of_other_jobs_are_no_reason_to_wait(instance):
    run_of_age(instance, Status.STARTED, timedelta(seconds=5), job="load_static_layers")
    assert isinstance(evaluate(instance), dg.RunRequest)


def test_the_schedule_is_created_stopped():
    schedule = defs.get_repository_def().get_schedule_def("dynamic_sync_schedule")
    assert (schedule.name, schedule.cron_schedule) == ("dynamic_sync_schedule", "*/5 * * * *")
    assert schedule.execution_timezone == "UTC"
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
    assert schedule.job_name == "sync_all_dynamic"


def test_missed_ticks_are_not_replayed():
    """Dagster goes back over missed ticks only for schedules of a partitioned job; of others it takes the newest."""
    assert defs.resolve_job_def("sync_all_dynamic").partitions_def is None


@pytest.mark.parametrize("name", ["sync_all_dynamic", "setup_dynamic_tables"])
def test_jobs_run_in_one_process_and_have_a_time_limit(name):
    job = defs.resolve_job_def(name)
    assert job.executor_def.name == "in_process"
    assert job.run_tags["dagster/max_runtime"] == str(int(TIME_LIMIT.total_seconds()))
    assert job.run_tags["flux/exclusive"] == "sync"


def test_the_job_selects_the_dynamic_tables_and_plans_no_checks():
    job = defs.resolve_job_def("sync_all_dynamic")
    assert {key.to_user_string() for key in job.asset_layer.executable_asset_keys} == NAMES
    node = NodeHandle("sync_dynamic_tables", parent=None)
    planned = job.asset_layer.get_selected_entity_keys_for_node(node)
    assert {key.to_user_string() for key in planned} == NAMES


@pytest.mark.parametrize("option", ["force", "accept_vanished", "take_over"])
def test_the_run_config_is_documented_off_and_accepted(option):
    config = {"ops": {"sync_dynamic_tables": {"config": {option: True}}}}
    assert dg.validate_run_config(defs.resolve_job_def("sync_all_dynamic"), config)
    fields = defs.resolve_assets_def("work_orders").op.config_schema.config_type.fields
    assert set(fields) == {"force", "accept_vanished", "take_over", "drop_foreign_keys"}
    assert (bool(fields[option].description), fields[option].default_value) == (True, False)


def test_the_setup_makes_the_tables_and_again_does_no_harm(instance, cluster, database, monkeypatch, sql):
    monkeypatch.setenv("FLUX_POSTGRES_URL", cluster.url(database))
    load_settings.cache_clear()
    job = defs.resolve_job_def("setup_dynamic_tables")
    assert run_job(job, instance).succeeded
    made = sql("SELECT relname, oid FROM pg_class WHERE relname = ANY (%s) ORDER BY 1", sorted(NAMES))
    assert {name for name, _ in made} == NAMES
    again = run_job(job, instance)
    assert again.succeeded
    assert "work_orders: matches its declaration" in again.lines()
    assert sql("SELECT relname, oid FROM pg_class WHERE relname = ANY (%s) ORDER BY 1", sorted(NAMES)) == made


def test_the_setup_refuses_a_table_that_is_another_one_and_makes_the_others(
    instance, cluster, database, monkeypatch, sql
):
    monkeypatch.setenv("FLUX_POSTGRES_URL", cluster.url(database))
    load_settings.cache_clear()
    sql("CREATE TABLE work_orders (work_order_id varchar(50) PRIMARY KEY, status integer)")
    run = run_job(defs.resolve_job_def("setup_dynamic_tables"), instance)
    told = run.failure("make_dynamic_tables")
    assert "column status is integer" in told
    assert "work_orders_before_flux" in told
    assert "Stack Trace" not in told
    assert sql("SELECT count(*) FROM pg_class WHERE relname = ANY (%s) AND relkind = 'r'", sorted(NAMES)) == [
        (len(NAMES),)
    ]
    assert sql("SELECT count(*) FROM circuit_status_realtime") == [(0,)]
