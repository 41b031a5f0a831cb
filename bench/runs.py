"""Runs in turn and what they say, as tables and goals: on the console, as JSON and as Markdown."""

from __future__ import annotations

import json
import operator
import os
import re
import resource
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from statistics import median
from time import perf_counter
from typing import Any

import psutil
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.ground import Ground
from flux_assets.settings import REPOSITORY

Work = Callable[[], Mapping[str, float] | None]
Lines = Sequence[Sequence[str]]
_RESULTS = REPOSITORY / "bench" / "results"
_COUNTS = {"written"}
_LIMIT = re.compile(r"([≥≤<]?) ?([\d.]+)(.*)")
_JUDGED = {"≥": operator.ge, "≤": operator.le, "<": operator.lt, "": operator.eq}


@dataclass(frozen=True, kw_only=True)
class Side:
    """One way of doing a job: `run` is timed, `ready` is not; `around` encloses a run, and what it yields is kept."""

    run: Work
    ready: Callable[[], object] = lambda: None
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


@dataclass(frozen=True)
class Runs:
    """The runs of each side, in turn, and what their `around` yielded."""

    by_side: dict[str, list[Run]]
    seen: dict[str, list[Any]]

    def of(self, name: str, value: Callable[[Run], float]) -> Spread:
        """A figure of each run of a side."""
        return Spread(value(run) for run in self.by_side[name])

    def seconds(self, name: str) -> Spread:
        return self.of(name, lambda run: run.seconds)

    def wal_mb(self, name: str) -> Spread:
        return self.of(name, lambda run: run.wal_bytes / 1e6)

    def step(self, name: str, step: str) -> Spread:
        """What a run noted of a step; 0 where it had none of that name."""
        return self.of(name, lambda run: run.steps.get(step, 0.0))

    def ratio(self, slow: str, fast: str, of: Callable[[Run], float] = lambda run: run.seconds) -> Spread:
        """How many times as long the first took, pair by pair; `of` says what counts as the second's seconds."""
        return quotients(self.seconds(slow), self.of(fast, of))

    def cpu(self, name: str) -> str:
        """CPU seconds of client and servers, medians: less moved by what else the machine does than the clock is."""
        client, server = self.of(name, lambda run: run.client_cpu), self.of(name, lambda run: run.server_cpu)
        return f"{client.median:.1f} + {server.median:.1f}"

    def by_step(self, name: str, most: int = 12) -> str:
        """The median milliseconds of the longest steps."""
        steps = {step for step in self.by_side[name][0].steps if step not in _COUNTS}
        took = sorted(((self.step(name, step).median * 1e3, step) for step in steps), reverse=True)
        return f"{name}, by step, median ms: {', '.join(f'{step} {ms:.0f}' for ms, step in took[:most])}"

    def cells(self, name: str, base: str) -> list[str]:
        """A line about one side, under `columns`; each ratio is that of `base` to it."""
        ratio = self.ratio(base, name)
        disturbed = [max(a.disturbed, b.disturbed) for a, b in zip(*map(self.by_side.get, (base, name)), strict=True)]
        quietest = min(range(len(disturbed)), key=disturbed.__getitem__)
        return [
            name,
            f"{self.seconds(name):.3f}",
            f"{ratio:.2f}",
            f"{ratio[quietest]:.2f} ({disturbed[quietest]:.0%} for others)",
            self.cpu(name),
            f"{self.wal_mb(name):.3f}",
        ]

    def values(self) -> dict[str, Any]:
        """Every single run, for the JSON."""
        return {name: [asdict(run) for run in runs] for name, runs in self.by_side.items()}


def quotients(above: Iterable[float], below: Iterable[float]) -> Spread:
    """The quotient of each pair."""
    return Spread(a / b for a, b in zip(above, below, strict=True))


