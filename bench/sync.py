"""Syncs of work orders, 1 % of the rows changed before each: seconds, WAL, and what readers see meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import psycopg

from bench import orders
from bench.distance import distant
from bench.ground import Ground
from bench.orders import ALL_NAMES, NAME, Made, running_stand_in
from bench.readers import COUNT, Phase, Reader, reading, seen_by_readers, under
from bench.results import Section, cells, columns, goal, section
from bench.timing import Runs, Side, Spread, Work, alternated, nothing
from flux_assets.postgis.session import Target
from flux_assets.sample.stand_in.server import StandIn

PUBLISHED, OURS, RELOADED = "published way", "ours", "TRUNCATE + COPY, one transaction"
BESIDE = "ours, of a table that nobody reads"
FED, FED_SAME, TOKEN_SAME = "ours, fed, 1 % changed", "ours, fed, unchanged", "ours, unchanged by its change token"
WHOLE, WHOLE_SAME = "ours, whole path, 1 % changed", "ours, whole path, unchanged"
BY_KEY = "SELECT 1 FROM work_orders WHERE work_order_id > %s ORDER BY work_order_id LIMIT 1"
LEFT_OUT = (
    "left out by the code for dlt: the point and its GiST index, the indexes on status and type; with merge, rows that"
    " are gone from the source; one transaction and one instant for several tables; the guard; telling rows that"
    " changed from rows that did not"
)
_CONTENT = f"""
SELECT count(*), md5(string_agg(md5(row::text), '' ORDER BY row::text))
FROM (SELECT ROW({orders.COLUMNS}, ST_AsEWKB(geom)) FROM work_orders) AS all_rows (row)
"""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One line of the goals. `pairs` is the most that are run: the published way takes its time."""

    name: str
    rows: int
    far: bool = False
    wanted: str
    pairs: int


CASES = (
    Case(name="1k rows", rows=1_000, wanted="≥ 8x", pairs=11),
    Case(name="10k rows", rows=10_000, wanted="≥ 20x", pairs=5),
    Case(name="100k rows", rows=100_000, wanted="≥ 30x", pairs=5),
    Case(name="1k rows, 20 ms round trip", rows=1_000, far=True, wanted="≥ 50x", pairs=3),
)
QUICK = (
    Case(name="1k rows", rows=1_000, wanted="≥ 8x", pairs=2),
    Case(name="100 rows, 20 ms round trip", rows=100, far=True, wanted="≥ 5x", pairs=1),
)


def speed(ground: Ground) -> Section:
    """The whole sync against the way before at three sizes, and the smallest once more with the database 20 ms away."""
    with running_stand_in(ground) as stand_in:
        found = {case: _case(ground, stand_in, case) for case in (QUICK if ground.wanted.quick else CASES)}
    seen = {
        (case, side): Phase.joined(side, {case.rows}, runs.seen[side]) for case, runs in found.items() for side in runs
    }
    mine = [phase for (_, side), phase in seen.items() if side == OURS]
    goals = [
        goal(f"whole sync, {case.name}, 1 % changed: published / ours ({len(runs[OURS])} pairs)", case.wanted,
             runs.ratio(PUBLISHED, OURS), 1)
        for case, runs in found.items()
    ]  # fmt: skip
    reads, wrong = sum(len(each.answers()) for each in mine), sum(each.failed() for each in mine)
    return Section(
        title="One table (work_orders) from the stand-in into PostGIS, 1 % of its rows changed, in turn",
        columns=["case", *columns(PUBLISHED), "counts read", "wrong", "longest count ms"],
        rows=[
            [case.name, *cells(found[case], side, PUBLISHED), f"{len(each.answers()):,}", f"{each.failed():,}",
             f"{each.milliseconds(by_key=False)[-1]:.0f}"]
            for (case, side), each in seen.items()
        ],
        goals=[*goals, goal(f"wrong counts under ours, {reads:,} reads", "0", wrong, 0)],
        notes=[
            "both: from before the first connection to the last one's end, without importing Python packages",
            "published way: the connector's fetchall, TRUNCATE, INSERT a row at a time, autocommit, psycopg2",
            "ours: all three tables declared, work_orders asked for; of the 1 % that differ one row in ten is new and"
            " one in ten gone; the reader's CPU seconds count as others'",
            *(f"{case.name}: {runs.by_step(OURS)}" for case, runs in found.items()),
        ],
        values={case.name: runs.values() for case, runs in found.items()},
    )  # fmt: skip


