"""What grows with the rows of a layer: memory should not, time should in proportion.

Here: a quarter of the release against the whole of it. Not here: the process that is measured (memory_probe.py).
"""

from __future__ import annotations

import json
import os
import sys
from functools import partial

from bench import ours, published
from bench.ground import Ground
from bench.results import Goal, Section
from bench.timing import Side, Spread, alternated
from flux_assets.postgis.connect import Target
from flux_assets.release.release import Release
from flux_assets.settings import REPOSITORY
from flux_assets.spec import StaticTable

MOST_GROWTH = 200_000_000


def memory(ground: Ground, table: StaticTable, releases: dict[float, Release], rounds: int) -> Section:
    """Load one layer of each size in a fresh process, and see how much the process grew."""
    target = ground.fresh_database("bench_ours")
    found = {scale: [_probe(table, release, target) for _ in range(rounds)] for scale, release in releases.items()}
    growth = {scale: Spread(tuple((p["peak"] - p["before"]) / 1e6 for p in probes)) for scale, probes in found.items()}
    largest = max(max(spread.values) for spread in growth.values())
    return Section(
        title=f"Memory of a load of {table.name}, a fresh process each time",
        columns=["scale", "rows", "size before, MB", "peak, MB", "growth, MB"],
        rows=[
            [f"{scale:g}", f"{p[0]['rows']:,}", _megabytes(p, "before"), _megabytes(p, "peak"), growth[scale].text(0)]
            for scale, p in found.items()
        ],
        goals=[
            Goal(
                claim="memory growth of a load, largest", wanted=f"≤ {MOST_GROWTH / 1e6:.0f} MB",
                measured=f"{largest:.0f} MB", met=largest * 1e6 <= MOST_GROWTH,
            )
        ],
        notes=["resident size after all imports and before the load began, against the peak during the load"],
        values={str(scale): probes for scale, probes in found.items()},
    )  # fmt: skip


def linear(ground: Ground, table: StaticTable, releases: dict[float, Release], pairs: int) -> Section:
    """Rows a second at both sizes, in turn."""
    sides: list[Side] = []
    for scale, release in releases.items():
        target = ground.fresh_database(f"bench_{len(sides)}")
        ours.load(table, release, target)
        sides.append(Side(name=f"{scale:g}", run=partial(_rows, table, release, target), ready=ground.settle))
    runs = alternated(sides, pairs, ground)
    rates = {name: Spread(tuple(run.steps["rows"] / run.seconds for run in found)) for name, found in runs.items()}
    small, large = (rates[side.name] for side in sides)
    shares = Spread(tuple(b / a for a, b in zip(small.values, large.values, strict=True)))
    return Section(
        title=f"Rows a second of {table.name} by size, {pairs} rounds in turn",
        columns=["scale", "rows/s", "seconds"],
        rows=[
            [name, rate.text(0), Spread(tuple(run.seconds for run in runs[name])).text()]
            for name, rate in rates.items()
        ],
        goals=[
            Goal(
                claim=f"rows/s at scale {sides[1].name} / at scale {sides[0].name}",
                wanted="≥ 0.9x", measured=f"{shares.text()}x", met=shares.median >= 0.9,
            )
        ],
        values={name: [vars(run) for run in found] for name, found in runs.items()},
    )  # fmt: skip


def _rows(table: StaticTable, release: Release, target: Target) -> dict[str, float]:
    result = ours.load(table, release, target)
    return {**result.seconds, "rows": result.rows}


def _probe(table: StaticTable, release: Release, target: Target) -> dict[str, int]:
    command = [sys.executable, "-m", "bench.memory_probe", table.name, str(release.address)]
    environment = dict(os.environ) | {"FLUX_BENCH_TARGET": target.conninfo}
    return dict(json.loads(published.run(command, environment, REPOSITORY)[0]))


def _megabytes(probes: list[dict[str, int]], name: str) -> str:
    return Spread(tuple(probe[name] / 1e6 for probe in probes)).text(0)
