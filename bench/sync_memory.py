"""How much a process grows that syncs a million rows, fed as Arrow batches.

Here: a first sync, one with 1 % changed and one without any change, each in a fresh process. Not here: that process
(sync_memory_probe.py).
"""

from __future__ import annotations

import json
import os
import sys

from bench import published
from bench.ground import Ground
from bench.results import Goal, Section
from flux_assets.settings import REPOSITORY

MOST_GROWTH = 150_000_000
_SYNCS = (("all rows are new", 0), ("1 % changed", 1), ("unchanged", 1))


def measure(ground: Ground, rows: int) -> Section:
    """One after the other, in one database."""
    environment = dict(os.environ) | {"FLUX_BENCH_TARGET": ground.fresh_database("bench_sync_0").conninfo}
    found = {}
    for name, changes in _SYNCS:
        command = [sys.executable, "-m", "bench.sync_memory_probe", str(rows), str(changes)]
        found[name] = dict(json.loads(published.run(command, environment, REPOSITORY)[0]))
        ground.say(f"  {name}: {found[name]}")
    growth = {name: probe["peak"] - probe["before"] for name, probe in found.items()}
    largest = max(growth.values())
    return Section(
        title=f"Memory of a sync of {rows:,} rows fed as Arrow batches, a fresh process each time",
        columns=["sync", "rows written", "size before, MB", "peak, MB", "growth, MB"],
        rows=[
            [name, f"{probe['written']:,}", *(f"{probe[size] / 1e6:.0f}" for size in ("before", "peak")),
             f"{growth[name] / 1e6:.0f}"]
            for name, probe in found.items()
        ],
        goals=[
            Goal(
                claim=f"memory growth of a sync of {rows:,} rows, largest", wanted=f"≤ {MOST_GROWTH / 1e6:.0f} MB",
                measured=f"{largest / 1e6:.0f} MB", met=largest <= MOST_GROWTH,
            )
        ],
        notes=[
            "resident size after all imports, and after the batches were made once, against the peak during the sync,"
            " which makes them anew, 65,536 rows at a time"
        ],
        values=found,
    )  # fmt: skip
