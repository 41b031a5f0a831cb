"""A request to stop, heard by every loop that reads a release, in whichever thread it runs."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import wait
from contextlib import closing, contextmanager
from contextvars import ContextVar, copy_context
from functools import partial
from threading import Condition, Thread
from typing import Generic, TypeVar

from flux_assets.retry import Call

_T = TypeVar("_T")
_Check = Callable[[], None]
_POLL_SECONDS = 0.2


def _nothing() -> None:
    """Check nothing: no stop can be requested."""


_check: ContextVar[_Check] = ContextVar("check", default=_nothing)


def check_stop() -> None:
    """Raise what the caller of `stoppable` raises to end the work."""
    _check.get()()


@contextmanager
def stoppable(check: _Check) -> Iterator[None]:
    """Have `check_stop` call `check` within the block, after the check of the block around it."""
    outer = _check.get()

    def both() -> None:
        outer()
        check()

    token = _check.set(both)
    try:
        yield
    finally:
        _check.reset(token)


def within(
    seconds: float, call: Callable[[], _T], cancel: _Check = _nothing, discard: Callable[[_T], object] | None = None
) -> _T:
    """Return what `call` returns, or raise what it raises; it runs in another thread.

    Raises TimeoutError after `seconds`, and what `check_stop` raises: `cancel` is then called, and the thread is
    abandoned, since a call into the network cannot be ended from outside; `discard` takes what it still returns.
    """
    outcome = Call(partial(copy_context().run, call))

    def abandon() -> None:
        cancel()
        if discard is not None:
            outcome.discard_by(discard)

    end = time.monotonic() + seconds
    try:
        while not outcome.done() and (left := end - time.monotonic()) > 0:
            check_stop()
            wait([outcome], min(_POLL_SECONDS, left))
    except BaseException:
        abandon()
        raise
    if outcome.done():
        return outcome.result()
    abandon()
    raise TimeoutError(f"no answer within {seconds:g} seconds")


class _ClosedError(Exception):
    """Ends a source whose reader is closed."""


class Ahead(Generic[_T]):
    """Iterates `source` in a thread, at most `depth` items ahead, which together weigh at most `weight` by `weigh`.

    An error of the source is raised where the items are read. `close`, or leaving a `with` block, ends the thread and
    the source. The thread closes the source itself, so a generator's `finally` runs in the thread that ran its body. A
    source that works for long without an item calls `check_stop`, which ends it once this is closed. A single item may
    have any weight.
    """

    def __init__(
        self,
        source: Generator[_T, None, None],
        name: str,
        depth: int = 4,
        *,
        weigh: Callable[[_T], int] = lambda _: 0,
        weight: int = 0,
    ) -> None:
        self._source, self._depth = source, depth
        self._weigh, self._weight = weigh, weight
        self._items: deque[_T] = deque()
        self._changed = Condition()
        self._done = self._closed = False
        self._error: BaseException | None = None
        self._thread = Thread(target=copy_context().run, args=(self._run,), name=name, daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[_T]:
        return self

    def __next__(self) -> _T:
        with self._changed:
            while not self._changed.wait_for(lambda: self._items or self._done or self._closed, _POLL_SECONDS):
                check_stop()
            if self._items and not self._closed:
                self._changed.notify_all()
                return self._items.popleft()
            error, self._error = self._error, None
        if error is not None:
            raise error
        raise StopIteration

    def __enter__(self) -> Ahead[_T]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the thread and wait for it; nothing can be read afterwards. May be called again, from any thread."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            with stoppable(self._check_closed), closing(self._source):
                for item in self._source:
                    if not self._put(item):
                        break
        except BaseException as caught:  # noqa: BLE001 - it is raised again, in the thread that reads
            error = caught
        with self._changed:
            self._error, self._done = error, True
            self._changed.notify_all()

    def _check_closed(self) -> None:
        if self._closed:
            raise _ClosedError

    def _put(self, item: _T) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._has_room(item) or self._closed)
            if not self._closed:
                self._items.append(item)
                self._changed.notify_all()
            return not self._closed

    def _has_room(self, item: _T) -> bool:
        held = sum(map(self._weigh, self._items)) + self._weigh(item)
        return not self._items or (len(self._items) < self._depth and held <= self._weight)