def _case(ground: Ground, stand_in: StandIn, case: Case) -> Runs:
    ground.say(f"  {case.name}")
    source, expected = orders.orders(stand_in, case.rows), []
    near = [ground.fresh_database(f"bench_sync_{number}") for number in range(2)]
    orders.set_up(near[0])
    orders.published(source.account, near[0])
    orders.ours(source.account, near[1], *ALL_NAMES)

    def change() -> None:
        source.change()
        expected.append(float(source.made.differing))

    with ExitStack() as stack:
        old, new = [stack.enter_context(distant(ground, each)).targets[0] if case.far else each for each in near]
        works: dict[str, Work] = {
            PUBLISHED: lambda: orders.published(source.account, old), OURS: lambda: orders.ours(source.account, new)
        }  # fmt: skip
        sides = {
            name: Side(run=work, ready=ground.settle, around=partial(reading, target, {"count": COUNT}))
            for (name, work), target in zip(works.items(), near, strict=True)
        }
        runs = alternated(ground, sides, min(ground.wanted.pairs, case.pairs), change)
    if (written := list(runs.step(OURS, "written"))) != expected:
        raise RuntimeError(f"{case.name}: {expected} rows were to be written, not {written}")
    contents = [_content(target) for target in near]
    if contents[0] != contents[1]:
        raise RuntimeError(f"{case.name}: the two ways left different rows: {contents}")
    return runs


def _content(target: Target) -> object:
    """A digest of what the table holds, times of arrival apart."""
    with psycopg.connect(target.conninfo) as session:
        return session.execute(_CONTENT.encode()).fetchone()


def readers(ground: Ground) -> Section:
    """How long the longest reader of a table waited while it was synced, and how many counts were wrong."""
    rows, syncs = ground.wanted.rows, ground.wanted.publishes
    kinds = {"count": COUNT, "key": replace(COUNT, query=BY_KEY, values=["WO-"])}
    pieces = orders.encoded(Made(rows).batches())
    with running_stand_in(ground) as stand_in:
        source = orders.orders(stand_in, rows)
        mine, beside, old = (ground.fresh_database(f"bench_sync_{number}") for number in range(3))
        orders.set_up(old)
        orders.reload(pieces, old)
        for target in (mine, beside):
            orders.ours(source.account, target, *ALL_NAMES)

        def phase(name: str, read: Target, work: Callable[[], object], times: int) -> Phase:
            seen = []
            for _ in range(times):
                source.change()
                ground.settle()
                seen.append(under(read, kinds, work))
            ground.say(f"  {name}: {times} times")
            return Phase.joined(name, {rows}, seen)

        phases = [
            phase("nothing happens", mine, lambda: time.sleep(5), 1),
            ours := phase(OURS, mine, lambda: orders.ours(source.account, mine), syncs),
            phase(BESIDE, mine, lambda: orders.ours(source.account, beside), syncs),
            phase(RELOADED, old, lambda: orders.reload(pieces, old), min(syncs, 3)),
            phase(PUBLISHED, old, lambda: orders.published(source.account, old), 1),
        ]
    longest = max(max(ours.milliseconds(by_key=by_key)) for by_key in (False, True))
    return seen_by_readers(
        f"work_orders, {rows:,} rows, 1 % changed, synced under readers",
        phases,
        [
            goal(f"wrong answers, {len(ours.answers()):,} reads, {rows:,} rows", "0", ours.failed(), 0),
            goal(f"longest read during a sync, {rows:,} rows", "< 50 ms", longest, 1),
        ],
        "two readers: one counts all rows, one looks a row up by its key, again and again with 2 ms between",
        f"{BESIDE}: the same work on the same machine, so that what is longer in the line above is waiting",
    )


