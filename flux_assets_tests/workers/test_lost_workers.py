"""Workers that are lost in mid-load, or come back, and a broker that is restarted: nothing is lost or doubled."""

import signal
import time

import pytest

from flux_assets_tests.workers.site import PATIENCE, Readers, settled, wait_until

pytestmark = [pytest.mark.celery, pytest.mark.faults]
# In the COPY, before the swap of the publish, and behind it, when nobody has been told yet.
POINTS = ["load.copying", "load.before_swap", "load.swapped"]
LARGEST = "building_footprints"
_NO_SIGN_OF_LIFE = "UPDATE postgres_sync.layer_leases SET seen_at = seen_at - interval '10 minutes' RETURNING 1"
_OF_LARGEST = f"SELECT count(*) FROM event_logs WHERE step_key = '{LARGEST}'"
_WAITS = f"{_OF_LARGEST} AND event LIKE '%waiting up to%'"
_RETRIED = f"{_OF_LARGEST} AND dagster_event_type = 'STEP_UP_FOR_RETRY'"


@pytest.fixture
def site(site_of):
    site = site_of()
    site.worker("spare", "-c", "2").wait_until_ready()
    return site


def harmed(site, point):
    """A run under way, of which one step is at the point, on a worker that runs no other."""
    worker = site.worker("harmed", "-c", "1", point=point)
    worker.wait_until_ready()
    run = site.run()
    worker.wait_until_stopped()
    return worker, run


@pytest.mark.parametrize("point", POINTS)
def test_a_worker_that_is_killed_is_made_up_for(site, point):
    readers = Readers(site.conninfo)
    with readers.reading():
        worker, run = harmed(site, point)
        worker.kill()
        site.finish(run)
    settled(site, harmed=True)
    readers.judge(site)


@pytest.mark.parametrize("point", POINTS)
def test_a_step_that_is_killed_alone_begins_again_at_once(site_of, point):
    """As when memory runs out: its worker goes on, and does not wait for FLUX_CELERY_LOST_AFTER."""
    site = site_of(lost_after=10 * PATIENCE)
    readers = Readers(site.conninfo)
    with readers.reading():
        worker, run = harmed(site, point)
        worker.kill_step()
        site.finish(run)
    settled(site, harmed=True)
    readers.judge(site)


def test_a_worker_that_is_asked_to_end_hands_its_step_on(site_of):
    site = site_of(lost_after=10 * PATIENCE)
    site.worker("spare", "-c", "2").wait_until_ready()
    worker, run = harmed(site, "load.copying")
    worker.process.send_signal(signal.SIGTERM)
    worker.process.wait(PATIENCE)
    site.finish(run)
    settled(site, harmed=True)


def test_redis_is_killed_and_started_again(site):
    readers = Readers(site.conninfo)
    with readers.reading():
        worker, run = harmed(site, "load.copying")
        site.redis.kill()
        worker.go_on()
        time.sleep(3)
        site.redis.start()
        site.finish(run)
    settled(site, harmed=True)
    readers.judge(site)


@pytest.fixture
def given_away(site_of):
    """The largest layer is at its COPY on a worker, and another worker was given it too, and waits."""
    site = site_of()
    site.worker("spare", "-Q", "dagster").wait_until_ready()
    first = site.worker("first", "-c", "1", "-Q", "flux_large", point="load.copying", step=LARGEST)
    first.wait_until_ready()
    run = site.run()
    first.wait_until_stopped()
    second = site.worker("second", "-c", "2", "-Q", "flux_large", point="load.copying", step=LARGEST)
    wait_until(lambda: site.history(_WAITS) == [(1,)], "the second attempt")
    return site, run, first, second


def test_a_step_that_takes_longer_than_a_worker_may_is_loaded_once(given_away):
    site, run, first, _ = given_away
    first.go_on()
    site.finish(run)
    settled(site, harmed=True)


def test_a_worker_that_comes_back_while_another_loads_what_it_had(given_away):
    """It was frozen for so long that its lease was overtaken, too."""
    site, run, first, second = given_away
    first.signal(signal.SIGSTOP)
    site.query(_NO_SIGN_OF_LIFE)
    second.wait_until_stopped()
    first.go_on()
    first.signal(signal.SIGCONT)
    wait_until(lambda: site.history(_RETRIED) == [(1,)], "the retry of the first")
    second.go_on()
    site.finish(run)
    settled(site, harmed=True)


def test_a_worker_that_comes_back_when_the_run_is_over(given_away):
    site, run, first, second = given_away
    first.signal(signal.SIGSTOP)
    site.query(_NO_SIGN_OF_LIFE)
    second.go_on()
    site.finish(run)
    settled(site, harmed=True)
    first.go_on()
    first.signal(signal.SIGCONT)
    wait_until(lambda: site.history(_RETRIED) == [(1,)], "the end of the first")
    # What it had staged is dropped by the layer's next load.
    settled(site, harmed=True, left={LARGEST})
