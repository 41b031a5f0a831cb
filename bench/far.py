"""PostgreSQL 20 ms away: a release of small layers loaded, in seconds and in round trips of each layer.

`python -m bench.far PORT DOORS` is the proxy, a process of its own whose threads do not wait for the client's: it
prints the ports of as many ways to the server, and for each line of input how many round trips each has seen.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import IO

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from bench import layers
from bench.ground import Ground
from bench.runs import Section, Side, Spread, alternated
from flux_assets.postgis.session import Target
from flux_assets.release.release import Release
from flux_assets.settings import REPOSITORY
from flux_assets.tables import static_tables
from flux_assets_tests.faults.wire import wire_to

EACH_WAY = 0.010
SCALE = 0.002
FIRST, FORCED, UNCHANGED = "first load", "forced reload", "unchanged"
DATABASE = "bench_far"
SECONDS, TRIPS = "seconds", "round trips"


@dataclass(frozen=True)
class Distance:
    """A running proxy, and the database behind each of its doors."""

    asked: IO[str]
    told: IO[str]
    targets: list[Target]

    def trips(self) -> list[int]:
        """How often, through each door, a client sent something and had to wait."""
        print(file=self.asked, flush=True)
        return list(json.loads(self.told.readline()))


@contextmanager
def distant(ground: Ground, target: Target, doors: int = 1) -> Iterator[Distance]:
    """The same database far away, while the block runs; the proxy's CPU seconds count as the servers'."""
    command = [sys.executable, "-m", "bench.far", str(conninfo_to_dict(target.conninfo)["port"]), str(doors)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=REPOSITORY, text=True, stdin=pipe, stdout=pipe) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        ground.pids.append(process.pid)
        ports = json.loads(process.stdout.readline())
        conninfos = [make_conninfo(target.conninfo, host="127.0.0.1", port=port) for port in ports]
        try:
            yield Distance(process.stdin, process.stdout, [Target(conninfo=conninfo) for conninfo in conninfos])
        finally:
            ground.pids.remove(process.pid)
            process.terminate()


def far(ground: Ground) -> Section:
    """Load all layers into an empty database, load them again, and once more with nothing changed."""
    release, names = ground.city(SCALE), [table.name for table in static_tables()]

    def ready(kind: str) -> None:
        if kind == FIRST:
            ground.fresh_database(DATABASE)
        ground.settle()

    with distant(ground, ground.fresh_database(DATABASE), len(names)) as distance:
        sides = {
            kind: Side(run=partial(_load, release, distance, kind), ready=partial(ready, kind))
            for kind in (FIRST, FORCED, UNCHANGED)
        }
        runs = alternated(ground, sides, ground.wanted.few)
    trips = {kind: {name: runs.step(kind, f"{name} {TRIPS}") for name in names} for kind in sides}
    totals = {kind: Spread([sum(each.median for each in found.values())]) for kind, found in trips.items()}
    rows = {name: [(runs.step(kind, f"{name} {SECONDS}"), trips[kind][name]) for kind in sides] for name in names}
    rows["all"] = [(runs.seconds(kind), totals[kind]) for kind in sides]
    return Section(
        title=f"A release of {len(names)} small layers (scale {SCALE:g}), two at once, PostgreSQL"
        f" {EACH_WAY * 2e3:.0f} ms away, {ground.wanted.few} rounds in turn",
        columns=["layer", *(f"{kind}: {what}" for kind in sides for what in (SECONDS, TRIPS))],
        rows=[
            [name, *(cell for took, count in row for cell in (f"{took.median:.2f}", f"{count.median:.0f}"))]
            for name, row in rows.items()
        ],
        notes=["a round trip: something is sent and then waited for; opening a session takes some too"],
        values={**runs.values(), TRIPS: trips},
    )


def _load(release: Release, distance: Distance, kind: str) -> dict[str, float]:
    tables, before = static_tables(), distance.trips()
    targets = dict(zip((table.name for table in tables), distance.targets, strict=True))
    found = layers.load_all(tables, release, lambda table: targets[table.name], force=kind == FORCED)
    outcomes = {name: each.outcome for name, (_, each) in found.items()}
    if any((outcome == "unchanged") != (kind == UNCHANGED) for outcome in outcomes.values()):
        raise RuntimeError(f"{kind}: {outcomes}")
    trips = {name: after - seen for name, after, seen in zip(targets, distance.trips(), before, strict=True)}
    seconds = {f"{name} {SECONDS}": took for name, (took, _) in found.items()}
    return seconds | {f"{name} {TRIPS}": float(count) for name, count in trips.items()}


def main() -> None:
    with ExitStack() as stack:
        wires = [stack.enter_context(wire_to(int(sys.argv[1]), EACH_WAY)) for _ in range(int(sys.argv[2]))]
        print(json.dumps([wire.port for wire in wires]), flush=True)
        for _ in sys.stdin:
            print(json.dumps([wire.trips for wire in wires]), flush=True)


if __name__ == "__main__":
    main()
