"""Steps of one run on threads: they overlap, fail alone, keep their order, and stop when asked."""

import os
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import dagster as dg
import pytest
from dagster import DagsterEventType as Event

from flux_assets.errors import LayerError
from flux_assets.orchestration.executor import _POLL_SECONDS, stop_of, threads_executor
from flux_assets_tests.running import Run, run_assets

Body = Callable[[dg.AssetExecutionContext], None]
PATIENCE = 60


def asset(name: str, body: Body = lambda context: None, priority: int = 0, **more) -> dg.AssetsDefinition:
    @dg.asset(name=name, op_tags={"dagster/priority": str(priority)}, **more)
    def made_up(context: dg.AssetExecutionContext) -> None:
        body(context)

    return made_up


def run(instance: dg.DagsterInstance, *assets: dg.AssetsDefinition, threads: int = 2, **more) -> Run:
    executor = threads_executor.configured({"max_concurrent": threads})
    defs = dg.Definitions(assets=assets, executor=executor, **more)
    return run_assets(defs, instance, *[key.to_user_string() for asset in assets for key in asset.keys])


def test_steps_overlap(instance):
    """Each waits until the other is there, so one after the other they would never end well."""
    meeting = threading.Barrier(2, timeout=PATIENCE)
    assert run(instance, *[asset(name, lambda context: meeting.wait()) for name in "ab"]).succeeded


def test_no_more_steps_at_a_time_than_allowed(instance):
    present, most, lock = 0, 0, threading.Lock()
    first_two = threading.Barrier(2, timeout=PATIENCE)
    arrivals = iter(range(5))

    def body(context):
        nonlocal present, most
        with lock:
            present, most, arrival = present + 1, max(most, present + 1), next(arrivals)
        if arrival < 2:
            first_two.wait()
        with lock:
            present -= 1

    assert run(instance, *[asset(name, body) for name in "abcde"], threads=2).succeeded
    assert most == 2


def test_higher_priority_goes_first(instance):
    finished = run(
        instance, asset("small", priority=1), asset("large", priority=3), asset("middle", priority=2), threads=1
    )
    assert finished.steps(Event.STEP_START) == ["large", "middle", "small"]


def test_a_failing_step_leaves_the_others_alone(instance):
    failed = threading.Event()

    def fail(context):
        failed.set()
        raise dg.Failure("made to fail", allow_retries=False)

    finished = run(instance, asset("bad", fail), asset("good", lambda context: failed.wait(PATIENCE)), asset("later"))
    assert finished.status == dg.DagsterRunStatus.FAILURE
    assert finished.steps(Event.STEP_FAILURE) == ["bad"]
    assert sorted(finished.materialized()) == ["good", "later"]


def test_an_unexpected_error_fails_the_step_with_its_frames(instance):
    finished = run(instance, asset("bad", lambda context: 1 / 0))
    assert "ZeroDivisionError" in finished.failure("bad")
    assert "test_executor.py" in finished.failure("bad")


def test_what_depends_on_a_failed_step_is_not_run(instance):
    def fail(context):
        raise dg.Failure("made to fail")

    finished = run(instance, asset("bad", fail), asset("after", deps=["bad"]), asset("apart"))
    assert finished.steps(Event.STEP_START) == ["bad", "apart"] or finished.steps(Event.STEP_START) == ["apart", "bad"]
    assert sorted(finished.materialized()) == ["apart"]


def test_a_step_that_asks_for_it_is_tried_again(instance):
    tries = Counter()

    def body(context):
        tries[context.op_execution_context.op.name] += 1
        if tries["flaky"] == 1 and context.op_execution_context.op.name == "flaky":
            raise dg.RetryRequested(max_retries=1)

    finished = run(instance, asset("flaky", body), asset("steady", body))
    assert finished.succeeded
    assert tries == {"flaky": 2, "steady": 1}
    assert finished.steps(Event.STEP_UP_FOR_RETRY) == ["flaky"]


def test_resources_are_set_up_once_for_all_steps(instance):
    made = []

    @dg.resource
    def shared(_):
        made.append(threading.current_thread().name)
        yield object()
        made.append("torn down")

    assets = [asset(name, required_resource_keys={"shared"}) for name in "abc"]
    assert run(instance, *assets, resources={"shared": shared}).succeeded
    assert made == [threading.current_thread().name, "torn down"]


