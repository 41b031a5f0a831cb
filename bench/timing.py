"""Alternated runs, and what is said of them.

Here: running sides in turn, medians with their spread, ratios of pairs. Not here: what a side does.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import Protocol

import psutil

Steps = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Side:
    """One way of doing a job. `ready` is not timed; `run` is, and may return seconds by step."""

    name: str
    run: Callable[[], Steps | None]
    ready: Callable[[], None] = lambda: None


@dataclass(frozen=True, kw_only=True)
class Run:
    """One timed run: seconds on the clock, and of CPU: of this process with its programs, of the server, of others."""

    seconds: float
    client_cpu: float
    server_cpu: float
    other_cpu: float
    steps: dict[str, float] = field(default_factory=dict)

    @property
    def disturbed(self) -> float:
        """The share of the machine that others had meanwhile; above a few hundredths the clock says little."""
        return self.other_cpu / self.seconds / (os.cpu_count() or 1)


@dataclass(frozen=True)
class Spread:
    """Median, minimum and maximum of some runs."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.values)

    def text(self, digits: int = 2) -> str:
        """`median (minimum-maximum)`."""
        return f"{self.median:.{digits}f} ({min(self.values):.{digits}f}-{max(self.values):.{digits}f})"


Runs = dict[str, list[Run]]


class Place(Protocol):
    """Where sides run: tells the user, and knows the server's CPU seconds so far."""

    @property
    def say(self) -> Callable[[str], None]: ...

    def server_cpu(self) -> float: ...


def alternated(sides: Sequence[Side], pairs: int, place: Place) -> Runs:
    """Run every side once, in turn, `pairs` times over: A B A B, so that a slow minute hits all of them."""
    runs: Runs = {side.name: [] for side in sides}
    for number in range(pairs):
        for side in sides:
            side.ready()
            run = timed(side.run, place)
            runs[side.name].append(run)
            place.say(f"  {number + 1}/{pairs} {side.name}: {run.seconds:.2f} s ({run.disturbed:.0%} for others)")
    return runs


def timed(work: Callable[[], Steps | None], place: Place) -> Run:
    """Run once and look at the clocks."""
    server, client, busy, begun = place.server_cpu(), _client_cpu(), _busy_cpu(), perf_counter()
    steps = dict(work() or {})
    took, busy, client = perf_counter() - begun, _busy_cpu() - busy, _client_cpu() - client
    server = place.server_cpu() - server
    other = max(0.0, busy - client - server)
    return Run(seconds=took, client_cpu=client, server_cpu=server, other_cpu=other, steps=steps)


def seconds(runs: Sequence[Run]) -> Spread:
    """Seconds on the clock."""
    return Spread(tuple(run.seconds for run in runs))


def ratios(slow: Sequence[Run], fast: Sequence[Run], of: Callable[[Run], float] = lambda run: run.seconds) -> Spread:
    """How many times as long the first took, pair by pair; `of` says what counts as the second's seconds."""
    return Spread(tuple(a.seconds / of(b) for a, b in zip(slow, fast, strict=True)))


def quietest(slow: Sequence[Run], fast: Sequence[Run]) -> str:
    """The ratio of the pair in which others had least of the machine."""
    pair = min(zip(slow, fast, strict=True), key=lambda pair: max(run.disturbed for run in pair))
    return f"{pair[0].seconds / pair[1].seconds:.2f} ({max(run.disturbed for run in pair):.0%} for others)"


def cpu(runs: Sequence[Run]) -> str:
    """CPU seconds of client and server, medians: less moved by what else the machine does than the clock is."""
    client, server = (median(getattr(run, name) for run in runs) for name in ("client_cpu", "server_cpu"))
    return f"{client:.1f} + {server:.1f}"


def _busy_cpu() -> float:
    """CPU seconds that the whole machine has worked, or had taken away by its host."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + getattr(times, "steal", 0.0))


def _client_cpu() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
