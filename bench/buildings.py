"""The largest layer: ours with audits, ours without, the published way, and the floor.

Here: four sides in turn over one file, each into a database of its own. Not here: more than one layer (whole.py).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from bench import floor, ours, published
from bench.ground import Ground
from bench.results import Goal, Section
from bench.timing import Run, Runs, Side, Spread, alternated, cpu, quietest, ratios, seconds
from flux_assets.postgis.connect import Target
from flux_assets.release.release import Release
from flux_assets.spec import StaticTable

Work = Callable[[], dict[str, float] | None]
ALONE = ("stage", "index", "analyze", "publish")
PUBLISHED, OURS, BARE, FLOOR = "published way", "ours, all audits", "ours, audits off", "floor"


def measure(ground: Ground, table: StaticTable, release: Release, pairs: int, keys: str) -> Section:
    """Load the layer again and again into where it has been published already."""
    sides = _sides(ground, table, release)
    runs = alternated(sides, pairs, ground)
    return Section(
        title=f"{table.name}, {keys}: one layer, {pairs} rounds in turn",
        columns=["way", "seconds", "published / it", "in the quietest pair", "CPU s, client + server", "WAL MB"],
        rows=[_row(runs, side.name) for side in sides],
        goals=_goals(runs, keys),
        notes=[
            "ours: load_layer with force into a published layer, from resolving the version to dropping the old one.",
            f"alone: the steps {' + '.join(ALONE)} of ours with audits off; the warning audits of a usual load run"
            " beside its index builds and take cores away from them.",
            f"ours by step, medians: {_steps(runs[OURS])}",
            f"audits off by step, medians: {_steps(runs[BARE])}",
        ],
        values={name: [vars(run) for run in found] for name, found in runs.items()},
    )


def _sides(ground: Ground, table: StaticTable, release: Release) -> list[Side]:
    ground.say("  encoding the rows for the floor, and a first load of each way")
    encoded = floor.encoded(table, release)
    old, new, low = (ground.fresh_database(name) for name in ("bench_published", "bench_ours", "bench_floor"))
    ours.load(table, release, new)
    ways: list[tuple[str, Work]] = [
        (PUBLISHED, partial(published.load, table, release, old)),
        (OURS, partial(_ours, table, release, new)),
        (FLOOR, partial(floor.load, table, encoded, low)),
        (BARE, partial(_bare, table, release, new)),
    ]
    return [Side(name=name, run=partial(_with_wal, ground, work), ready=ground.settle) for name, work in ways]


def _ours(table: StaticTable, release: Release, target: Target) -> dict[str, float]:
    return ours.load(table, release, target).seconds


def _bare(table: StaticTable, release: Release, target: Target) -> dict[str, float]:
    with ours.without_audits():
        return _ours(table, release, target)


def _with_wal(ground: Ground, work: Work) -> dict[str, float]:
    before = ground.wal_bytes()
    steps = work() or {}
    return {**steps, "wal_bytes": float(ground.wal_bytes() - before)}


def alone(run: Run) -> float:
    """Seconds of load, index and publish in a run of ours."""
    return sum(run.steps[step] for step in ALONE)


def _row(runs: Runs, name: str) -> list[str]:
    found = runs[name]
    wal = Spread(tuple(run.steps["wal_bytes"] / 1e6 for run in found))
    old = runs[PUBLISHED]
    return [
        name, seconds(found).text(), ratios(old, found).text(), quietest(old, found), cpu(found), f"{wal.median:.0f}"
    ]  # fmt: skip


def _goals(runs: Runs, keys: str) -> list[Goal]:
    whole = ratios(runs[PUBLISHED], runs[OURS])
    steps = ratios(runs[PUBLISHED], runs[BARE], alone)
    floors = Spread(tuple(alone(a) / b.seconds for a, b in zip(runs[BARE], runs[FLOOR], strict=True)))
    return [
        _at_least(f"buildings, {keys}, all audits inside: published / ours", 1.6, whole),
        _at_least(f"buildings, {keys}, load + index + publish alone: published / ours", 1.8, steps),
        _at_most(f"buildings, {keys}, load + index + publish alone: ours / floor", 1.4, floors),
    ]


def _at_least(claim: str, wanted: float, found: Spread) -> Goal:
    return Goal(claim=claim, wanted=f"≥ {wanted}x", measured=f"{found.text()}x", met=found.median >= wanted)


def _at_most(claim: str, wanted: float, found: Spread) -> Goal:
    return Goal(claim=claim, wanted=f"≤ {wanted}x", measured=f"{found.text()}x", met=found.median <= wanted)


def _steps(runs: list[Run]) -> str:
    names = [name for name in runs[0].steps if name != "wal_bytes"]
    return ", ".join(f"{name} {Spread(tuple(run.steps[name] for run in runs)).median:.2f}" for name in names)
