"""Runs in turn, and what they say: medians with their spread, ratios of pairs."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from statistics import median
from time import perf_counter
from typing import Any

import psutil

from bench.ground import Ground

Work = Callable[[], Mapping[str, float] | None]


def nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """One way of doing a job: `run` is timed, `ready` is not; `around` encloses a run, and what it yields is kept."""

    run: Work
    ready: Callable[[], object] = nothing
    around: Callable[[], AbstractContextManager[Any]] = nullcontext


@dataclass(frozen=True, kw_only=True)
class Run:
    """One timed run: seconds on the clock, and of CPU: of this process with its programs, of the servers, of others."""

    seconds: float
    client_cpu: float
    server_cpu: float
    other_cpu: float
    wal_bytes: int
    steps: dict[str, float] = field(default_factory=dict)

    @property
    def disturbed(self) -> float:
        """The share of the machine that others had meanwhile; above a few hundredths the clock says little."""
        return self.other_cpu / self.seconds / (os.cpu_count() or 1)


class Spread(tuple[float, ...]):
    """Some values; formatted, they are `median (minimum-maximum)`."""

    __slots__ = ()

    @property
    def median(self) -> float:
        return median(self)

    def __format__(self, spec: str) -> str:
        return f"{self.median:{spec}} ({min(self):{spec}}-{max(self):{spec}})"


class Runs(dict[str, list[Run]]):
    """The runs of each side, in turn; what their `around` yielded is in `seen`."""

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__({name: [] for name in names})
        self.seen: dict[str, list[Any]] = {name: [] for name in self}

    def of(self, name: str, value: Callable[[Run], float]) -> Spread:
        """A figure of each run."""
        return Spread(value(run) for run in self[name])

    def seconds(self, name: str) -> Spread:
        """Seconds on the clock."""
        return self.of(name, lambda run: run.seconds)

    def wal_mb(self, name: str) -> Spread:
        """Megabytes of WAL written."""
        return self.of(name, lambda run: run.wal_bytes / 1e6)

    def step(self, name: str, step: str) -> Spread:
        """What a run noted of a step; 0 where it had none of that name."""
        return self.of(name, lambda run: run.steps.get(step, 0.0))

    def ratio(self, slow: str, fast: str, of: Callable[[Run], float] = lambda run: run.seconds) -> Spread:
        """How many times as long the first took, pair by pair; `of` says what counts as the second's seconds."""
        return Spread(a.seconds / of(b) for a, b in zip(self[slow], self[fast], strict=True))

    def quietest(self, slow: str, fast: str) -> str:
        """The ratio of the pair in which others had least of the machine."""
        disturbed = [max(a.disturbed, b.disturbed) for a, b in zip(self[slow], self[fast], strict=True)]
        least = min(disturbed)
        return f"{self.ratio(slow, fast)[disturbed.index(least)]:.2f} ({least:.0%} for others)"

    def cpu(self, name: str) -> str:
        """CPU seconds of client and servers, medians: less moved by what else the machine does than the clock is."""
        client, server = self.of(name, lambda run: run.client_cpu), self.of(name, lambda run: run.server_cpu)
        return f"{client.median:.1f} + {server.median:.1f}"

    def by_step(self, name: str, most: int = 12) -> str:
        """The median milliseconds of the longest steps."""
        took = {step: self.step(name, step).median * 1e3 for step in self[name][0].steps if step not in _COUNTS}
        longest = sorted(took, key=lambda step: -took[step])[:most]
        return f"{name}, by step, median ms: {', '.join(f'{step} {took[step]:.0f}' for step in longest)}"

    def values(self) -> dict[str, Any]:  # type: ignore[override]
        """Every single run, for the JSON."""
        return {name: [asdict(run) for run in runs] for name, runs in self.items()}


_COUNTS = {"rows", "written"}


def alternated(
    ground: Ground, sides: Mapping[str, Side], pairs: int, change: Callable[[], object] = nothing
) -> Runs:  # fmt: skip
    """Run every side once, in turn, `pairs` times over: A B A B, so that a slow minute hits all of them.

    `change` is called before each round.
    """
    runs = Runs(sides)
    for number in range(pairs):
        change()
        for name, side in sides.items():
            side.ready()
            with side.around() as seen:
                run = timed(ground, side.run)
            runs[name].append(run)
            runs.seen[name].append(seen)
            ground.say(f"  {number + 1}/{pairs} {name}: {run.seconds:.3f} s ({run.disturbed:.0%} for others)")
    return runs


def timed(ground: Ground, work: Work) -> Run:
    """Run once and look at the clocks."""
    wal, server = ground.wal_bytes(), ground.server_cpu()
    client, busy, begun = _client_cpu(), _busy_cpu(), perf_counter()
    steps = dict(work() or {})
    took, busy, client = perf_counter() - begun, _busy_cpu() - busy, _client_cpu() - client
    server, wal = ground.server_cpu() - server, ground.wal_bytes() - wal
    other = max(0.0, busy - client - server)
    return Run(seconds=took, client_cpu=client, server_cpu=server, other_cpu=other, wal_bytes=wal, steps=steps)


def _busy_cpu() -> float:
    """CPU seconds that the whole machine has worked, or had taken away by its host."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + getattr(times, "steal", 0.0))


def _client_cpu() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