def test_what_a_step_logs_is_filed_under_that_step(instance):
    meeting = threading.Barrier(3, timeout=PATIENCE)

    def body(context):
        name = context.op_execution_context.op.name
        for line in range(5):
            meeting.wait()
            context.log.info(f"{name} {line}")

    finished = run(instance, *[asset(name, body) for name in "abc"], threads=3)
    for name in "abc":
        assert finished.lines(name) == [f"{name} {line}" for line in range(5)]


def test_hooks_see_the_end_of_their_step(instance):
    seen = []

    @dg.success_hook
    def remember(context):
        seen.append(context.op.name)

    job_asset = asset("a", hooks={remember})
    assert run(instance, job_asset, asset("b")).succeeded
    assert seen == ["a"]


@pytest.mark.parametrize("wanted", [True, False])
def test_an_interruption_stops_running_statements_and_starts_nothing_more(instance, target, sql, wanted):
    """`wanted` is Terminate in the UI, which marks the run first; otherwise it is Ctrl-C or SIGTERM."""
    ready = threading.Barrier(2, timeout=PATIENCE)

    def sleep(context):
        stop = stop_of(context.run.run_id)
        with target.session("sleeping", stop) as session:
            if ready.wait() == 0:
                if wanted:
                    context.instance.report_run_canceling(context.run)
                os.kill(os.getpid(), signal.SIGTERM)
            session.execute("SELECT pg_sleep(600)")

    finished = run(instance, *[asset(name, sleep, priority=1) for name in "ab"], asset("never"))
    assert finished.status == (dg.DagsterRunStatus.CANCELED if wanted else dg.DagsterRunStatus.FAILURE)
    assert sorted(finished.steps(Event.STEP_FAILURE)) == ["a", "b"]
    assert "never" not in finished.steps(Event.STEP_START)
    assert sql("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '%%sleeping%%'") == [(0,)]


def test_a_second_interruption_does_not_wait_for_a_step_that_will_not_end(instance):
    ended = threading.Event()

    def stubborn(context):
        os.kill(os.getpid(), signal.SIGINT)
        with suppress(LayerError):
            stop_of(context.run.run_id).wait(PATIENCE)
        os.kill(os.getpid(), signal.SIGINT)
        ended.wait(PATIENCE)

    try:
        finished = run(instance, asset("stubborn", stubborn))
        assert finished.status == dg.DagsterRunStatus.FAILURE
        (thread,) = [thread for thread in threading.enumerate() if thread.name == "stubborn"]
    finally:
        ended.set()
    thread.join(PATIENCE)


def test_a_signal_that_takes_longer_than_a_wait_for_reports_does_not_make_that_wait_endless(instance):
    """queue.SimpleQueue.get() of CPython waits for ever when a signal is handled past the end of its timeout."""
    handled = threading.Event()

    def main_frame():
        return sys._current_frames()[threading.main_thread().ident]

    def slow(*_: object) -> None:
        time.sleep(2 * _POLL_SECONDS)
        handled.set()

    def waiting(context):
        while "_reported" not in [frame.name for frame in traceback.extract_stack(main_frame())]:
            time.sleep(_POLL_SECONDS / 20)
        time.sleep(_POLL_SECONDS / 4)  # from the entry of that function to the wait in it
        os.kill(os.getpid(), signal.SIGUSR1)
        assert handled.wait(PATIENCE)
        os.kill(os.getpid(), signal.SIGINT)
        stop_of(context.run.run_id).wait(PATIENCE)
        pytest.fail("nobody asked to stop")

    before = signal.signal(signal.SIGUSR1, slow)
    try:
        finished = run(instance, asset("waiting", waiting))
    finally:
        signal.signal(signal.SIGUSR1, before)
    (failure,) = finished.events(Event.STEP_FAILURE)
    assert "Stopped on request" in str(failure.event_specific_data.error)


def test_outside_a_run_of_this_executor_nobody_asks_to_stop():
    assert not stop_of("no such run").asked
