"""Calls of the connector that end in time: its own time-outs count silence, and a byte now and then is none.

Here: a call on a thread of its own, and giving it up. Not here: how long each may take (account.py).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


class GivenUpError(Exception):
    """The other side did not answer in time. The call goes on without us, and what it gives is discarded."""


def started(work: Callable[[], T]) -> Future[T]:
    """Begin a call. Its thread is a daemon: a call that never ends keeps no process from ending."""
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:  # noqa: BLE001 - it is raised where the outcome is waited for
            outcome.set_exception(error)

    Thread(target=run, name="flux_assets snowflake", daemon=True).start()
    return outcome


def awaited(outcome: Future[T], seconds: float, discard: Callable[[T], object] | None = None) -> T:
    """What the call gives. Raises GivenUpError after `seconds`; `discard` takes what it gives after that."""
    try:
        return outcome.result(timeout=seconds)
    except BaseException as error:
        if not outcome.done() and discard is not None:
            outcome.add_done_callback(partial(_discarded, discard))
        if isinstance(error, TimeoutError) and not outcome.done():
            raise GivenUpError(f"no answer within {seconds:g} s; the session was closed") from None
        raise


def _discarded(discard: Callable[[T], object], outcome: Future[T]) -> None:
    """On a thread of its own: discarding may mean to wait for the same other side."""
    if outcome.exception() is None:
        started(partial(discard, outcome.result()))
