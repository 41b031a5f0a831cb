"""Ten times the published size: loads in fresh processes, and publishes and rollbacks beside readers."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from time import perf_counter

import psycopg

from bench import layers
from bench.ground import LAYER, Ground, made_once, plain_layer, with_lines
from bench.memory import Probe, probe
from bench.readers import Phase, Reader, reading
from bench.runs import Section, Spread, goal
from flux_assets.layers.context import LoadOptions
from flux_assets.layers.rollback import rollback
from flux_assets.postgis.session import Target
from flux_assets.release.release import Release
from flux_assets.sample.city import csv_text
from flux_assets.sample.city.counts import row_counts
from flux_assets.sample.city.layers import Layers
from flux_assets.tables import static_tables

TIMES = 10
_HEIGHT = LAYER.column_names.index("height_meters")
_LOCKED = "SELECT lock_seconds * 1000 FROM postgres_sync.sync_status ORDER BY started_at DESC LIMIT 1"
_SOME = f"SELECT {LAYER.key[0]}, ST_X(ST_PointN(ST_ExteriorRing(geom), 1)), ST_Y(ST_PointN(ST_ExteriorRing(geom), 1))"


def loads(ground: Ground) -> Section:
    """Load the buildings at scale 1 and at ten times that, each time in a fresh process into an empty database."""
    once, tenfold = f"scale {ground.wanted.scale:g}", f"scale {ground.wanted.scale * TIMES:g}"
    plan = {
        once: ("plain", _buildings(ground, 1), 3),
        tenfold: ("plain", _buildings(ground, TIMES), 2),
        f"{tenfold}, with the index on geographies": ("load", _buildings(ground, TIMES), 1),
    }
    found = {name: [_load(ground, kind, what) for _ in range(times)] for name, (kind, what, times) in plan.items()}
    rates = {name: Spread(each["written"] / each["seconds"] for each in probes) for name, probes in found.items()}
    seconds, growth = (Spread(each[name] for each in found[tenfold]) for name in ("seconds", "growth"))
    return Section(
        title=f"{LAYER.name} from file to published, {TIMES} times the size; fresh processes and databases",
        columns=["what", "rows", "seconds", "rows/s", "growth MB", "WAL MB", "table MB", "seconds by step, last run"],
        rows=[
            [
                name,
                f"{probes[0]['written']:,.0f}",
                f"{Spread(each['seconds'] for each in probes):.1f}",
                f"{rates[name]:,.0f}",
                *(f"{Spread(each[size] / 1e6 for each in probes):,.0f}" for size in ("growth", "wal", "table")),
                ", ".join(f"{step} {probes[-1][step]:.1f}" for step in ("stage", "index", "analyze", "audit", "tidy")),
            ]
            for name, probes in found.items()
        ],
        goals=[
            goal(f"load at {tenfold}, median", "≤ 90 s", seconds, 1),
            goal(f"memory growth of a load at {tenfold}", "≤ 200 MB", max(growth) / 1e6, 0),
            goal(f"rows/s, {tenfold} / {once}", "≥ 1x", rates[tenfold].median / rates[once].median, 2),
        ],
        notes=["the first two lines without the index on geographies, as the figure was that the goal comes from"],
        values=found,
    )


def publishes(ground: Ground) -> Section:
    """Publish a release of which 1 % changed and roll back and forth, the version before kept, beside readers."""
    table, target = plain_layer(), ground.fresh_database("bench_scale")
    whole = _buildings(ground, TIMES)
    rows = {layers.load(table, whole, target).rows}
    changed = with_lines(whole, "changed", _changed)
    options = LoadOptions(accept_fewer_rows=True)
    works: dict[str, Callable[[], object]] = {
        "nothing happens": lambda: None,
        "a release of which 1 % changed": lambda: rows.add(layers.load(table, changed, target).rows),
        "rolled back": partial(rollback, table, target, options, layers.quiet),
        "and forth": partial(rollback, table, target, options, layers.quiet),
    }
    readers, lines, locked, waited, wrong = _readers(target), [], [], [], 0
    for name, work in works.items():
        ground.settle()
        with reading(target, readers) as notes:
            begun = perf_counter()
            work()
            took = perf_counter() - begun
        phase = Phase(name, 1, rows | {1}, notes)
        wrong += phase.wrong() + len(phase.errors())
        locked.append(0.0 if name == "nothing happens" else _asked(target, _LOCKED)[0])
        waited.append(phase.milliseconds(by_key=True)[-1])
        counted = (f"{len(phase.answers()):,}", f"{phase.wrong() + len(phase.errors())}")
        lines.append([name, f"{took:.2f}", *counted, f"{waited[-1]:.1f}", f"{locked[-1]:.1f}"])
        ground.say(f"  {name}: {took:.2f} s")
    return Section(
        title=f"{LAYER.name}, {max(rows):,} rows, published beside readers, a version kept",
        columns=["while", "seconds", "answers", "wrong or errors", "longest look-up ms", "locked ms"],
        rows=lines,
        goals=[
            goal("locks held by a publish at that size, longest", "≤ 20 ms", max(locked), 1),
            goal("wrong answers and errors to readers at that size", "0", wrong, 0),
            goal("longest look-up by key while versions are swapped at that size", "≤ 100 ms", max(waited[2:]), 1),
        ],
        notes=["readers: a look-up by key and a frame of the map every 3 to 10 ms, a count of all rows every 5 s"],
        values={"locked": locked, "waited": waited},
    )


def _load(ground: Ground, kind: str, release: Release) -> Probe:
    target = ground.fresh_database("bench_scale")
    ground.settle()
    before = ground.wal_bytes()
    found = probe(ground, target, kind, str(release.address))
    return {**found, "wal": ground.wal_bytes() - before}


def _buildings(ground: Ground, times: int) -> Release:
    """The buildings of a sample city of that many times the scale, in a release of their own; made once."""
    tables, scale = static_tables(), ground.wanted.scale * times

    def write(folder: Path) -> None:
        ground.say(f"making the buildings of the sample city of scale {scale:g}; this happens once")
        city = Layers(counts=row_counts(tables, scale), scale=scale, seed=ground.wanted.seed)
        folder.mkdir()
        with gzip.open(folder / LAYER.file_name, "wt", compresslevel=1) as out:
            out.write(",".join(LAYER.column_names) + "\n")
            for chunk in city.chunks(LAYER.name):
                out.write(csv_text.lines(LAYER.column_names, chunk.columns, chunk.count))

    return made_once(f"buildings-{scale:g}-{ground.wanted.seed}", write)


def _changed(lines: Iterable[bytes]) -> Iterator[bytes]:
    """One row in a thousand is gone, nine have another height; names and kinds hold no commas."""
    for number, line in enumerate(lines):
        if place := number % 1000:
            if place < 10:
                before, (_, *after) = (fields := line.split(b","))[:_HEIGHT], fields[_HEIGHT:]
                yield b",".join([*before, b"%d" % place, *after])
            else:
                yield line


def _readers(target: Target) -> dict[str, Reader]:
    key, longitude, latitude = _asked(target, f"{_SOME} FROM {LAYER.name} OFFSET 1500 LIMIT 1")
    frame = f"{longitude} - 0.0075, {latitude} - 0.0075, {longitude} + 0.0075, {latitude} + 0.0075, 4326"
    count, often = f"SELECT count(*) FROM {LAYER.name}", (0.003, 0.01)
    by_key = Reader(query=f"{count} WHERE {LAYER.key[0]} = %s", values=[str(key)], prepare=True, pause=often)
    in_frame = f"SELECT (count(*) > 0)::int FROM {LAYER.name} WHERE geom && ST_MakeEnvelope({frame})"
    return {"key": by_key, "frame": Reader(query=in_frame, pause=often), "count": Reader(query=count, pause=(5, 5))}


def _asked(target: Target, query: str) -> tuple[float, ...]:
    with psycopg.connect(target.conninfo) as session:
        (row,) = session.execute(query.encode()).fetchall()
    return tuple(row)
