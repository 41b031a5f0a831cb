"""Calls that end in time, whatever the other side does: time-outs of clients count silence, which one byte ends."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from threading import Thread
from typing import TypeVar

_T = TypeVar("_T")


class GivenUpError(Exception):
    """The other side did not answer in time. The call is abandoned, and its result discarded."""


def started(work: Callable[[], _T]) -> Future[_T]:
    """Begin a call in a daemon thread, so that a call that never ends keeps no process from ending."""
    outcome: Future[_T] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:  # noqa: BLE001 - it is raised where the outcome is waited for
            outcome.set_exception(error)

    Thread(target=run, name="flux_assets network", daemon=True).start()
    return outcome


def awaited(outcome: Future[_T], seconds: float, discard: Callable[[_T], object] | None = None) -> _T:
    """Return the result of the call. Raises GivenUpError after `seconds`; `discard` takes a result that comes later."""
    try:
        return outcome.result(timeout=seconds)
    except BaseException as error:
        if not outcome.done() and discard is not None:
            outcome.add_done_callback(partial(_discarded, discard))
        if isinstance(error, TimeoutError) and not outcome.done():
            raise GivenUpError(f"no answer within {seconds:g} s; the session was closed") from None
        raise


def _discarded(discard: Callable[[_T], object], outcome: Future[_T]) -> None:
    """Discard in another thread, since discarding may wait for the same other side."""
    if outcome.exception() is None:
        started(partial(discard, outcome.result()))
