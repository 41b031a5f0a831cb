"""Syncs of work orders, 1 % of the rows changed before each: seconds, WAL, and what readers see meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from unittest.mock import patch

import psycopg

from bench.far import distant
from bench.ground import Ground
from bench.orders import COLUMNS, NAME, Orders, reload, set_up, stand_in_running
from bench.readers import COUNT, Phase, reading
from bench.runs import Runs, Section, Side, Work, alternated, columns, goal, quotients, section
from flux_assets.postgis.session import Target
from flux_assets.snowflake.source import Source

PUBLISHED, OURS, RELOADED = "published way", "ours, 1 % changed", "TRUNCATE + COPY, one transaction"
SAME, SAME_TOKEN = "ours, unchanged", "ours, unchanged by its change token"
_CONTENT = f"""
SELECT count(*), md5(string_agg(md5(row::text), '' ORDER BY row::text))
FROM (SELECT ROW({COLUMNS}, ST_AsEWKB(geom)) FROM work_orders) AS all_rows (row)
"""


@dataclass(frozen=True)
class Case:
    """One line of the goals. `pairs` is the most that are run: the published way takes its time."""

    name: str
    rows: int
    wanted: str
    pairs: int
    far: bool = False


CASES = (
    Case("1k rows", 1_000, "≥ 8x", 11),
    Case("10k rows", 10_000, "≥ 20x", 5),
    Case("100k rows", 100_000, "≥ 30x", 5),
    Case("1k rows, 20 ms round trip", 1_000, "≥ 50x", 3, far=True),
)
QUICK = (Case("1k rows", 1_000, "≥ 8x", 2), Case("100 rows, 20 ms round trip", 100, "≥ 5x", 1, far=True))


def speed(ground: Ground) -> Section:
    """The whole sync against the way before at three sizes, and the smallest once more with the database 20 ms away."""
    with stand_in_running(ground) as orders:
        found = {case: _case(ground, orders(case.rows), case) for case in (QUICK if ground.wanted.quick else CASES)}
    seen = {
        (case, side): Phase.joined(side, {case.rows}, notes)
        for case, runs in found.items()
        for side, notes in runs.seen.items()
    }
    mine = [phase for (_, side), phase in seen.items() if side == OURS]
    goals = [
        goal(f"whole sync, {case.name}, 1 % changed: published / ours", case.wanted, runs.ratio(PUBLISHED, OURS), 1)
        for case, runs in found.items()
    ]
    reads, wrong = sum(len(each.answers()) for each in mine), sum(each.counted()[1] for each in mine)
    longest = max(each.counted()[-1] for each in mine)
    return Section(
        title="One table (work_orders) from the stand-in into PostGIS, 1 % of its rows changed, in turn",
        columns=["case", *columns(PUBLISHED), "counts read", "wrong", "longest count ms"],
        rows=[
            [case.name, *found[case].cells(side, PUBLISHED), *(f"{count:,.0f}" for count in each.counted())]
            for (case, side), each in seen.items()
        ],
        goals=[
            *goals,
            goal(f"wrong counts under ours, {reads:,} reads", "0", wrong, 0),
            goal("longest count under ours", "< 50 ms", longest, 1),
        ],
        notes=[
            "both: from before the first connection to the last one's end, without importing Python packages",
            "published way: the connector's fetchall, TRUNCATE, INSERT a row at a time, autocommit, psycopg2",
            "of the 1 % that differ one row in ten is new, one in ten gone; the reader's CPU seconds count as others'",
            *(f"{case.name}, {len(runs.seen[OURS])} pairs: {runs.by_step(OURS)}" for case, runs in found.items()),
        ],
        values={case.name: runs.values() for case, runs in found.items()},
    )


def _case(ground: Ground, source: Orders, case: Case) -> Runs:
    ground.say(f"  {case.name}")
    expected = []
    near = [set_up(ground.fresh_database("bench_sync_0")), source.first(ground.fresh_database("bench_sync_1"))]
    source.published(near[0])

    def change() -> None:
        source.change()
        expected.append(float(source.differing))

    with ExitStack() as stack:
        old, new = [stack.enter_context(distant(ground, each)).targets[0] if case.far else each for each in near]
        works: dict[str, Work] = {PUBLISHED: partial(source.published, old), OURS: partial(source.into, new)}
        sides = {
            name: Side(run=work, ready=ground.settle, around=partial(reading, target, {"count": COUNT}))
            for (name, work), target in zip(works.items(), near, strict=True)
        }
        runs = alternated(ground, sides, min(ground.wanted.pairs, case.pairs), change)
    if (written := list(runs.step(OURS, "written"))) != expected:
        raise RuntimeError(f"{case.name}: {expected} rows were to be written, not {written}")
    contents = [_asked(target, _CONTENT) for target in near]
    if contents[0] != contents[1]:
        raise RuntimeError(f"{case.name}: the two ways left different rows: {contents}")
    return runs


def _asked(target: Target, query: str) -> tuple[int, ...]:
    with psycopg.connect(target.conninfo) as session:
        (row,) = session.execute(query.encode()).fetchall()
    return tuple(row)


def wal(ground: Ground, *, times: int = 1) -> Section:
    """WAL and seconds of syncs, changed and unchanged, and of a reload, and how long readers of single rows wait."""
    rows = ground.wanted.rows * times
    with stand_in_running(ground) as orders:
        source = orders(rows)
        databases = [ground.fresh_database(f"bench_sync_{number}") for number in range(3)]
        mine, told, old = *map(source.first, databases[:2]), set_up(databases[2])
        by_token = patch.object(Source, "tokens", lambda _, tables: {each.name: "1" for each in tables})
        pieces = source.encoded()
        reload(pieces, old)
        same_token = by_token(partial(source.into, told))
        plan: dict[str, tuple[Callable[[], object], Work]] = {
            RELOADED: (lambda: None, partial(reload, pieces, old)),
            OURS: (source.change, partial(source.into, mine)),
            # Whoever reads first after a change prunes its pages; that is the change's WAL.
            SAME: (partial(_asked, mine, f"SELECT count(*) FROM {NAME}"), partial(source.into, mine)),
            SAME_TOKEN: (same_token, same_token),
        }

        def ready(change: Callable[[], object]) -> None:
            change()
            ground.settle()

        read = {RELOADED: old, OURS: mine, SAME: mine, SAME_TOKEN: told}
        sides = {
            name: Side(
                run=work, ready=partial(ready, change), around=partial(reading, read[name], {"key": source.reader()})
            )
            for name, (change, work) in plan.items()
        }
        runs = alternated(ground, sides, ground.wanted.pairs)
    waited = {name: max(Phase.joined(name, {1}, notes).milliseconds(by_key=True)) for name, notes in runs.seen.items()}
    goals = [
        goal(f"WAL, {rows:,} rows, 1 % changed: ours / TRUNCATE + COPY", "≤ 0.35x",
             quotients(runs.wal_mb(OURS), runs.wal_mb(RELOADED)), 3),
        goal(f"WAL, {rows:,} rows, unchanged, the most", "< 200 kB", max(runs.wal_mb(SAME)) * 1e3, 0),
        *(goal(f"{OURS} / {same}, {rows:,} rows", wanted, runs.ratio(OURS, same), 1)
          for same, wanted in ((SAME, "≥ 1x"), (SAME_TOKEN, "≥ 5x"))),
    ]  # fmt: skip
    notes = [
        "a checkpoint before each run, so that each page written first is whole in the WAL",
        f"longest look-up by key meanwhile, ms: {', '.join(f'{name} {ms:.1f}' for name, ms in waited.items())}",
        *(runs.by_step(name) for name in runs.by_side if name != RELOADED),
    ]
    return section(f"WAL and seconds of a sync of {rows:,} work orders", runs, OURS, goals=goals, notes=notes)


def dlt(ground: Ground) -> Section:
    """Ours and dlt in turn, each into a database of its own, from one source."""
    rows = ground.wanted.rows
    with stand_in_running(ground) as orders:
        source = orders(rows)
        ways: dict[str, Callable[[Target], Any]] = {OURS: source.first, **source.dlt_ways()}
        targets = {name: ground.fresh_database(f"bench_sync_{number}") for number, name in enumerate(ways)}
        for name, way in ways.items():
            way(targets[name])
        ways[OURS] = source.into
        counts = {name: f"SELECT count(*) FROM {NAME if name == OURS else f'bench.{NAME}'}" for name in ways}
        sides = {
            name: Side(
                run=partial(way, targets[name]),
                ready=ground.settle,
                around=partial(reading, targets[name], {"count": replace(COUNT, query=counts[name])}),
            )
            for name, way in ways.items()
        }
        runs = alternated(ground, sides, ground.wanted.few, source.change)
        left = {name: _asked(targets[name], query)[0] for name, query in counts.items()}
    notes = [
        *(f"{name} / ours: {runs.ratio(name, OURS):.2f}; rows afterwards: {left[name]:,}" for name in ways),
        "both sides open both sessions anew and read the connector's Arrow batches; dlt's state is kept between runs",
        "docs/performance.md says what dlt leaves out",
    ]
    return section(f"The same table by dlt, {rows:,} rows, 1 % changed", runs, OURS, notes=notes)