def wal(ground: Ground) -> Section:
    """WAL and seconds of syncs, changed and unchanged: fed with batches, through the stand-in, and reloaded."""
    rows = ground.wanted.rows
    with running_stand_in(ground) as stand_in:
        runs = _wal_runs(ground, orders.orders(stand_in, rows), Made(rows))
    shares = Spread(a / b for a, b in zip(runs.wal_mb(FED), runs.wal_mb(RELOADED), strict=True))
    gates = {"the fingerprint of what was read": FED_SAME, "a change token, as Snowflake has it": TOKEN_SAME}
    goals = [
        goal(f"WAL, {rows:,} rows, 1 % changed: ours / TRUNCATE + COPY", "≤ 0.35x", shares, 3),
        goal(f"WAL, {rows:,} rows, unchanged, the most", "< 200 kB", max(runs.wal_mb(FED_SAME)) * 1e3, 0),
    ]
    for gate, same in gates.items():
        goals.append(goal(f"{FED} / unchanged by {gate}, {rows:,} rows", "≥ 5x", runs.ratio(FED, same), 1))
    notes = [
        "a checkpoint before each run, so that each page written first is whole in the WAL; the changed rows lie all"
        " over the table",
        "fed: the rows are Arrow batches in memory; all that follows, from the sign-in to PostgreSQL, is inside",
        f"whole path, from the connector on: 1 % changed / unchanged {runs.ratio(WHOLE, WHOLE_SAME):.1f}x, for the"
        " stand-in has no change token",
        *(runs.by_step(name) for name in runs if name != RELOADED),
    ]
    return section(f"WAL and seconds of a sync of {rows:,} work orders", runs, FED, goals=goals, notes=notes)


def _wal_runs(ground: Ground, source: orders.Orders, made: Made) -> Runs:
    whole, alone, old, told = (ground.fresh_database(f"bench_sync_{number}") for number in range(4))

    def fed(target: Target, token: str = "", *names: str) -> dict[str, float]:
        return orders.source_filled(lambda: made.held, target, token, *names)

    def through() -> dict[str, float]:
        return orders.ours(source.account, whole)

    def ready(change: Callable[[], object]) -> None:
        change()
        ground.settle()

    def change_whole() -> None:
        made.change()
        pieces[:] = orders.encoded(made.held)

    pieces: list[bytes] = []
    change_whole()
    orders.set_up(old)
    orders.reload(pieces, old)
    for target in (alone, told):
        fed(target, "", *ALL_NAMES)
    orders.ours(source.account, whole, *ALL_NAMES)
    plan: dict[str, tuple[Callable[[], object], Work, Target]] = {
        RELOADED: (change_whole, lambda: orders.reload(pieces, old), old),
        FED: (nothing, partial(fed, alone), alone),
        FED_SAME: (nothing, partial(fed, alone), alone),
        TOKEN_SAME: (partial(fed, told, "1"), partial(fed, told, "1"), told),
        WHOLE: (source.change, through, whole),
        WHOLE_SAME: (nothing, through, whole),
    }
    sides = {
        name: Side(run=work, ready=partial(ready, change), around=partial(reading, target, {"count": COUNT}))
        for name, (change, work, target) in plan.items()
    }
    return alternated(ground, sides, ground.wanted.pairs)


def dlt(ground: Ground) -> Section:
    """Ours and dlt in turn, each into a database of its own, from one source."""
    rows, pairs = ground.wanted.rows, ground.wanted.few
    with running_stand_in(ground) as stand_in:
        source = orders.orders(stand_in, rows)
        ways: dict[str, Callable[[Target], Any]] = {OURS: partial(orders.ours, source.account)}
        ways |= orders.dlt_ways(source.account)
        targets = {name: ground.fresh_database(f"bench_sync_{number}") for number, name in enumerate(ways)}
        tables = {name: NAME if name == OURS else f"bench.{NAME}" for name in ways}
        counts = {name: replace(COUNT, query=f"SELECT count(*) FROM {table}") for name, table in tables.items()}
        orders.ours(source.account, targets[OURS], *ALL_NAMES)
        for name in orders.DISPOSITIONS:
            ways[name](targets[name])
        sides = {
            name: Side(run=partial(way, targets[name]), ready=ground.settle,
                       around=partial(reading, targets[name], {"count": counts[name]}))
            for name, way in ways.items()
        }  # fmt: skip
        runs = alternated(ground, sides, pairs, source.change)
        left = {name: _count(targets[name], reader) for name, reader in counts.items()}
    notes = [
        *(f"{name} / ours: {runs.ratio(name, OURS):.2f}; rows afterwards: {left[name]:,}" for name in runs),
        f"the source holds {rows:,} rows; both sides open both sessions anew and read the connector's Arrow batches;"
        " dlt's pipeline state is kept between runs",
        LEFT_OUT,
    ]
    title = f"Beside the goals: the same table by dlt, {rows:,} rows, 1 % changed"
    return section(title, runs, OURS, notes=notes)


def _count(target: Target, reader: Reader) -> int:
    with psycopg.connect(target.conninfo) as session:
        ((count,),) = session.execute(reader.query.encode()).fetchall()
    return int(count)
