"""Attempts at what the other side may refuse or never answer: few, with jittered pauses, each ended in time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from threading import Thread
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_before_delay, wait_random
from tenacity.nap import sleep as sleep_through

from flux_assets.errors import FluxError

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How often and for how long (seconds) to try; no attempt begins after `total`.

    Pauses double from `pause` seconds on. Jitter adds at most `pause` to one, and none exceeds `longest_pause`. Work
    that reports progress is tried until `attempts` in a row brought none.
    """

    attempts: int = 4
    pause: float = 0.5
    longest_pause: float = 8.0
    total: float = 90.0

    def spend(
        self,
        work: Callable[[], _T],
        before_again: Callable[[BaseException], object] = lambda _: None,
        *,
        progress: Callable[[], int] = lambda: 0,
        sleep: Callable[[float], None] = sleep_through,
    ) -> _T:
        """Return the result of `work`, tried again on retryable errors after `before_again`; raise the last error.

        `progress` tells how far the work is: whatever makes it grow starts the count of attempts anew.
        """
        fruitless = reached = 0

        def count(_state: RetryCallState) -> None:
            nonlocal fruitless, reached
            now = progress()
            fruitless, reached = (1 if now > reached else fruitless + 1), now

        def prepare(state: RetryCallState) -> None:
            if state.outcome is not None and (error := state.outcome.exception()) is not None:
                before_again(error)

        def wait(state: RetryCallState) -> float:
            # Jitter is added to the pause: a pause that is random as a whole would often be none.
            longer: float = self.pause * 2 ** min(fruitless - 1, 30)
            return min(self.longest_pause - self.pause, longer) + jitter(state)

        jitter = wait_random(0, self.pause)
        out_of_time = stop_before_delay(self.total)
        policy = Retrying(
            retry=retry_if_exception(lambda error: isinstance(error, FluxError) and error.retryable),
            after=count,
            wait=wait,
            stop=lambda state: fruitless >= self.attempts or out_of_time(state),
            before_sleep=prepare,
            reraise=True,
            sleep=sleep,
        )
        return policy(work)


class GivenUpError(Exception):
    """The other side did not answer in time. The call is abandoned, and its result discarded."""


class Call(Future[_T]):
    """A call that is under way in a daemon thread, so that one that never ends keeps no process from ending."""

    def __init__(self, work: Callable[[], _T]) -> None:
        super().__init__()
        Thread(target=self._run, args=(work,), name="flux_assets network", daemon=True).start()

    def _run(self, work: Callable[[], _T]) -> None:
        try:
            self.set_result(work())
        except BaseException as error:  # noqa: BLE001 - it is raised where the outcome is waited for
            self.set_exception(error)

    def within(self, seconds: float, discard: Callable[[_T], object] | None = None) -> _T:
        """Return the result. Raises GivenUpError after `seconds`; `discard` takes a result that comes later."""
        try:
            return self.result(timeout=seconds)
        except BaseException as error:
            if not self.done() and discard is not None:
                self.discard_by(discard)
            if isinstance(error, TimeoutError) and not self.done():
                raise GivenUpError(f"no answer within {seconds:g} s; the session was closed") from None
            raise

    def discard_by(self, discard: Callable[[_T], object]) -> None:
        """Have `discard` take the result, which nobody waits for any more."""
        self.add_done_callback(partial(_discarded, discard))


def _discarded(discard: Callable[[_T], object], outcome: Future[_T]) -> None:
    """Discard in another thread, since discarding may wait for the same other side."""
    if outcome.exception() is None:
        Call(partial(discard, outcome.result()))
