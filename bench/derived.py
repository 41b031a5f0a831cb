"""Computing the derived layers, each from its inputs as they are published."""

from __future__ import annotations

from statistics import median
from time import perf_counter

from bench import layers
from bench.ground import Ground
from bench.runs import Section, goal
from flux_assets.layers.context import LoadOptions
from flux_assets.layers.load import load_layer
from flux_assets.tables import catalogue, static_tables

MOST_SECONDS = {"vegetation_risk_computed": 30, "circuit_service_areas": 20}


def derived(ground: Ground) -> Section:
    """Load the inputs once, then compute each derived layer again and again."""
    target = ground.fresh_database("bench_derived")
    read = {name for table in catalogue().computed if table.computed for name in table.computed.inputs}
    layers.load_all([table for table in static_tables() if table.name in read], ground.city(), lambda _: target)
    rows, goals = [], []
    for table in catalogue().computed:
        seconds = []
        for _ in range(ground.wanted.pairs):
            begun = perf_counter()
            result = load_layer(table, None, target, LoadOptions(force=True), layers.quiet)
            seconds.append(perf_counter() - begun)
        rows.append([table.name, f"{result.rows:,}", f"{median(seconds):.1f} ({min(seconds):.1f}-{max(seconds):.1f})"])
        if most := MOST_SECONDS.get(table.name):
            goals.append(goal(f"{table.name}, longest", f"≤ {most} s", max(seconds), 1))
    return Section(
        title="Derived layers computed, staged, audited and published",
        columns=["layer", "rows", "seconds"],
        rows=rows,
        goals=goals,
        notes=[],
    )
