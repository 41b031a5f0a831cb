"""The whole release, cold: ten layers from first byte to last publish, and the command that a user types.

Here: the pool in this process, the real `dagster asset materialize`, and both again when nothing changed. Not here:
one layer closely (buildings.py).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from functools import partial
from time import perf_counter

from bench import ours, published
from bench.ground import Ground
from bench.results import Goal, Section
from bench.timing import Runs, Side, Spread, alternated, cpu, quietest, ratios, seconds
from flux_assets.postgis.connect import Target
from flux_assets.release.release import Release
from flux_assets.settings import REPOSITORY
from flux_assets.spec import StaticTable

PUBLISHED, POOL, COMMAND = "published way, serial", "ours, two layers at once", "ours, the whole command"
AT_ONCE = 2
_COMMAND = [sys.executable, "-m", "dagster", "asset", "materialize", "-m", "flux_assets.definitions"]
_SELECT = ["--select", "group:static_layers"]
_STEP = re.compile(r"- (\w+) - STEP_SUCCESS - .* in ([\d.]+)(m?s)")


def measure(ground: Ground, tables: tuple[StaticTable, ...], release: Release, pairs: int, keys: str) -> Section:
    """Load everything into an empty database, each way in turn, then twice more with nothing changed."""
    places: dict[str, Target] = {}

    def empty(name: str) -> Callable[[], None]:
        def make() -> None:
            places[name] = ground.fresh_map_database() if name == "flux" else ground.fresh_database(name)
            ground.settle()

        return make

    def pool() -> dict[str, float]:
        begun = perf_counter()
        results = ours.load_all(tables, release, places["bench_ours"], AT_ONCE)
        steps = {f"{name} {step}": took for name, found in results.items() for step, took in found.seconds.items()}
        return {**steps, "pool": perf_counter() - begun}

    def old() -> None:
        published.load_all(tables, release, places["bench_published"])

    sides = [
        Side(name=PUBLISHED, run=old, ready=empty("bench_published")),
        Side(name=POOL, run=pool, ready=empty("bench_ours")),
        Side(name=COMMAND, run=partial(command, ground, release), ready=empty("flux")),
    ]
    ground.cluster.ensure_plain_database()
    runs = alternated(sides, pairs, ground)
    again = alternated([Side(name=COMMAND, run=partial(command, ground, release))], 3, ground)
    layers = _unchanged(tables, release, places["bench_ours"])
    return Section(
        title=f"The whole release of {len(tables)} layers, {keys}, into an empty database, {pairs} rounds in turn",
        columns=["way", "seconds", "published / it", "in the quietest pair", "CPU s, client + server"],
        rows=[
            *(_row(runs, side.name) for side in sides),
            ["ours, the whole command again, nothing changed", seconds(again[COMMAND]).text(), "", ""],
            ["ours, one unchanged layer, in process", layers.text(3), "", "", ""],
        ],
        goals=_goals(runs, again, layers, keys),
        notes=[
            "The database is empty; the server has just been told to write a checkpoint; files are in the page cache.",
            f"the slowest steps in the pool, medians: {_slowest(runs)}",
        ],
        values={name: [vars(run) for run in found] for name, found in {**runs, "again": again[COMMAND]}.items()},
    )


def command(ground: Ground, release: Release) -> dict[str, float]:
    """`dagster asset materialize` of the whole group, in a process of its own; seconds of each step."""
    environment = ground.environment() | {"FLUX_RELEASE": str(release.address)}
    _, said = published.run([*_COMMAND, *_SELECT], environment, REPOSITORY)
    return {step: float(took) / (1000 if unit == "ms" else 1) for step, took, unit in _STEP.findall(said)}


def _unchanged(tables: tuple[StaticTable, ...], release: Release, target: Target) -> Spread:
    times = []
    for table in tables:
        begun = perf_counter()
        if ours.load(table, release, target, force=False).outcome != "unchanged":
            raise RuntimeError(f"{table.name} was loaded again")
        times.append(perf_counter() - begun)
    return Spread(tuple(times))


def _row(runs: Runs, name: str) -> list[str]:
    old, found = runs[PUBLISHED], runs[name]
    return [name, seconds(found).text(1), ratios(old, found).text(), quietest(old, found), cpu(found)]


def _slowest(runs: Runs) -> str:
    names = runs[POOL][0].steps
    medians = {name: Spread(tuple(run.steps.get(name, 0.0) for run in runs[POOL])).median for name in names}
    slowest = sorted(medians, key=lambda name: -medians[name])[:12]
    return ", ".join(f"{name} {medians[name]:.2f}" for name in slowest)


def _goals(runs: Runs, again: Runs, layers: Spread, keys: str) -> list[Goal]:
    pool, whole = ratios(runs[PUBLISHED], runs[POOL]), ratios(runs[PUBLISHED], runs[COMMAND])
    quick, slowest = seconds(again[COMMAND]), max(layers.values)
    return [
        Goal(
            claim=f"whole release, {keys}, first byte to last publish: published / ours",
            wanted="≥ 2x", measured=f"{pool.text()}x", met=pool.median >= 2,
        ),
        Goal(
            claim=f"whole release, {keys}, the whole command: published / ours",
            wanted="≥ 1.5x", measured=f"{whole.text()}x", met=whole.median >= 1.5,
        ),
        Goal(
            claim="the whole command, nothing changed", wanted="< 10 s",
            measured=f"{quick.text(1)} s", met=quick.median < 10,
        ),
        Goal(
            claim="one unchanged layer", wanted="< 1 s", measured=f"{layers.text(3)} s", met=slowest < 1,
        ),
    ]  # fmt: skip
