"""The sensor on a real Dagster instance, a real PostGIS and a real webhook: from a failing sync to its recovery."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from flux_assets.definitions import defs
from flux_assets.orchestration.alerts.rounds import alert_sensor
from flux_assets.orchestration.names import Names
from flux_assets.settings import load_settings
from flux_assets.tables import dynamic_tables
from flux_assets_tests.receiver import Receiver, receiving
from flux_assets_tests.running import Run, instance_in, run_job

DYNAMIC = tuple(table.name for table in dynamic_tables())
SECRET = "T000-B000-s3cr3t"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    with instance_in(tmp_path_factory.mktemp("storage") / "dagster") as instance:
        yield instance


@pytest.fixture
def instance(storage: dg.DagsterInstance) -> dg.DagsterInstance:
    storage.wipe()
    return storage


@pytest.fixture(autouse=True)
def configured(monkeypatch, cluster, database, tmp_path: Path, receiver: Receiver):
    """A target, and a Snowflake account without a user: no sync can even sign in."""
    change(
        monkeypatch, FLUX_HOME=str(tmp_path / "home"), FLUX_POSTGRES_URL=cluster.tcp_url(database),
        SNOWFLAKE_ACCOUNT="acme", SNOWFLAKE_PASSWORD="hush-hush",
        FLUX_ALERT_URL=f"{receiver.address}/services/{SECRET}", FLUX_UI_URL="http://127.0.0.1:3000",
    )  # fmt: skip


def change(monkeypatch, **settings: str) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    load_settings.cache_clear()


def tick(instance: dg.DagsterInstance) -> str:
    """What a tick of the sensor says."""
    context = dg.build_sensor_context(instance=instance, repository_def=defs.get_repository_def())
    answer = alert_sensor(Names())(context)
    assert isinstance(answer, dg.SkipReason)
    assert answer.skip_message
    assert SECRET not in answer.skip_message
    return answer.skip_message


def sync(instance: dg.DagsterInstance) -> Run:
    return run_job(defs.resolve_job_def("sync_all_dynamic"), instance)


def recovered(sql) -> None:
    """As a sync of all would have left the ledger."""
    for table in DYNAMIC:
        sql(
            "INSERT INTO postgres_sync.sync_status (layer_name, status, completed_at, source_instant)"
            " VALUES (%s, 'SUCCESS', clock_timestamp(), now())",
            table,
        )


def test_it_is_idle_until_it_is_configured(instance, monkeypatch, receiver):
    monkeypatch.delenv("FLUX_ALERT_URL")
    load_settings.cache_clear()
    assert "FLUX_ALERT_URL is not set" in tick(instance)
    assert receiver.paths == []


def test_from_the_third_failure_to_the_recovery(instance, receiver, sql):
    assert tick(instance) == "All is well."
    for _ in (1, 2):
        assert not sync(instance).succeeded
        tick(instance)
    assert receiver.got == []
    run = sync(instance)
    assert "opened" in tick(instance)
    (message,) = receiver.got
    assert (message["kind"], message["failures"], message["tables"]) == ("sync", 3, list(DYNAMIC))
    assert "SNOWFLAKE_USER" in message["problem"]
    assert message["run_url"] == f"http://127.0.0.1:3000/runs/{run.run_id}"
    assert "hush-hush" not in str(message)
    sync(instance)
    assert "nothing new" in tick(instance)
    assert len(receiver.got) == 1
    receiver.got.clear()
    recovered(sql)
    tick(instance)
    assert receiver.texts() == [f"recovered: Recovered: {len(DYNAMIC)} tables cannot be synced"]
    assert tick(instance) == "All is well."
    assert receiver.got == []


def test_a_webhook_that_fails_is_tried_again_at_the_next_tick(instance, receiver, monkeypatch):
    change(monkeypatch, FLUX_ALERT_AFTER="1")
    sync(instance)
    receiver.statuses = [500, 503]
    assert "500" in tick(instance)
    assert "503" in tick(instance)
    assert "opened" in tick(instance)
    assert receiver.texts() == [f"opened: {len(DYNAMIC)} tables cannot be synced"]


def test_slacks_form(instance, receiver, monkeypatch):
    change(monkeypatch, FLUX_ALERT_AFTER="1", FLUX_ALERT_FORMAT="slack")
    sync(instance)
    tick(instance)
    assert receiver.got[0]["text"] == f"{len(DYNAMIC)} tables cannot be synced"


def judge(instance: dg.DagsterInstance, *, passed: bool) -> None:
    evaluation = dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey("substations"), check_name="unique", passed=passed, metadata={},
        description="2 keys are double.",
    )  # fmt: skip
    instance.report_runless_asset_event(evaluation)


def test_an_error_check_of_a_live_table(instance, receiver):
    judge(instance, passed=False)
    tick(instance)
    assert receiver.texts() == ["opened: substations fails a check"]
    judge(instance, passed=True)
    tick(instance)
    assert receiver.texts() == ["recovered: Recovered: substations fails a check"]


def test_while_postgis_is_away(instance, receiver, monkeypatch, cluster, database, tmp_path):
    """It takes as long as failing syncs until it is told; and the message does not hold the password."""
    change(monkeypatch, FLUX_POSTGRES_URL="postgresql://flux:hush-hush@127.0.0.1:1/maps")
    tick(instance)
    assert receiver.got == []
    change(monkeypatch, FLUX_ALERT_AFTER="1s")
    (tmp_path / "home" / "alerts.json").unlink()
    tick(instance)
    written = (tmp_path / "home" / "alerts.json").read_text()
    (tmp_path / "home" / "alerts.json").write_text(written.replace('"not_before": "2', '"not_before": "1'))
    tick(instance)
    tick(instance)
    assert "hush-hush" not in str(receiver.got)
    assert receiver.texts() == ["opened: PostGIS cannot be used"]
    change(monkeypatch, FLUX_POSTGRES_URL=cluster.tcp_url(database))
    tick(instance)
    assert receiver.texts() == ["recovered: Recovered: PostGIS cannot be used"]


def test_it_is_among_the_definitions_and_runs_unasked():
    sensor = defs.get_repository_def().get_sensor_def("alert_sensor")
    assert sensor.minimum_interval_seconds == 60
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
