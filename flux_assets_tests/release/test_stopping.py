"""Working ahead and calls that are given up: order, bounds, errors and what becomes of their ends."""

import queue
import threading

import pytest

from flux_assets.release.stopping import Ahead, stoppable, within


def counted(limit, given=None, closed=None):
    try:
        for number in range(limit):
            if given is not None:
                given.append(number)
            yield number
    finally:
        if closed is not None:
            closed.append(threading.current_thread().name)


def test_gives_everything_in_order():
    with Ahead(counted(1000), "count") as items:
        assert list(items) == list(range(1000))


def test_runs_only_so_far_ahead_and_ends_its_thread_when_closed():
    given, closed = [], []
    items = Ahead(counted(10**9, given, closed), "count far", depth=3)
    assert [next(items), next(items)] == [0, 1]
    items.close()
    assert given[-1] <= 2 + 3
    assert closed == ["count far"]
    assert "count far" not in [thread.name for thread in threading.enumerate()]
    with pytest.raises(StopIteration):
        next(items)
    items.close()


def test_an_error_comes_after_what_was_given_before_it():
    def broken():
        yield 1
        raise KeyError("broken")

    with Ahead(broken(), "break") as items:
        assert next(items) == 1
        with pytest.raises(KeyError, match="broken"):
            next(items)
        with pytest.raises(StopIteration):
            next(items)


def test_closing_frees_a_reader_that_waits():
    stop = threading.Event()

    def silent():
        stop.wait()
        yield 1

    items = Ahead(silent(), "silent")
    seen = []
    reader = threading.Thread(target=lambda: seen.extend(items))
    reader.start()
    threading.Timer(0.05, stop.set).start()
    items.close()
    reader.join(10)
    assert not reader.is_alive()
    assert seen in ([], [1])


@pytest.mark.parametrize("end", ["silence", "stop"])
def test_what_an_abandoned_call_returns_is_discarded(end):
    """An answer that comes when nobody waits for it any more would stay open."""
    answer, discarded = threading.Event(), queue.Queue()

    def stopped():
        if end == "stop":
            raise KeyError("stop")

    with pytest.raises((TimeoutError, KeyError)), stoppable(stopped):
        within(0.05, lambda: answer.wait(60) and "answer", discard=discarded.put)
    answer.set()
    assert discarded.get(timeout=60) == "answer"
