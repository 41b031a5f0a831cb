"""Which executor FLUX_EXECUTOR chooses; that steps run on Celery's workers is in flux_assets_tests/workers/."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flux_assets.errors import SettingError
from flux_assets.orchestration.names import Names
from flux_assets.orchestration.spread.launcher import SyncLauncher
from flux_assets.orchestration.spread.steps import Steps
from flux_assets.settings import REPOSITORY, load_settings
from flux_assets.tables import static_tables
from flux_assets_tests.sample_cities import folder as sample_city

PROGRAMS = Path(sys.executable).parent
EXTRAS = {"celery": "dagster_celery", "k8s": "dagster_k8s"}


def test_threads_unless_another_is_set():
    assert Steps.executor(Names()).name == "threads"


@pytest.mark.parametrize("name", ["threads", "multiprocess", "celery", "k8s"])
def test_definitions_have_the_one_that_is_set_and_import_no_other(name):
    """In a process of its own, as a code location does."""
    code = (
        "import json, sys; from flux_assets.definitions import defs;"
        "job = defs.resolve_job_def('load_static_layers');"
        f"print(json.dumps([job.executor_def.name, [m for m in {list(EXTRAS.values())} if m in sys.modules]]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"FLUX_EXECUTOR": name}, check=True, capture_output=True
    )
    assert json.loads(done.stdout) == [name, [EXTRAS[name]] if name in EXTRAS else []]


@pytest.mark.parametrize("name", EXTRAS)
def test_an_extra_that_is_missing_is_named_with_how_to_install_it(monkeypatch, name):
    monkeypatch.setenv("FLUX_EXECUTOR", name)
    monkeypatch.setitem(sys.modules, EXTRAS[name], None)
    with pytest.raises(SettingError) as refused:
        Steps.executor(Names())
    assert f"FLUX_EXECUTOR = {name!r}, but the package {EXTRAS[name]} is not installed" in str(refused.value)
    assert f"pip install 'flux_assets[{name}]'" in refused.value.remedy


def test_celery_without_a_broker_is_refused(monkeypatch):
    monkeypatch.delenv("FLUX_CELERY_BROKER", raising=False)
    with pytest.raises(SettingError, match="FLUX_CELERY_BROKER is not set"):
        Steps.celery()
    done = subprocess.run([PROGRAMS / "flux-assets", "worker"], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "FLUX_CELERY_BROKER is not set" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_backend_is_the_broker_unless_it_is_set(monkeypatch):
    monkeypatch.setenv("FLUX_CELERY_BROKER", "redis://:secret@broker/0")
    assert Steps.celery()["backend"] == "redis://:secret@broker/0"
    monkeypatch.setenv("FLUX_CELERY_BACKEND", "redis://results/1")
    load_settings.cache_clear()
    assert Steps.celery()["backend"] == "redis://results/1"


def test_each_step_in_a_process_of_its_own(cluster, database, sql, tmp_path):
    settings = {
        "FLUX_EXECUTOR": "multiprocess", "FLUX_POSTGRES_URL": cluster.url(database), "FLUX_HOME": str(tmp_path),
        "FLUX_RELEASE": str(sample_city()), "DAGSTER_HOME": str(tmp_path), "SNOWFLAKE_ACCOUNT": "stand-in",
    }  # fmt: skip
    (tmp_path / "dagster.yaml").write_text((REPOSITORY / "dagster.yaml").read_text().partition("storage:")[0])
    command = [PROGRAMS / "flux-assets", "load", "substations", "osm_water"]
    done = subprocess.run(command, env=os.environ | settings, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    loaded = "SELECT count(DISTINCT backend_pid) FROM postgres_sync.sync_status WHERE status = 'SUCCESS'"
    assert sql(loaded) == [(2,)]


def test_a_sync_is_for_workers_where_that_is_set_and_in_a_queue_of_its_deployment(monkeypatch):
    assert Steps.tags_of_sync(Names()) == {}
    monkeypatch.setenv("FLUX_SYNC_RUNS", "worker")
    assert Steps.tags_of_sync(Names()) == {"dagster-celery/queue": "flux_sync"}
    assert Steps.tags_of_sync(Names("houston")) == {"dagster-celery/queue": "flux_sync:houston"}


def test_runs_without_a_queue_are_launched_as_ever_and_nothing_of_celery_is_imported():
    """The launcher that dagster.yaml names, in a process of its own."""
    code = (
        "import sys, dagster as dg\n"
        "from flux_assets.settings import REPOSITORY\n"
        "@dg.job\n"
        "def nothing(): pass\n"
        "with dg.DagsterInstance.from_config(str(REPOSITORY)) as instance:\n"
        "    run = instance.create_run_for_job(nothing)\n"
        "    try:\n"
        "        instance.launch_run(run.run_id, workspace=None)\n"
        "    except dg.DagsterInvariantViolationError as refused:\n"
        "        print(type(instance.run_launcher).__name__, refused, 'celery' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == (
        "SyncLauncher DefaultRunLauncher requires a workspace to be included in its LaunchRunContext False\n"
    )


def test_doctor_says_that_nobody_takes_syncs_where_a_worker_is_to_run_them(monkeypatch):
    monkeypatch.setenv("FLUX_SYNC_RUNS", "worker")
    [missing] = SyncLauncher.findings()
    assert (missing.outcome, missing.message) == (
        "failed",
        "FLUX_CELERY_BROKER is not set, and FLUX_EXECUTOR=celery or FLUX_SYNC_RUNS=worker needs a broker.",
    )


def test_a_pod_is_of_the_size_that_its_layer_needs(monkeypatch):
    from dagster_k8s.job import get_user_defined_k8s_config

    by_name = {table.name: table for table in static_tables()}
    assert "dagster-k8s/config" not in Steps.tags(by_name["substations"], Names())
    monkeypatch.setenv("FLUX_EXECUTOR", "k8s")
    small, large = (
        get_user_defined_k8s_config(Steps.tags(by_name[name], Names())).container_config["resources"]
        for name in ("substations", "building_footprints")
    )
    assert (small["limits"]["memory"], large["limits"]["memory"]) == ("1Gi", "2Gi")
    assert set(small["requests"]) == set(large["requests"]) == {"cpu", "memory"}
