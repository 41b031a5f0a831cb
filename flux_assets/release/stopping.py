"""A request to stop, heard by every loop that reads a release, on whichever thread it runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeVar

T = TypeVar("T")
Check = Callable[[], None]
_POLL_SECONDS = 0.2


def _nothing() -> None:
    """Nobody asks to stop."""


_check: ContextVar[Check] = ContextVar("check", default=_nothing)


def check_stop() -> None:
    """Raise what the caller of `stoppable` raises once it wants the work to end."""
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
    """Sleep, and wake up for a request to stop."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        check_stop()
        time.sleep(min(_POLL_SECONDS, left))
    check_stop()


def within(seconds: float, call: Callable[[], T], cancel: Check = _nothing) -> T:
    """Return what `call` returns, or raise what it raises; it runs on a thread of its own.

    Raises TimeoutError after `seconds`, and what `check_stop` raises: `cancel` is then called, and the thread is left
    to itself, since a call into the network cannot be ended from outside.
    """
    answers: SimpleQueue[tuple[T, None] | tuple[None, BaseException]] = SimpleQueue()

    def answer() -> None:
        try:
            answers.put((call(), None))
        except BaseException as error:  # noqa: BLE001 - it is raised again, in the thread that waits
            answers.put((None, error))

    Thread(target=copy_context().run, args=(answer,), name="network", daemon=True).start()
    try:
        result, error = _awaited(answers, seconds)
    except BaseException:
        cancel()
        raise
    if error is not None:
        raise error
    return result  # type: ignore[return-value]  # there is a result where there is no error


def _awaited(answers: SimpleQueue[T], seconds: float) -> T:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        check_stop()
        try:
            return answers.get(timeout=min(_POLL_SECONDS, left))
        except Empty:
            continue
    raise TimeoutError(f"no answer within {seconds:g} seconds")
