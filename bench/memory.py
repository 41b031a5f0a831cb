"""How much a fresh process grows by a load or a sync: `python -m bench.memory load FOLDER` or `sync ACCOUNT`.

`plain` in place of `load` leaves the index on geographies out. FLUX_BENCH_TARGET holds the conninfo of the probe. What
it imports is imported before the size is taken.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
from pathlib import Path
from time import perf_counter

from bench import layers
from bench.ground import LAYER, Ground, opened, plain_layer
from bench.runs import Section, Spread, goal
from flux_assets.postgis.session import Target

Probe = dict[str, float]


def of_loads(ground: Ground) -> Section:
    """A load of a quarter of the largest layer and of the whole, twice each."""
    target, scales = ground.fresh_database("bench_ours"), (ground.wanted.scale / 4, ground.wanted.scale)
    folders = {f"scale {scale:g}": str(ground.city(scale).address) for scale in scales}
    probes = {name: [probe(ground, target, "load", folder) for _ in range(2)] for name, folder in folders.items()}
    return _section(f"a load of {LAYER.name}", "≤ 200 MB", probes)


def of_syncs(ground: Ground) -> Section:
    """A first sync, one with 1 % changed and one without any change, in one database."""
    from bench.orders import stand_in_running  # a load's probe must not have room left over from these imports

    target, rows, probes = ground.fresh_database("bench_sync_0"), ground.wanted.rows * 10, {}
    with stand_in_running(ground) as orders:
        source = orders(rows)
        for name in ("all new", "1 % changed", "unchanged"):
            if name == "1 % changed":
                source.change()
            probes[name] = [probe(ground, target, "sync", pickle.dumps(source.account).hex())]
    return _section(f"a sync of {rows:,} rows", "≤ 150 MB", probes)


def _section(what: str, wanted: str, probes: dict[str, list[Probe]]) -> Section:
    sizes = ("before", "peak", "growth")
    spreads = {name: [Spread(each[size] / 1e6 for each in found) for size in sizes] for name, found in probes.items()}
    largest = max(max(growth) for *_, growth in spreads.values())
    return Section(
        title=f"Memory of {what}, a fresh process each time; MB after all imports, and the later peak",
        columns=["what", "rows written", *sizes],
        rows=[
            [name, f"{probes[name][0]['written']:,}", *(f"{spread:.0f}" for spread in found)]
            for name, found in spreads.items()
        ],
        goals=[goal(f"memory growth of {what}, largest", wanted, largest, 0)],
        values=probes,
    )


def probe(ground: Ground, target: Target, *arguments: str) -> Probe:
    """What a process of its own says of a load or a sync: bytes, rows and seconds."""
    said, _ = ground.python("-m", "bench.memory", *arguments, FLUX_BENCH_TARGET=target.conninfo)
    ground.say(f"  {said.strip()}")
    return dict(json.loads(said))


def main() -> None:
    target, (kind, what) = Target(conninfo=os.environ["FLUX_BENCH_TARGET"]), sys.argv[1:]
    if kind == "sync":
        from bench.orders import ALL_NAMES, Orders

        source = Orders(pickle.loads(bytes.fromhex(what)), target)
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak that importing reached
    begun = perf_counter()
    if kind == "sync":
        steps = source.into(target, *ALL_NAMES)
    else:
        loaded = layers.load(LAYER if kind == "load" else plain_layer(), opened(Path(what)), target)
        steps = {**loaded.seconds, "written": loaded.rows, "table": loaded.table_bytes}
    took, peak = perf_counter() - begun, _status("VmHWM")
    print(json.dumps({"before": before, "peak": peak, "growth": peak - before, "seconds": took, **steps}))


def _status(name: str) -> int:
    """Bytes of a line of /proc/self/status."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
