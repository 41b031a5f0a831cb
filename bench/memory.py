"""How much a fresh process grows by a load or a sync: `python -m bench.memory load FOLDER` or `sync ROWS CHANGES`.

FLUX_BENCH_TARGET holds the conninfo of the probe. What it imports is imported before the size is taken.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from bench import ways
from bench.ground import Ground
from bench.releases import layer, opened
from bench.results import Section, goal
from bench.timing import Spread
from flux_assets.postgis.session import Target

Probe = dict[str, int]
_SYNCS = {"all rows are new": "0", "1 % changed": "1", "unchanged": "1"}


def of_loads(ground: Ground) -> Section:
    """A load of a quarter of the largest layer and of the whole, twice each."""
    target, scales = ground.fresh_database("bench_ours"), (ground.wanted.scale / 4, ground.wanted.scale)
    folders = {f"scale {scale:g}": str(ground.city(scale).address) for scale in scales}
    probes = {name: [_probe(ground, target, "load", folder) for _ in range(2)] for name, folder in folders.items()}
    return _section(f"a load of {layer().name}", "≤ 200 MB", probes)


def of_syncs(ground: Ground) -> Section:
    """A first sync, one with 1 % changed and one without any change, in one database."""
    target, rows = ground.fresh_database("bench_sync_0"), ground.wanted.rows * 10
    probes = {name: [_probe(ground, target, "sync", str(rows), changes)] for name, changes in _SYNCS.items()}
    return _section(f"a sync of {rows:,} rows fed as Arrow batches", "≤ 150 MB", probes)


def _section(what: str, wanted: str, probes: dict[str, list[Probe]]) -> Section:
    growth = {name: Spread((each["peak"] - each["before"]) / 1e6 for each in found) for name, found in probes.items()}
    sizes = {
        name: [f"{Spread(each[size] / 1e6 for each in found):.0f}" for size in ("before", "peak")]
        for name, found in probes.items()
    }
    return Section(
        title=f"Memory of {what}, a fresh process each time",
        columns=["what", "rows written", "size before, MB", "peak, MB", "growth, MB"],
        rows=[
            [name, f"{found[0]['written']:,}", *sizes[name], f"{growth[name]:.0f}"] for name, found in probes.items()
        ],
        goals=[goal(f"memory growth of {what}, largest", wanted, max(map(max, growth.values())), 0)],
        notes=["resident size after all imports, and of a sync after its rows were made once, against the later peak"],
        values=probes,
    )


def _probe(ground: Ground, target: Target, *arguments: str) -> Probe:
    said, _ = ground.python("-m", "bench.memory", *arguments, FLUX_BENCH_TARGET=target.conninfo)
    ground.say(f"  {' '.join(arguments)}: {said.strip()}")
    return dict(json.loads(said))


def main() -> None:
    work = _work(Target(conninfo=os.environ["FLUX_BENCH_TARGET"]), *sys.argv[1:])
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak that importing reached
    written = work()
    print(json.dumps({"before": before, "peak": _status("VmHWM"), "written": written}))


def _work(target: Target, kind: str, what: str, changes: str = "0") -> Callable[[], int]:
    """What is measured; it returns the rows written."""
    if kind == "load":
        return lambda: ways.load(layer(), opened(Path(what)), target).rows
    from bench.orders import Made, fed  # a load's probe must not have room left over from these imports

    made = Made(int(what), int(changes))
    for _ in made.batches():  # what making the rows costs is no growth of the sync
        pass
    return lambda: int(fed(made.batches, target)["written"])


def _status(name: str) -> int:
    """Bytes of a line of /proc/self/status."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
