"""Syncs on a worker that has everything imported, launched as the daemon does: bounded, terminated, and lost."""

import re
import signal
from collections.abc import Iterator

import dagster as dg
import pytest

from flux_assets.errors import SettingError
from flux_assets.orchestration.spread.launcher import SyncLauncher
from flux_assets.settings import REPOSITORY
from flux_assets_tests.workers.site import LOST_AFTER, PATIENCE, wait_until
from flux_assets_tests.workers.syncs import Syncs

pytestmark = pytest.mark.celery
faults = pytest.mark.faults
# Before the sources are read, and before the commit. Of one that is killed behind it, PostGIS knows after four minutes.
POINTS = ["sync.looked", "sync.before_commit"]
FAILURE, CANCELED = dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED
IGNORED = re.compile("Ignoring a (duplicate run|run worker)")


@pytest.fixture
def syncs(sync_site) -> Iterator[Syncs]:
    with dg.DagsterInstance.from_config(str(REPOSITORY)) as instance:
        yield Syncs(sync_site, instance)


def test_ticks_share_a_process_until_it_has_run_so_many(syncs):
    syncs.worker("warm", "--max-tasks-per-child", "2")
    runs = [syncs.tick() for _ in range(3)]
    first, second, third = [syncs.process(syncs.end(run).run_id) for run in runs]
    assert first == second != third
    assert syncs.site.query("SELECT count(*) > 0 FROM work_orders") == [(True,)]


def test_a_sync_is_terminated_and_the_next_tick_syncs(syncs):
    worker = syncs.worker(point="sync.before_commit")
    run_id = syncs.tick()
    worker.wait_until_stopped()
    assert syncs.instance.run_launcher.terminate(run_id)
    syncs.end(run_id, CANCELED)
    syncs.end(syncs.tick())


def test_a_run_that_nobody_takes_says_where_it_waits(syncs):
    run = syncs.instance.get_run_by_id(syncs.tick())
    assert "`flux-assets worker -Q flux_sync`" in syncs.instance.run_launcher.get_run_worker_debug_info(run)
    # It was failed meanwhile, as run monitoring does.
    syncs.instance.report_run_failed(run)
    [nobody] = SyncLauncher.findings()
    assert (nobody.outcome, nobody.message) == ("failed", "No worker takes from the queue flux_sync")
    worker = syncs.worker()
    [found] = SyncLauncher.findings()
    assert (found.outcome, found.message) == ("ok", "Queue flux_sync has 1 worker(s)")
    syncs.end(syncs.tick())
    assert any(map(IGNORED.match, syncs.messages(run.run_id)))
    worker.process.send_signal(signal.SIGTERM)
    worker.process.wait(PATIENCE)


@faults
@pytest.mark.parametrize("point", POINTS)
def test_a_process_that_is_killed_alone(syncs, point):
    worker = syncs.worker(point=point)
    run_id = syncs.tick()
    worker.wait_until_stopped()
    worker.kill_step()
    # The database knows at once that it is gone.
    wait_until(lambda: isinstance(syncs.schedule(), dg.RunRequest), "the next run")
    syncs.end(run_id, FAILURE)
    syncs.end(syncs.tick())


@faults
def test_a_worker_that_is_killed(syncs):
    syncs.site.environment["FLUX_CELERY_LOST_AFTER"] = str(LOST_AFTER)
    worker = syncs.worker(point="sync.before_commit")
    run_id = syncs.tick()
    worker.wait_until_stopped()
    worker.kill()
    syncs.worker("spare")
    wait_until(lambda: isinstance(syncs.schedule(), dg.RunRequest), "the next run")
    syncs.end(run_id, FAILURE)
    syncs.end(syncs.tick())
    # What the first worker had is given out again, to no effect.
    wait_until(lambda: any(map(IGNORED.match, syncs.messages(run_id))), "the task of the first worker")


@faults
def test_a_worker_that_is_replaced_in_mid_sync(syncs):
    worker = syncs.worker(point="sync.before_commit")
    run_id = syncs.tick()
    worker.wait_until_stopped()
    worker.process.send_signal(signal.SIGTERM)
    worker.process.wait(PATIENCE)
    # interrupted_sensor repeats it.
    assert syncs.end(run_id, FAILURE).tags["dagster/failure_reason"] == "UNEXPECTED_TERMINATION"
    syncs.worker("next")
    syncs.end(syncs.tick())


@faults
def test_redis_is_killed_and_started_again(syncs):
    worker = syncs.worker(point="sync.before_commit")
    run_id = syncs.tick()
    worker.wait_until_stopped()
    syncs.site.redis.kill()
    with pytest.raises(SettingError, match="cannot be reached"):
        syncs.tick()
    worker.go_on()
    syncs.end(run_id)
    syncs.site.redis.start()
    syncs.end(syncs.tick())
