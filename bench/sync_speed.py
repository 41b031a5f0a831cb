"""The whole sync of one table, 1 % of its rows changed, against the way before, with a reader counting all the time.

Here: three sizes, and the smallest once more with the database 20 ms away; what the reader saw meanwhile. Not here:
how long readers wait (sync_waits.py).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

from bench import sync_ours, sync_published
from bench.ground import Ground
from bench.results import Goal, Section
from bench.sync_ends import SHARE, Ends, Orders, ends
from bench.sync_reader import Notes, reading
from bench.timing import Run, cpu, ratios, seconds, timed
from flux_assets.postgis.connect import Target

PUBLISHED, OURS = "published way", "ours"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One line of the goals. `pairs` is the most that are run: the published way takes its time."""

    name: str
    rows: int
    each_way: float = 0.0
    least: float
    pairs: int


CASES = (
    Case(name="1k rows", rows=1_000, least=8, pairs=11),
    Case(name="10k rows", rows=10_000, least=20, pairs=5),
    Case(name="100k rows", rows=100_000, least=30, pairs=5),
    Case(name="1k rows, 20 ms round trip", rows=1_000, each_way=0.010, least=50, pairs=3),
)
QUICK = (
    Case(name="1k rows", rows=1_000, least=8, pairs=2),
    Case(name="100 rows, 20 ms round trip", rows=100, each_way=0.010, least=5, pairs=1),
)


@dataclass
class Found:
    """The runs of one case, and what the readers noted in each."""

    case: Case
    runs: dict[str, list[Run]] = field(default_factory=lambda: {PUBLISHED: [], OURS: []})
    notes: dict[str, list[Notes]] = field(default_factory=lambda: {PUBLISHED: [], OURS: []})

    def wrong(self, side: str) -> int:
        return sum(notes.wrong(self.case.rows) for notes in self.notes[side])

    def reads(self, side: str) -> int:
        return sum(notes.reads() for notes in self.notes[side])

    def longest(self, side: str) -> float:
        return max(notes.longest_ms() for notes in self.notes[side])

    def row(self, side: str) -> list[str]:
        runs = self.runs[side]
        return [
            self.case.name, side, str(len(runs)), seconds(runs).text(3), ratios(self.runs[PUBLISHED], runs).text(1),
            cpu(runs), f"{self.reads(side):,}", f"{self.wrong(side):,}", f"{self.longest(side):.0f}",
        ]  # fmt: skip

    def goal(self) -> Goal:
        found = ratios(self.runs[PUBLISHED], self.runs[OURS])
        return Goal(
            claim=f"whole sync, {self.case.name}, 1 % changed: published / ours ({len(found.values)} pairs)",
            wanted=f"≥ {self.case.least:g}x", measured=f"{found.text(1)}x", met=found.median >= self.case.least,
        )  # fmt: skip


def measure(ground: Ground, pairs: int, *, quick: bool) -> Section:
    """Every case in turn."""
    with ends(ground) as both:
        found = [_case(both, case, min(pairs, case.pairs), f"S{n}") for n, case in enumerate(QUICK if quick else CASES)]
    wrong, reads = sum(each.wrong(OURS) for each in found), sum(each.reads(OURS) for each in found)
    return Section(
        title="One table (work_orders) from the stand-in into PostGIS, 1 % of its rows changed, in turn",
        columns=[
            "case", "way", "runs", "seconds", "published / it", "CPU s, client + servers", "counts read", "wrong",
            "longest count ms",
        ],
        rows=[each.row(side) for each in found for side in (PUBLISHED, OURS)],
        goals=[
            *(each.goal() for each in found),
            Goal(claim=f"wrong counts under ours, {reads:,} reads", wanted="0", measured=str(wrong), met=not wrong),
        ],
        notes=[
            "both: from before the first connection to the last one's end; opening the sessions with the stand-in and"
            " with PostgreSQL is inside, importing Python packages is not",
            "published way: the connector's fetchall, TRUNCATE, INSERT a row at a time, autocommit, psycopg2",
            f"ours: sync_tables with all three tables declared and work_orders asked for; of the {SHARE:.0%} that"
            " differ one row in ten is new and one in ten gone",
            "the reader counts all rows, waits 2 ms, counts again; its CPU seconds count as others'",
            *(_steps(each) for each in found),
        ],
        values={each.case.name: _values(each) for each in found},
    )  # fmt: skip


def _case(both: Ends, case: Case, pairs: int, name: str) -> Found:
    both.say(f"  {case.name}")
    orders, found = both.orders(case.rows, f"BENCH_{name}"), Found(case)
    targets = {side: both.ground.fresh_database(f"bench_sync_{n}") for n, side in enumerate((PUBLISHED, OURS))}
    sync_published.set_up(targets[PUBLISHED])
    with ExitStack() as stack:
        near = dict(targets)
        if case.each_way:
            targets = {side: stack.enter_context(both.delayed(target, case.each_way)) for side, target in near.items()}
        sync_published.sync(orders.account, near[PUBLISHED])
        sync_ours.sync(orders.account, near[OURS], sync_ours.all_names())
        ways: dict[str, Callable[[], dict[str, float] | None]] = {
            PUBLISHED: partial(sync_published.sync, orders.account, targets[PUBLISHED]),
            OURS: lambda: sync_ours.steps(sync_ours.sync(orders.account, targets[OURS])),
        }
        for number in range(pairs):
            orders.change()
            for side, way in ways.items():
                _run(both, found, side, way, near[side])
                run = found.runs[side][-1]
                both.say(f"  {number + 1}/{pairs} {side}: {run.seconds:.3f} s ({run.disturbed:.0%} for others)")
    _check(found, orders, near)
    return found


def _run(both: Ends, found: Found, side: str, way: Callable[[], dict[str, float] | None], target: Target) -> None:
    both.settle()
    with reading(target) as notes:
        found.runs[side].append(timed(way, both))
    found.notes[side].append(notes)


def _check(found: Found, orders: Orders, targets: dict[str, Target]) -> None:
    """Both tables hold the same, and each run of ours wrote just what had changed."""
    wanted = max(round(orders.rows * SHARE), 3)
    written = {run.steps["written"] for run in found.runs[OURS]}
    if written != {wanted}:
        raise RuntimeError(f"{found.case.name}: {wanted} rows were to be written, not {written}")
    contents = {side: sync_published.content(target) for side, target in targets.items()}
    if contents[PUBLISHED] != contents[OURS]:
        raise RuntimeError(f"{found.case.name}: the two ways left different rows: {contents}")


def _steps(found: Found) -> str:
    runs = found.runs[OURS]
    names = [name for name in runs[0].steps if name != "written"]
    shown = (f"{name} {sorted(run.steps.get(name, 0.0) for run in runs)[len(runs) // 2] * 1000:.0f}" for name in names)
    return f"ours by step, {found.case.name}, median ms: {', '.join(shown)}"


def _values(found: Found) -> dict[str, object]:
    return {
        side: [
            {**vars(run), "reads": notes.reads(), "wrong": notes.wrong(found.case.rows), "least": notes.least(),
             "longest_ms": notes.longest_ms()}
            for run, notes in zip(found.runs[side], found.notes[side], strict=True)
        ]
        for side in (PUBLISHED, OURS)
    }  # fmt: skip
