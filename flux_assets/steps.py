"""The steps of a load, a rollback and a sync: how long each took, and named points at which a test can stop the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter


@dataclass
class StepTimer:
    """Seconds by step; steps may overlap. `total` counts from the creation of the timer."""

    seconds: dict[str, float] = field(default_factory=dict)
    _begun: float = field(default_factory=perf_counter)

    @property
    def total(self) -> float:
        return perf_counter() - self._begun

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Add the duration of the block to a step."""
        begun = perf_counter()
        try:
            yield
        finally:
            self.seconds[step] = self.seconds.get(step, 0.0) + perf_counter() - begun


# Called with the name of each point that the process reaches. Only tests add to it.
hooks: list[Callable[[str], None]] = []


def reach(point: str) -> None:
    """Call the hooks with the name of the point that the run has reached."""
    for hook in hooks:
        hook(point)
