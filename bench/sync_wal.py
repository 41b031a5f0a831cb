"""What a sync of 100,000 rows writes into the WAL, and what an unchanged one costs, with a reader counting.

Here: our part alone, fed with Arrow batches, beside the whole path through the stand-in, and TRUNCATE with COPY in one
transaction from the same batches. Not here: readers' waits (sync_readers.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from statistics import median

import pyarrow as pa

from bench import sync_ours, sync_published
from bench.ground import Ground
from bench.results import Goal, Section
from bench.sync_ends import Ends, ends
from bench.sync_orders import Made
from bench.sync_reader import reading
from bench.timing import Run, Runs, Spread, cpu, seconds, timed
from flux_assets.postgis.connect import Target

MOST_SHARE = 0.35
MOST_UNCHANGED_BYTES = 200_000
LEAST_FASTER = 5.0
RELOADED = "TRUNCATE + COPY, one transaction"
FED, FED_SAME, TOKEN_SAME = "ours, fed, 1 % changed", "ours, fed, unchanged", "ours, unchanged by its change token"
WHOLE, WHOLE_SAME = "ours, whole path, 1 % changed", "ours, whole path, unchanged"


def batches_of(rows: int) -> sync_ours.Batches:
    """As many work orders, made before they are asked for."""
    made = list(Made(rows).batches())
    return lambda: iter(made)


@dataclass
class _Fed:
    """A source of batches whose content changes when it is told to."""

    made: Made
    held: list[pa.RecordBatch]

    def change(self) -> None:
        self.made.change()
        self.held = list(self.made.batches())

    def batches(self) -> Iterator[pa.RecordBatch]:
        return iter(self.held)


def measure(ground: Ground, rows: int, pairs: int) -> Section:
    """Every way in turn; each has a database of its own, and a checkpoint before each run."""
    with ends(ground) as both:
        runs = _runs(both, rows, pairs)
    shares = Spread(tuple(a / b for a, b in zip(_wal(runs[FED]), _wal(runs[RELOADED]), strict=True)))
    least = max(_wal(runs[FED_SAME]))
    gates = {"a fingerprint of what was read": FED_SAME, "a change token, as Snowflake has it": TOKEN_SAME}
    return Section(
        title=f"WAL and seconds of a sync, work_orders, {rows:,} rows, {pairs} rounds in turn",
        columns=["way", "WAL MB", "seconds", "CPU s, client + servers"],
        rows=[
            [name, Spread(tuple(b / 1e6 for b in _wal(found))).text(3), seconds(found).text(3), cpu(found)]
            for name, found in runs.items()
        ],
        goals=[
            Goal(
                claim=f"WAL, {rows:,} rows, 1 % changed: ours / TRUNCATE + COPY", wanted=f"≤ {MOST_SHARE}x",
                measured=f"{shares.text(3)}x", met=shares.median <= MOST_SHARE,
            ),
            Goal(
                claim=f"WAL, {rows:,} rows, unchanged, the most", wanted=f"< {MOST_UNCHANGED_BYTES / 1e3:.0f} kB",
                measured=f"{least / 1e3:.0f} kB", met=least < MOST_UNCHANGED_BYTES,
            ),
            *(
                Goal(
                    claim=f"ours fed with batches, {rows:,} rows: 1 % changed / unchanged by {gate}",
                    wanted=f"≥ {LEAST_FASTER:g}x", measured=f"{_faster(runs, FED, same).text(1)}x",
                    met=_faster(runs, FED, same).median >= LEAST_FASTER,
                )
                for gate, same in gates.items()
            ),
        ],
        notes=[
            "a checkpoint before each run, so that each page written first is whole in the WAL; the changed rows lie"
            " all over the table",
            "fed: the rows are Arrow batches in memory; sign-in to PostgreSQL, encoding, fingerprint and all that"
            " follows is inside",
            f"whole path, with the source's reading and the connector inside: 1 % changed / unchanged"
            f" {_faster(runs, WHOLE, WHOLE_SAME).text(1)}x, for the stand-in has no change token",
            *(f"{name}, by step, median ms: {_steps(found)}" for name, found in runs.items() if name != RELOADED),
        ],
        values={name: [vars(run) for run in found] for name, found in runs.items()},
    )  # fmt: skip


def _runs(both: Ends, rows: int, pairs: int) -> Runs:
    orders, made = both.orders(rows, "BENCH_WAL"), Made(rows)
    fed = _Fed(made, list(made.batches()))
    whole, alone, old, told = (both.ground.fresh_database(f"bench_sync_{number}") for number in range(4))
    sync_published.set_up(old)

    def sync(target: Target, token: str | None = None) -> dict[str, float]:
        return sync_ours.steps(sync_ours.sync_fed(fed.batches, target, token))

    def through() -> dict[str, float]:
        return sync_ours.steps(sync_ours.sync(orders.account, whole))

    def nothing() -> None: ...

    plan: list[tuple[str, Callable[[], None], Callable[[], dict[str, float] | None], Target]] = [
        (RELOADED, fed.change, lambda: sync_published.truncate_and_copy(fed.batches(), old), old),
        (FED, nothing, partial(sync, alone), alone),
        (FED_SAME, nothing, partial(sync, alone), alone),
        (TOKEN_SAME, partial(sync, told, "1"), partial(sync, told, "1"), told),
        (WHOLE, orders.change, through, whole),
        (WHOLE_SAME, nothing, through, whole),
    ]  # fmt: skip
    sync_published.truncate_and_copy(fed.batches(), old)
    for target in (alone, told):
        sync_ours.sync_fed(fed.batches, target, names=sync_ours.all_names())
    sync_ours.sync(orders.account, whole, sync_ours.all_names())
    runs: Runs = {name: [] for name, *_ in plan}
    for number in range(pairs):
        for name, ready, work, target in plan:
            ready()
            both.settle()
            with reading(target):
                run = timed(partial(_with_wal, both.ground, work), both)
            runs[name].append(run)
            both.say(f"  {number + 1}/{pairs} {name}: {run.seconds:.3f} s, {run.steps['wal_bytes'] / 1e6:.3f} MB")
    return runs


def _with_wal(ground: Ground, work: Callable[[], dict[str, float] | None]) -> dict[str, float]:
    before = ground.wal_bytes()
    steps = work() or {}
    return {**steps, "wal_bytes": float(ground.wal_bytes() - before)}


def _wal(found: list[Run]) -> list[float]:
    return [run.steps["wal_bytes"] for run in found]


def _faster(runs: Runs, slow: str, fast: str) -> Spread:
    return Spread(tuple(a.seconds / b.seconds for a, b in zip(runs[slow], runs[fast], strict=True)))


def _steps(found: list[Run]) -> str:
    names = [name for name in found[0].steps if name not in {"wal_bytes", "written"}]
    return ", ".join(f"{name} {median(run.steps.get(name, 0.0) for run in found) * 1000:.0f}" for name in names)
