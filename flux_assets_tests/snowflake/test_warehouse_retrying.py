"""How long is waited between attempts, by a clock of the test's own."""

from dataclasses import dataclass, field

import pytest
import tenacity
import tenacity.nap

from flux_assets.errors import WarehouseError
from flux_assets.retry import RetryPolicy


@dataclass
class Clock:
    """In the place of the module `time`, for the library that waits: what it is told to sleep passes at once."""

    now: float = 0
    pauses: list[float] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.pauses.append(seconds)


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    for module in (tenacity, tenacity.nap):
        monkeypatch.setattr(module, "time", clock)
    return clock


def spend(patience: RetryPolicy) -> None:
    def fails() -> None:
        raise WarehouseError("Nothing works.", retryable=True)

    with pytest.raises(WarehouseError, match="Nothing works"):
        patience.spend(fails, lambda _: None)


def test_pauses_double_and_chance_makes_none_shorter(clock):
    spend(RetryPolicy())
    first, second, third = clock.pauses
    assert 0.5 <= first <= 1 <= second <= 1.5 < 2 <= third <= 2.5


def test_pauses_stop_growing_at_their_bound_and_end_with_the_time(clock):
    spend(RetryPolicy(attempts=10**6))
    growing, full = clock.pauses[:4], clock.pauses[4:]
    assert growing == sorted(growing)
    assert len(full) >= 8
    assert all(7.5 <= pause <= 8 for pause in full)
    assert 90 - 8 <= clock.now < 90


def test_not_all_wait_equally_long(clock):
    """Those whom one fault threw out together would come back together."""
    for _ in range(20):
        spend(RetryPolicy(attempts=2))
    assert len(set(clock.pauses)) > 1
