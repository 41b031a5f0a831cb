"""The sensor of the release as Dagster's daemon evaluates it: its runs, its memory, its words; on real layers."""

import logging
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import dagster as dg
import pytest
from dagster import DagsterRunStatus as Status
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.remote_representation.external import RemoteSensor
from dagster._core.scheduler.instigation import InstigatorTick, TickStatus
from dagster._core.test_utils import (
    SingleThreadPoolExecutor,
    create_run_for_test,
    create_test_daemon_workspace_context,
    freeze_time,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._daemon.sensor import execute_sensor_iteration

from flux_assets.layers.context import LoadOptions
from flux_assets.layers.rollback import pin, rollback, unpin
from flux_assets.orchestration import automation
from flux_assets.orchestration.automation import release_sensor
from flux_assets.orchestration.executor import threads_executor
from flux_assets.orchestration.layer_assets import layer_asset
from flux_assets.orchestration.names import Names
from flux_assets.orchestration.resources import PostgisResource, ReleaseResource
from flux_assets.settings import load_settings
from flux_assets_tests.made_up import grove, trees, write_trees
from flux_assets_tests.running import QUIET
from flux_assets_tests.web import serving

OAKS, ELMS = trees("oaks"), trees("elms")
LAUNCHER = {
    "run_launcher": {
        "module": "dagster._core.launcher.sync_in_memory_run_launcher",
        "class": "SyncInMemoryRunLauncher",
    },
    "run_coordinator": {"module": "dagster._core.run_coordinator", "class": "DefaultRunCoordinator"},
}
load_trees = dg.define_asset_job("load_trees", selection=dg.AssetSelection.groups("static_layers"))
watched = dg.Definitions(
    assets=[layer_asset(OAKS, Names()), layer_asset(ELMS, Names())],
    jobs=[load_trees],
    sensors=[release_sensor((OAKS, ELMS), Names(), load_trees.name)],
    resources={"postgis": PostgisResource(), "release": ReleaseResource()},
    executor=threads_executor,
)


class Daemon:
    """Dagster's sensor daemon, one iteration at a time, five minutes apart by its own clock."""

    def __init__(self, workspace: WorkspaceProcessContext) -> None:
        self._workspace = workspace
        self._clock = datetime.now(UTC)
        self.instance = workspace.instance
        self.instance.start_sensor(self._sensor)

    @property
    def _sensor(self) -> RemoteSensor:
        (location,) = self._workspace.create_request_context().code_locations
        (repository,) = location.get_repositories().values()
        return repository.get_sensor("release_sensor")

    def tick(self) -> InstigatorTick:
        """The next tick, done."""
        self._clock += timedelta(minutes=5)
        pool = SingleThreadPoolExecutor()
        clock = SimpleNamespace(time=self._clock.timestamp)
        with pool, freeze_time(self._clock), patch.object(automation, "time", clock):
            list(execute_sensor_iteration(self._workspace, logging.getLogger("daemon"), None, pool))
        return self.ticks[0]

    @property
    def ticks(self) -> list[InstigatorTick]:
        return list(self.instance.get_ticks(self._sensor.get_remote_origin_id(), self._sensor.selector_id))

    def loaded(self, tick: InstigatorTick) -> set[str]:
        """Layers of the tick's one run, which succeeded; nothing when it asked for none."""
        if tick.status is TickStatus.SKIPPED:
            return set()
        assert tick.status is TickStatus.SUCCESS, tick
        (run_id,) = tick.run_ids
        run = self.instance.get_run_by_id(run_id)
        assert run.status is Status.SUCCESS
        return {key.to_user_string() for key in run.asset_selection}


@pytest.fixture
def folder(tmp_path: Path, cluster, database, monkeypatch) -> Path:
    """A release of both layers."""
    place = tmp_path / "v1"
    monkeypatch.setenv("FLUX_POSTGRES_URL", cluster.url(database))
    monkeypatch.setenv("FLUX_RELEASE", str(place))
    monkeypatch.setenv("FLUX_HOME", str(tmp_path / "home"))
    load_settings.cache_clear()
    for name in ("oaks", "elms"):
        write_trees(place, grove(5), name)
    return place


@pytest.fixture
def daemon(folder: Path, tmp_path: Path) -> Iterator[Daemon]:
    (tmp_path / "dagster").mkdir()
    origin = LoadableTargetOrigin(module_name=__name__, attribute="watched")
    target = InProcessWorkspaceLoadTarget(InProcessCodeLocationOrigin(origin))
    with (
        dg.DagsterInstance.local_temp(str(tmp_path / "dagster"), overrides=LAUNCHER | QUIET) as instance,
        create_test_daemon_workspace_context(target, instance) as workspace,
    ):
        yield Daemon(workspace)


def test_a_release_is_loaded_and_then_just_what_changes(daemon, folder, sql):
    first = daemon.tick()
    assert (first.status, daemon.loaded(first)) == (TickStatus.SKIPPED, set())
    assert "oaks, elms" in first.skip_reason
    assert daemon.loaded(daemon.tick()) == {"oaks", "elms"}
    quiet = daemon.tick()
    assert quiet.skip_reason == "Nothing has changed since it was loaded or asked for."
    write_trees(folder, grove(7), "elms")
    daemon.tick()
    change = daemon.tick()
    assert daemon.loaded(change) == {"elms"}
    assert sql("SELECT (SELECT count(*) FROM oaks), (SELECT count(*) FROM elms)") == [(5, 7)]
    (run,) = daemon.instance.get_runs(dg.RunsFilter(run_ids=change.run_ids))
    assert run.job_name == "load_trees"
    events = daemon.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    assert {event.dagster_event.asset_check_evaluation_data.asset_key for event in events} == {dg.AssetKey("elms")}


def test_a_pinned_layer_is_not_asked_for_and_the_tick_says_why(daemon, folder, target, sql):
    daemon.tick()
    daemon.loaded(daemon.tick())
    pin(ELMS, target, LoadOptions(), print)
    for name in ("oaks", "elms"):
        write_trees(folder, grove(7), name)
    daemon.tick()
    assert daemon.loaded(daemon.tick()) == {"oaks"}
    for _ in range(2):
        assert daemon.tick().skip_reason == "Pinned, so not asked for until `flux-assets unpin`: elms."
    unpin(ELMS, target)
    assert daemon.loaded(daemon.tick()) == {"elms"}
    assert sql("SELECT (SELECT count(*) FROM oaks), (SELECT count(*) FROM elms)") == [(7, 7)]
    assert daemon.tick().skip_reason == "Nothing has changed since it was loaded or asked for."


def test_a_layer_that_went_back_is_loaded_again_once_it_is_unpinned(daemon, folder, target, sql):
    """Also by a sensor that has forgotten everything, or never looked before."""
    daemon.tick()
    daemon.loaded(daemon.tick())
    write_trees(folder, grove(7), "elms")
    daemon.tick()
    assert daemon.loaded(daemon.tick()) == {"elms"}
    rollback(ELMS, target, LoadOptions(), print)
    assert "elms" in daemon.tick().skip_reason
    with target.session("test") as session:
        assert session.execute("SELECT count(*) FROM elms").fetchone() == (5,)
    # As report_versions does: what Dagster has last is the file of the version that is live.
    told = daemon.instance.fetch_materializations(dg.AssetKey("elms"), limit=9).records[-1].asset_materialization
    daemon.instance.report_runless_asset_event(told)
    unpin(ELMS, target)
    assert daemon.loaded(daemon.tick()) == {"elms"}
    assert sql("SELECT count(*) FROM elms") == [(7,)]


def test_where_the_pins_cannot_be_read_nothing_is_asked_for(daemon, monkeypatch):
    """The load would fail as well, and the file would count as asked for."""
    daemon.tick()
    reachable = os.environ["FLUX_POSTGRES_URL"]
    monkeypatch.setenv("FLUX_POSTGRES_URL", "postgresql://me@127.0.0.1:1/maps")
    load_settings.cache_clear()
    down = daemon.tick()
    assert down.status is TickStatus.SKIPPED
    assert down.skip_reason.startswith("Cannot read which layers are pinned: The target database cannot be reached")
    monkeypatch.setenv("FLUX_POSTGRES_URL", reachable)
    load_settings.cache_clear()
    assert daemon.loaded(daemon.tick()) == {"oaks", "elms"}


def test_a_version_whose_load_failed_is_not_asked_for_again(daemon, folder):
    daemon.tick()
    daemon.tick()
    (folder / "elms.csv.gz").write_bytes(b"no gzip")
    daemon.tick()
    asked = daemon.tick()
    assert daemon.instance.get_run_by_id(asked.run_ids[0]).status is Status.FAILURE
    for _ in range(2):
        later = daemon.tick()
        assert later.status is TickStatus.SKIPPED
        assert later.skip_reason.endswith("then materialise it by hand: elms.")
    write_trees(folder, grove(8), "elms")
    daemon.tick()
    assert daemon.loaded(daemon.tick()) == {"elms"}


def test_a_tick_whose_memory_was_lost_starts_no_second_run(daemon, folder, monkeypatch):
    """The daemon dies between asking for the run and noting that it has."""
    daemon.tick()
    monkeypatch.setattr(automation, "_loaded", lambda *_: {})
    state = daemon.instance.all_instigator_state()[0]
    first = daemon.tick()
    daemon.instance.update_instigator_state(state)
    again = daemon.tick()
    assert len(first.run_ids) == 1
    assert (again.status, again.run_ids) == (TickStatus.SKIPPED, [])
    assert len(daemon.instance.get_runs()) == 1


def test_while_a_run_loads_the_layer_no_other_is_asked_for(daemon):
    daemon.tick()
    started = {"status": Status.STARTED}
    create_run_for_test(daemon.instance, job_name="sync", **started)
    create_run_for_test(
        daemon.instance, job_name="__ASSET_JOB", asset_selection={dg.AssetKey("work_orders")}, **started
    )
    for job, selection in (("load_trees", None), ("__ASSET_JOB", {dg.AssetKey("oaks")})):
        run = create_run_for_test(daemon.instance, job_name=job, asset_selection=selection, **started)
        assert f"requested once run {run.run_id} has finished" in daemon.tick().skip_reason
        daemon.instance.report_run_canceled(run)
    assert daemon.loaded(daemon.tick()) == {"oaks", "elms"}


def test_a_release_that_cannot_be_reached_is_told_of_and_comes_back(daemon, folder, monkeypatch):
    with serving() as web:
        web.files = {f"/v1/{path.name}": path.read_bytes() for path in folder.iterdir()}
        monkeypatch.setenv("FLUX_RELEASE", f"{web.address}/v1")
        load_settings.cache_clear()
        daemon.tick()
        web.password = "of another user"
        for _ in range(2):
            down = daemon.tick()
            assert down.status is TickStatus.SKIPPED
            assert down.skip_reason.startswith("The release cannot be read")
            assert "denies access" in down.skip_reason
        web.password = None
        assert daemon.loaded(daemon.tick()) == {"oaks", "elms"}


def test_one_that_never_answers_is_given_up_and_not_asked_twice_at_a_time(daemon, monkeypatch):
    answer, asked = threading.Event(), threading.Semaphore(0)
    monkeypatch.setattr(automation, "_SECONDS_FOR_A_CHECK", 0.05)
    monkeypatch.setattr(
        "flux_assets.layers.whole_release.watch.check_release", lambda *_, **__: asked.release() or answer.wait(60)
    )
    try:
        assert "has not answered for" in daemon.tick().skip_reason
        assert "still waiting for an answer" in daemon.tick().skip_reason
        assert asked.acquire(timeout=60), "the one request has begun, however long that took"
        assert not asked.acquire(blocking=False)
    finally:
        answer.set()
        automation._asked[None].result(timeout=60)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"FLUX_RELEASE": "sample"}, "The sample city never changes"),
        ({"FLUX_RELEASE": "", "FLUX_POSTGRES_URL": ""}, "The sample city never changes"),
        ({"FLUX_RELEASE": ""}, "FLUX_RELEASE is not set"),
        ({"FLUX_RELEASE": "", "FLUX_PROFILE": "production"}, "FLUX_RELEASE names no release"),
        ({"FLUX_RELEASE": "/nowhere"}, "There is no folder /nowhere"),
    ],
)
def test_without_a_release_there_is_nothing_to_watch_and_it_says_so(daemon, monkeypatch, settings, said):
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    load_settings.cache_clear()
    tick = daemon.tick()
    assert tick.status is TickStatus.SKIPPED
    assert said in tick.skip_reason
    assert not (load_settings().flux_home / "release").exists(), "no sample is made by looking"


def test_it_is_created_stopped_and_looks_every_five_minutes():
    sensor = release_sensor((OAKS, ELMS), Names())
    assert sensor.default_status == dg.DefaultSensorStatus.STOPPED
    assert sensor.minimum_interval_seconds == 300
    assert sensor.job_name == "load_static_layers"