def alternated(
    ground: Ground, sides: Mapping[str, Side], pairs: int, change: Callable[[], object] = lambda: None
) -> Runs:
    """Run every side once, in turn, `pairs` times over: A B A B, so that a slow minute hits all of them.

    `change` is called before each round.
    """
    runs = Runs({name: [] for name in sides}, {name: [] for name in sides})
    for number in range(pairs):
        change()
        for name, side in sides.items():
            side.ready()
            with side.around() as seen:
                run = _timed(ground, side.run)
            runs.by_side[name].append(run)
            runs.seen[name].append(seen)
            ground.say(f"  {number + 1}/{pairs} {name}: {run.seconds:.3f} s ({run.disturbed:.0%} for others)")
    return runs


def _timed(ground: Ground, work: Work) -> Run:
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


@dataclass(frozen=True, kw_only=True)
class Section:
    """One experiment: a table, the goals it speaks to as lines of another, and every single value for the JSON."""

    title: str
    columns: Sequence[str]
    rows: Lines
    goals: Lines = ()
    notes: Sequence[str] = ()
    values: Mapping[str, object] = field(default_factory=dict)


def goal(claim: str, wanted: str, found: Spread | float, digits: int = 2, *, worst: bool = False) -> list[str]:
    """Judge a figure by a limit such as `≥ 1.6x`, `< 10 s` or `0`: of a spread its median, or its worst value."""
    parts = _LIMIT.fullmatch(wanted)
    assert parts is not None
    sign, limit, unit = parts.groups()
    value = found if isinstance(found, float | int) else max(found) if worst else found.median
    return [claim, wanted, f"{found:.{digits}f}{unit}", "yes" if _JUDGED[sign](value, float(limit)) else "NO"]


def columns(base: str) -> list[str]:
    """What the cells of a side say."""
    return ["what", "seconds", f"{base} / it", "in the quietest pair", "CPU s, client + servers", "WAL MB"]


def section(
    title: str, runs: Runs, base: str, *, goals: Lines = (), more: Lines = (), notes: Sequence[str] = ()
) -> Section:
    """A section with a line about each side, and `more` lines."""
    return Section(
        title=f"{title}, {len(runs.by_side[base])} rounds in turn",
        columns=columns(base),
        rows=[*(runs.cells(name, base) for name in runs.by_side), *more],
        goals=goals,
        notes=notes,
        values=runs.values(),
    )


def show(found: Section, console: Console) -> None:
    """Print one experiment."""
    console.print(_table(found, found.title), *(f"  {note}" for note in found.notes), sep="\n", highlight=False)


def finish(sections: Sequence[Section], facts: Mapping[str, str], console: Console, name: str) -> None:
    """Print the goals together, and write everything under bench/results/."""
    lines = [line for each in sections for line in each.goals]
    goals = Section(title="Goals", columns=("what", "goal", "measured", "met"), rows=lines)
    show(goals, console)
    _RESULTS.mkdir(exist_ok=True)
    stored = {"machine": dict(facts), "sections": [asdict(each) for each in sections]}
    (_RESULTS / f"{name}.json").write_text(json.dumps(stored, indent=1, default=str) + "\n")
    with (_RESULTS / f"{name}.md").open("w") as file:
        page = Console(file=file, width=10_000)
        page.print("# Benchmarks\n", *(f"- {fact}: {value}" for fact, value in facts.items()), sep="\n")
        for each in [goals, *sections]:
            page.print(f"\n## {each.title}\n", _table(each), "", sep="\n", markup=False)
            page.print(*(f"- {note}" for note in each.notes), sep="\n", markup=False)
    console.print(f"written: {_RESULTS / name}.json and .md", highlight=False)


def _table(found: Section, title: str | None = None) -> Table:
    """A table for the console, or without a title for a page of Markdown."""
    table = Table(*found.columns, title=title, title_justify="left", box=box.HEAVY_HEAD if title else box.MARKDOWN)
    for row in found.rows:
        table.add_row(*map(Text, row))
    return table
