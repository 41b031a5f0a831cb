"""Trying again what a retry can cure: few times, with growing, jittered pauses, bounded in total.

Here: the policy. Not here: what is retryable (faults.py) and making a new session (session.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, stop_before_delay
from tenacity.wait import wait_exponential, wait_random

from flux_assets.errors import WarehouseError

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How often and for how long (seconds) to try; none begins after `total`.

    Pauses double from `pause` seconds on; what chance adds to one is at most `pause`, and none exceeds `longest_pause`.
    """

    attempts: int = 4
    pause: float = 0.5
    longest_pause: float = 8.0
    total: float = 90.0

    def spend(self, work: Callable[[], T], before_again: Callable[[BaseException], None]) -> T:
        """The result of `work`, tried again on retryable errors after `before_again`; the last error otherwise."""

        def prepare(state: RetryCallState) -> None:
            if state.outcome is not None and (error := state.outcome.exception()) is not None:
                before_again(error)

        policy = Retrying(
            retry=retry_if_exception(lambda error: isinstance(error, WarehouseError) and error.retryable),
            stop=stop_after_attempt(self.attempts) | stop_before_delay(self.total),
            # Chance is added to the pause: one that it chose from nothing on would often be no pause at all.
            wait=wait_exponential(multiplier=self.pause, max=self.longest_pause - self.pause)
            + wait_random(0, self.pause),
            before_sleep=prepare,
            reraise=True,
        )
        return policy(work)
