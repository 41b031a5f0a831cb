"""Readers of a table while it is synced: how long the longest one waited, and how many counts were wrong.

Here: our syncs, the same syncs of another table (what a busy machine alone costs readers), the way before, and
TRUNCATE with COPY in one transaction. Not here: a reader (sync_reader.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from bench import sync_ours, sync_published
from bench.ground import Ground
from bench.results import Goal, Section
from bench.sync_ends import Ends, ends
from bench.sync_reader import Notes, reading
from bench.sync_wal import batches_of
from flux_assets.postgis.connect import Target

MOST_BLOCKED_MS = 50.0
IDLE, OURS, BESIDE = "nothing happens", "ours", "ours, of a table that nobody reads"
PUBLISHED, RELOADED = "published way", "TRUNCATE + COPY in one transaction"
_KINDS = ("count", "key")


@dataclass
class Phase:
    """What was done, how often, and what readers noted meanwhile."""

    name: str
    notes: list[Notes] = field(default_factory=list)

    def reads(self, kind: str) -> int:
        return sum(notes.reads(kind) for notes in self.notes)

    def wrong(self, rows: int) -> int:
        return sum(notes.wrong(rows) for notes in self.notes)

    def milliseconds(self, kind: str) -> list[float]:
        return sorted(took for notes in self.notes for took in notes.milliseconds(kind))

    def row(self, rows: int) -> list[str]:
        least = min((notes.least() for notes in self.notes), key=int)
        return [
            self.name, str(len(self.notes)), f"{self.reads('count'):,}", f"{self.wrong(rows):,}", f"{least:,}",
            *map(_longest, (self.milliseconds(kind) for kind in _KINDS)),
        ]  # fmt: skip


def measure(ground: Ground, rows: int, syncs: int) -> Section:
    """Each phase with readers of its own, around every single sync."""
    with ends(ground) as both:
        phases = _phases(both, rows, syncs)
    mine = next(phase for phase in phases if phase.name == OURS)
    longest = max(max(mine.milliseconds(kind)) for kind in _KINDS)
    wrong, reads = mine.wrong(rows), mine.reads("count")
    return Section(
        title=f"work_orders, {rows:,} rows, 1 % changed, synced under readers",
        columns=[
            "while", "times", "counts read", "wrong", "least count",
            *(f"longest {what} ms (99.9 %, median)" for what in ("count", "look-up by key")),
        ],
        rows=[phase.row(rows) for phase in phases],
        goals=[
            Goal(claim=f"wrong counts, {reads:,} reads, {rows:,} rows", wanted="0", measured=str(wrong), met=not wrong),
            Goal(
                claim=f"longest read during a sync, {rows:,} rows", wanted=f"< {MOST_BLOCKED_MS:.0f} ms",
                measured=f"{longest:.1f} ms", met=longest < MOST_BLOCKED_MS,
            ),
        ],
        notes=[
            "two readers, each a process and a session: one counts all rows, one looks a row up by its key, again and"
            " again with 2 ms between",
            f"{BESIDE}: the same work on the same machine, so that what is longer in the line above is waiting",
        ],
        values={phase.name: {kind: phase.milliseconds(kind)[-50:] for kind in _KINDS} for phase in phases},
    )  # fmt: skip


def _phases(both: Ends, rows: int, syncs: int) -> list[Phase]:
    orders = both.orders(rows, "BENCH_READERS")
    mine, beside, old = (both.ground.fresh_database(f"bench_sync_{number}") for number in range(3))
    sync_published.set_up(old)
    for target in (mine, beside):
        sync_ours.sync(orders.account, target, sync_ours.all_names())
    sync_published.truncate_and_copy(batches_of(rows)(), old)

    def ours(target: Target) -> Callable[[], object]:
        return lambda: sync_ours.sync(orders.account, target)

    plan: list[tuple[str, Target, Callable[[], object], int]] = [
        (IDLE, mine, lambda: time.sleep(5), 1),
        (OURS, mine, ours(mine), syncs),
        (BESIDE, mine, ours(beside), syncs),
        (RELOADED, old, lambda: sync_published.truncate_and_copy(batches_of(rows)(), old), min(syncs, 3)),
        (PUBLISHED, old, lambda: sync_published.sync(orders.account, old), 1),
    ]
    return [_phase(both, orders.change, *each) for each in plan]


def _phase(
    both: Ends, change: Callable[[], None], name: str, read: Target, work: Callable[[], object], times: int
) -> Phase:
    phase = Phase(name)
    for _ in range(times):
        change()
        both.settle()
        with reading(read, _KINDS) as notes:
            work()
        phase.notes.append(notes)
    both.say(f"  {name}: {', '.join(phase.row(0)[2:])}")
    return phase


def _longest(times: list[float]) -> str:
    rare = times[min(len(times) - 1, round(len(times) * 0.999))]
    return f"{times[-1]:.1f} ({rare:.1f}, {times[len(times) // 2]:.1f})"
