"""Nothing is made up on a worker: only a home that was made on its machine stands in for what is not configured."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from flux_assets.errors import EmbeddedError
from flux_assets.settings import Settings, load_settings
from flux_assets.wiring import home as homes
from flux_assets.wiring.home import claim_home, require_own_home
from flux_assets.wiring.source import layer_release, snowflake_account
from flux_assets.wiring.target import dagster_storage_url, postgis_target

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
    require_own_home(home, "database", "FLUX_POSTGRES_URL")


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
    claim_home(tmp_path)
    needed(tmp_path)


def test_a_home_that_came_from_another_machine_is_none(worker, tmp_path, monkeypatch):
    with monkeypatch.context() as there:
        there.setattr(homes.socket, "gethostname", lambda: "another")
        claim_home(tmp_path)
        needed(tmp_path)
    with pytest.raises(EmbeddedError, match="was not made on this machine"):
        needed(tmp_path)


def test_whoever_works_on_a_machine_claims_its_home_by_using_it(tmp_path, monkeypatch):
    # As where a run hands its steps to workers.
    monkeypatch.setitem(sys.modules, "celery", SimpleNamespace(current_task=None))
    needed(tmp_path / "home")
    monkeypatch.setenv("DAGSTER_RUN_JOB_NAME", "load_static_layers")
    needed(tmp_path / "home")


def test_a_step_of_a_worker_fails_in_that_sentence(instance, tmp_path, monkeypatch):
    from flux_assets.definitions import defs
    from flux_assets_tests.running import run_assets

    monkeypatch.setenv("FLUX_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAGSTER_RUN_JOB_NAME", "load_static_layers")
    load_settings.cache_clear()
    run = run_assets(defs, instance, "grid_assets")
    assert "FLUX_POSTGRES_URL names no database, and in a container" in run.failure("grid_assets")
    assert not (tmp_path / "home").exists()
