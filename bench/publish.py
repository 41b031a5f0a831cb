"""Publishing under live readers: what they see, how long they wait, how long the locks are held."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from statistics import median

import psycopg

from bench import layers
from bench.ground import LAYER, Ground, first_rows
from bench.readers import Phase, Reader, reading
from bench.runs import Section, goal
from flux_assets.postgis.session import Target

MOST_ROWS = 500_000
_LOCKED = re.compile(r"locked for ([\d.]+) ms")
_DRESS = """
CREATE INDEX ON {table} ({plain});
CREATE VIEW bench_view AS SELECT * FROM {table};
CREATE FUNCTION bench_function() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM {table}; END;
GRANT SELECT ON {table} TO bench_reader;
CREATE TABLE bench_other AS SELECT 1 AS one
"""


def publish(ground: Ground) -> Section:
    """Publish two versions in turn under readers, then let the published way replace the table under them."""
    city = ground.city()
    rows = min(MOST_ROWS, round((city.resolve(LAYER.file_name, LAYER.name).rows or MOST_ROWS) * 0.9))
    parts = [first_rows(city, count) for count in (rows, rows - 1000)]
    new, old = ground.fresh_database("bench_ours"), ground.fresh_database("bench_published")
    logged: list[str] = []

    def load(number: int, *, force: bool = True) -> None:
        layers.load(LAYER, parts[number % 2], new, force=force, log=logged.append)
        time.sleep(0 if force else 0.5)

    def replaced(number: int) -> None:
        layers.load_published([LAYER], parts[(number + 1) % 2], old)
        time.sleep(0.5)

    def phase(name: str, target: Target, work: Callable[[int], None], times: int) -> Phase:
        logged.clear()
        with reading(target, readers) as notes:
            for number in range(times):
                work(number)
        locked = [float(found[1]) for line in logged if (found := _LOCKED.search(line))]
        if logged and len(locked) != times:
            raise RuntimeError(f"{times} publishes were asked for, {len(locked)} happened")
        return Phase(name, times, {rows, rows - 1000}, notes, locked)

    load(0)
    readers = _readers(ground, new)
    load(1)
    phases = [
        phase("nothing happens", new, lambda _: time.sleep(10), 1),
        loads := phase("ours: loads, staged anew each time", new, load, 4),
        swaps := phase("ours: publishes of kept versions", new, partial(load, force=False), ground.wanted.publishes),
    ]
    replaced(-1)
    readers = _readers(ground, old)
    phases.append(phase("published way: loads", old, replaced, 3))
    count, locked = loads.times + swaps.times, loads.locked_ms + swaps.locked_ms
    return Section(
        title=f"{LAYER.name}, {rows:,} rows, a user's index on it, published under {len(readers)} kinds of readers",
        columns=["while", "times", "answers", "wrong", "errors", "longest count ms", "longest look-up ms", "locked ms"],
        rows=[_row(each) for each in phases],
        goals=[
            goal(f"wrong answers to readers, {count} publishes", "0", loads.wrong() + swaps.wrong(), 0),
            goal(f"errors to readers, {count} publishes", "0", len(loads.errors() + swaps.errors()), 0),
            goal("locks held by a publish, longest", "≤ 20 ms", max(locked), 1),
            goal("longest look-up while versions are swapped", "≤ 100 ms", swaps.milliseconds(by_key=True)[-1], 1),
        ],
        notes=[
            f"readers: {', '.join(readers)}; each its own process; the look-up by key shows waiting best",
            *(f"{each.name}: {text}" for each in phases for text in sorted(set(each.errors()))[:5]),
        ],
        values={"locked": locked, **{each.name: each.milliseconds(by_key=True) for each in phases}},
    )


def _row(phase: Phase) -> list[str]:
    counts = (phase.times, len(phase.answers()), phase.wrong(), len(phase.errors()))
    longest = (phase.milliseconds(by_key=by_key)[-1] for by_key in (False, True))
    locked = f"{median(phase.locked_ms):.1f} (max {max(phase.locked_ms):.1f})" if phase.locked_ms else ""
    return [phase.name, *(f"{count:,}" for count in counts), *(f"{ms:.1f}" for ms in longest), locked]


def _readers(ground: Ground, target: Target) -> dict[str, Reader]:
    """Dress the table as users do (an index, a view, a function, a role that may read it), and list its readers."""
    name, (key,), spatial = LAYER.name, LAYER.key, {column.name for column in LAYER.spatial_columns}
    plain = [column for column in LAYER.column_names if column != key and column not in spatial][:2]
    with ground.cluster.admin_session() as admin:
        if admin.execute("SELECT 1 FROM pg_roles WHERE rolname = 'bench_reader'").fetchone() is None:
            admin.execute("CREATE ROLE bench_reader")
            admin.execute("GRANT bench_reader TO flux")
    with psycopg.connect(target.conninfo, autocommit=True) as session:
        session.execute(_DRESS.format(table=name, plain=", ".join(plain)).encode())
        ((first,),) = session.execute(f"SELECT min({key}) FROM {name}".encode()).fetchall()
    count = Reader(query=f"SELECT count(*) FROM {name}", prepare=False)
    by_key = f"{count.query} WHERE {key}"
    return {
        "count": count,
        "snapshot": replace(count, snapshot="SELECT count(*) FROM bench_other"),
        "prepared": Reader(query=f"{by_key} >= %s", values=[""], prepare=True),
        "view": replace(count, query="SELECT count(*) FROM bench_view"),
        "function": replace(count, query="SELECT bench_function()"),
        "select_only": replace(count, role="bench_reader"),
        "key": Reader(query=f"{by_key} = %s", values=[first], prepare=True, pause=(0.003, 0.003)),
    }
