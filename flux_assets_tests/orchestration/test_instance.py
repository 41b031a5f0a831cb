"""Plain `dagster` commands keep their history in the embedded PostgreSQL, however DAGSTER_HOME is set."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from dagster import DagsterInstance
from dagster._core.run_coordinator import QueuedRunCoordinator
from dagster._core.workspace.load import location_origins_from_yaml_paths
from sqlalchemy import Engine, create_engine, text

from flux_assets.orchestration.storage import instance as instances
from flux_assets.orchestration.storage.instance import HomeComputeLogs, _ping_after_a_pause
from flux_assets.sample.cluster import Cluster
from flux_assets.settings import REPOSITORY

MODULE = """
import dagster as dg

@dg.asset
def tiny(context):
    context.log.info("a line, so that the run's id is printed")
    print("the asset speaks")

defs = dg.Definitions(assets=[tiny], executor=dg.in_process_executor)
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with our dagster.yaml in it and no `.env`, which Dagster would read from a developer's checkout."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    shutil.copy(REPOSITORY / "dagster.yaml", folder)
    return folder


def materialise(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    (folder.parent / "modules").mkdir(exist_ok=True)
    (folder.parent / "modules" / "tiny_definitions.py").write_text(MODULE)
    command = [
        Path(sys.executable).parent / "dagster",
        "asset",
        "materialize",
        "-m",
        "tiny_definitions",
        "--select",
        "tiny",
    ]
    environment = os.environ | {"PYTHONPATH": str(folder.parent / "modules")} | environment
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def id_of_run(done: subprocess.CompletedProcess[str]) -> str:
    return next(word for word in done.stderr.split() if word.count("-") == 4 and len(word) == 36)


def runs(cluster: Cluster) -> list[tuple[str, str]]:
    with psycopg.connect(cluster.conninfo("dagster")) as connection:
        if connection.execute("SELECT to_regclass('runs')").fetchone() == (None,):
            return []
        return connection.execute("SELECT run_id, status FROM runs ORDER BY id").fetchall()


@pytest.mark.parametrize("home", ["unset", "empty", "set", "set, from elsewhere"])
def test_a_run_is_kept_in_the_embedded_database(home: str, cluster: Cluster, checkout: Path, tmp_path: Path) -> None:
    cluster.ensure_plain_database()
    folder = tmp_path / "elsewhere" if home.endswith("elsewhere") else checkout
    folder.mkdir(exist_ok=True)
    there_before = sorted(path.name for path in folder.iterdir())
    environment = {"unset": {}, "empty": {"DAGSTER_HOME": ""}}.get(home, {"DAGSTER_HOME": str(checkout)})
    done = materialise(folder, **environment)
    assert done.returncode == 0, done.stderr
    run_id = id_of_run(done)
    assert (run_id, "SUCCESS") in runs(cluster)
    logs = (cluster.home / "dagster" / "compute_logs" / run_id).rglob("*.out")
    assert "the asset speaks\n" in [path.read_text() for path in logs]
    assert sorted(path.name for path in folder.iterdir()) == there_before


def test_from_elsewhere_without_dagster_home_it_runs_and_keeps_no_history(cluster: Cluster, tmp_path: Path) -> None:
    """Dagster finds no dagster.yaml there, and so makes do with a temporary folder, which it removes."""
    cluster.ensure_plain_database()
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    done = materialise(folder)
    assert done.returncode == 0, done.stderr
    assert id_of_run(done) not in [run_id for run_id, _ in runs(cluster)]
    assert list(folder.iterdir()) == []


def test_a_missing_setting_ends_the_command_by_name(checkout: Path) -> None:
    done = materialise(checkout, FLUX_PROFILE="production")
    assert done.returncode != 0
    assert "DAGSTER_POSTGRES_URL is not set" in done.stderr


def test_what_dagster_yaml_asks_for_is_in_force(cluster: Cluster) -> None:
    with DagsterInstance.from_config(str(REPOSITORY)) as instance:
        assert isinstance(instance.compute_log_manager, HomeComputeLogs)
        assert Path(instance.storage_directory()).is_relative_to(cluster.home)
        assert not instance.telemetry_enabled
        assert instance.run_monitoring_enabled
        assert instance.run_monitoring_max_runtime_seconds == 14400
        assert instance.cancellation_thread_poll_interval_seconds > 0
        assert isinstance(instance.run_coordinator, QueuedRunCoordinator)
        queue = instance.get_concurrency_config().run_queue_config
        # What the limits mean is in test_neighbours.py.
        assert {"flux/exclusive", "flux/heavy"} == {limit["key"] for limit in queue.tag_concurrency_limits}
        assert (queue.max_concurrent_runs, queue.max_user_code_failure_retries) == (-1, 3)
        assert [instance.get_settings(of)["use_threads"] for of in ("schedules", "sensors")] == [True, True]


def test_an_instance_that_is_closed_leaves_no_connection(cluster: Cluster) -> None:
    with DagsterInstance.from_config(str(REPOSITORY)) as instance:
        instance.get_runs_count()
        engine = instance.event_log_storage._engine
        assert engine.pool.checkedin() > 0
    assert engine.pool.checkedin() == 0


def test_the_code_location_has_a_stable_name() -> None:
    (origin,) = location_origins_from_yaml_paths([str(REPOSITORY / "workspace.yaml")])
    assert origin.location_name == "flux_assets"
    assert origin.loadable_target_origin.module_name == "flux_assets.definitions"


@pytest.fixture
def engine(cluster: Cluster) -> Iterator[Engine]:
    """Connections as Dagster's storage keeps them."""
    cluster.ensure_plain_database()
    engine = create_engine(cluster.url("dagster", "psycopg2"), isolation_level="AUTOCOMMIT")
    _ping_after_a_pause(engine)
    yield engine
    engine.dispose()


def backend(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.execute(text("SELECT pg_backend_pid()")).scalar_one()


def test_a_connection_that_broke_while_it_was_idle_is_replaced(
    engine: Engine, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instances, "_PAUSE_SECONDS", -1.0)
    first = backend(engine)
    assert backend(engine) == first
    with cluster.admin_session() as admin:
        admin.execute("SELECT pg_terminate_backend(%s, 5000)", [first])
    assert backend(engine) != first


def test_a_connection_that_was_used_a_moment_ago_is_not_tested(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    tested = []
    monkeypatch.setattr(engine.dialect, "do_ping", tested.append)
    monkeypatch.setattr(instances, "_PAUSE_SECONDS", 3600.0)
    assert [backend(engine) for _ in range(5)] == [backend(engine)] * 5
    assert tested == []
