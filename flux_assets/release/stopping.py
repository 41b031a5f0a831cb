"""A request to stop, heard by every loop that reads a release, in whichever thread it runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import partial
from typing import TypeVar

from flux_assets.retry import started

_T = TypeVar("_T")
Check = Callable[[], None]
_POLL_SECONDS = 0.2


def _nothing() -> None:
    """Check nothing: no stop can be requested."""


_check: ContextVar[Check] = ContextVar("check", default=_nothing)


def check_stop() -> None:
    """Raise what the caller of `stoppable` raises to end the work."""
    _check.get()()


@contextmanager
def stoppable(check: Check) -> Iterator[None]:
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


def pause(seconds: float) -> None:
    """Sleep, and wake for a request to stop."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        check_stop()
        time.sleep(min(_POLL_SECONDS, left))
    check_stop()


def within(seconds: float, call: Callable[[], _T], cancel: Check = _nothing) -> _T:
    """Return what `call` returns, or raise what it raises; it runs in another thread.

    Raises TimeoutError after `seconds`, and what `check_stop` raises: `cancel` is then called, and the thread is
    abandoned, since a call into the network cannot be ended from outside.
    """
    outcome = started(partial(copy_context().run, call))
    end = time.monotonic() + seconds
    try:
        while not outcome.done() and (left := end - time.monotonic()) > 0:
            check_stop()
            wait([outcome], min(_POLL_SECONDS, left))
    except BaseException:
        cancel()
        raise
    if outcome.done():
        return outcome.result()
    cancel()
    raise TimeoutError(f"no answer within {seconds:g} seconds")
