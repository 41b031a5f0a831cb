"""Nothing is made up on a worker: only a home that was made on its machine stands in for what is not configured."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run
from dagster._core.test_utils import create_run_for_test

from flux_assets.definitions import defs
from flux_assets.errors import EmbeddedError
from flux_assets.settings import Settings, load_settings
from flux_assets.wiring import home as homes
from flux_assets.wiring.home import Home
from flux_assets.wiring.source import layer_release, snowflake_account
from flux_assets.wiring.target import dagster_storage_url, postgis_target
from flux_assets_tests.running import QUIET, Run

ENDS = {
    "FLUX_POSTGRES_URL": postgis_target,
    "DAGSTER_POSTGRES_URL": dagster_storage_url,
    "FLUX_RELEASE": layer_release,
    "SNOWFLAKE_ACCOUNT": snowflake_account,
}


@pytest.fixture(params=["container", "celery task", "celery worker"])
def worker(request, monkeypatch) -> str:
    """This process as a step's of a run that was started elsewhere; how a message calls it."""
    if request.param == "container":
        monkeypatch.setenv("DAGSTER_RUN_JOB_NAME", "load_static_layers")
        return "a container of Dagster's"
    in_task = request.param == "celery task"
    monkeypatch.setitem(sys.modules, "celery", SimpleNamespace(current_task=object() if in_task else None))
    if not in_task:
        monkeypatch.setattr(sys, "argv", ["celery", "-A", "dagster_celery.app", "worker"])
    return "a Celery worker"


def needed(home: Path) -> None:
    Home(home).require("database", "FLUX_POSTGRES_URL")


@pytest.mark.parametrize("setting", ENDS)
def test_a_worker_makes_nothing_up(worker, tmp_path, setting):
    home = tmp_path / "home"
    with pytest.raises(EmbeddedError) as refused:
        ENDS[setting](Settings(_env_file=None, flux_home=home))
    assert refused.value.problem.startswith(f"{setting} names no ")
    assert f"in {worker} none is made: FLUX_HOME = '{home}' was not made on this machine" in refused.value.problem
    assert f"Set {setting}" in refused.value.remedy
    assert not home.exists()


def test_a_worker_uses_a_home_of_its_machine(worker, tmp_path):
    Home(tmp_path).claim()
    needed(tmp_path)


def test_a_home_that_came_from_another_machine_is_none(worker, tmp_path, monkeypatch):
    with monkeypatch.context() as there:
        there.setattr(homes.socket, "gethostname", lambda: "another")
        Home(tmp_path).claim()
        needed(tmp_path)
    with pytest.raises(EmbeddedError, match="was not made on this machine"):
        needed(tmp_path)


def test_whoever_works_on_a_machine_claims_its_home_by_using_it(tmp_path, monkeypatch):
    # As where a run hands its steps to workers.
    monkeypatch.setitem(sys.modules, "celery", SimpleNamespace(current_task=None))
    needed(tmp_path / "home")
    monkeypatch.setenv("DAGSTER_RUN_JOB_NAME", "load_static_layers")
    needed(tmp_path / "home")


def load(instance: dg.DagsterInstance, layer: str, tags: dict[str, str]) -> Run:
    """A run for the layer with these tags."""
    job = defs.resolve_implicit_global_asset_job_def().get_subset(asset_selection={dg.AssetKey(layer)})
    run = instance.create_run_for_job(job_def=job, tags=tags)
    execute_run(InMemoryJob(job), run, instance)
    return Run(instance, run.run_id)


@pytest.mark.parametrize("sign", ["container", "created elsewhere"])
def test_a_step_elsewhere_fails_in_that_sentence(instance, tmp_path, monkeypatch, sign):
    monkeypatch.setenv("FLUX_HOME", str(tmp_path / "home"))
    if sign == "container":
        monkeypatch.setenv("DAGSTER_RUN_JOB_NAME", "load_static_layers")
    load_settings.cache_clear()
    tags = {"flux/machine": "another-12345678" if sign == "created elsewhere" else Home.machine()}
    told = load(instance, "grid_assets", tags).failure("grid_assets")
    assert "FLUX_POSTGRES_URL names no database, and in a" in told
    assert not (tmp_path / "home").exists()


def test_a_run_notes_where_it_was_created(cluster, database, tmp_path, monkeypatch):
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", cluster.url(database))
    monkeypatch.setenv("FLUX_HOME", str(tmp_path / "home"))
    load_settings.cache_clear()
    place = {"module": "flux_assets.orchestration.storage.instance", "class": "InstanceStorage", "config": {}}
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides={"storage": {"custom": place}} | QUIET) as instance:
        run = create_run_for_test(instance, tags={"mine": "1"})
        assert instance.get_run_by_id(run.run_id).tags == {"mine": "1", "flux/machine": Home.machine()}
