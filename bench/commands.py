"""The commands that a user types, beside the same work in this process: a whole release, all checks, a sync."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from time import perf_counter
from typing import Any

import psycopg

from bench import ways
from bench.ground import Ground
from bench.releases import keys_in_order, layer
from bench.results import Section, goal, section
from bench.timing import Side, Spread, alternated
from flux_assets.checks.audit import AuditResult
from flux_assets.checks.live_audits import all_audits_of
from flux_assets.checks.sync_audits import sync_audits
from flux_assets.layers.status import audit_live
from flux_assets.orchestration.resources import connect
from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.session import Target
from flux_assets.release.release import Release
from flux_assets.sample.stand_in.server import StandIn
from flux_assets.snowflake.overrides import Overrides
from flux_assets.snowflake.source import open_source
from flux_assets.spec import StaticTable
from flux_assets.sync.live_audit import AuditRequest, audit_tables
from flux_assets.sync.result import SyncOptions
from flux_assets.sync.sync import Family, sync_tables
from flux_assets.tables import dynamic_tables, static_tables

PUBLISHED, POOL, COMMAND = "published way, serial", "ours, two layers at once", "ours, the whole command"
AGAIN = "ours, the whole command again, nothing changed"
CHECKS, CHECKED_HERE = "dagster job execute -j check_all_tables", "the checks alone, two tables at once"
TICK_SCALE = 0.05
IMPORTS, TICK = "imports of dagster and dagster_snowflake", "the whole command"
SYNCED_HERE, OWN_IMPORTS = "the sync alone, all imported", "imports of our modules after those"
_DAGSTER = ("-m", "dagster")
_MODULE = ("-m", "flux_assets.definitions")
_LOAD = (*_DAGSTER, "asset", "materialize", *_MODULE, "--select", "group:static_layers")
_SYNC = (*_DAGSTER, "job", "execute", *_MODULE, "-j", "sync_all_dynamic")
_CHECK = (*_DAGSTER, "job", "execute", *_MODULE, "-j", "check_all_tables")
_SIMULATE = ("-c", "from flux_assets.cli import main; main()", "simulate", "--tick")
_STEP = re.compile(r"- (\w+) - STEP_SUCCESS - .* in ([\d.]+)(m?s)")
_THEIRS = "import dagster, dagster_snowflake, time; "
_OURS = """
begun = time.perf_counter()
import flux_assets.definitions, flux_assets.sync, flux_assets.syncing.live_audit, flux_assets.pictures.sync_preview
import flux_assets.embedded.source, flux_assets.embedded.target, flux_assets.warehouse.source
print(time.perf_counter() - begun)
"""
_WRITTEN = "SELECT sync_type, completed_at FROM postgres_sync.sync_status WHERE started_at > %s AND status = 'SUCCESS'"


def release(ground: Ground, *, in_order: bool) -> Section:
    """Load all layers into an empty database, each way in turn, then twice more with nothing changed."""
    tables, city, keys = static_tables(), ground.city(), "building ids in no order"
    if in_order:
        city, keys = keys_in_order(city), "building ids in the file's order"
    places: dict[str, Target] = {}

    def empty(name: str) -> None:
        own = {PUBLISHED: "bench_published", POOL: "bench_ours"}
        places[name] = ground.fresh_database(own[name]) if name in own else ground.fresh_map_database()
        ground.settle()

    def pool() -> dict[str, float]:
        results = ways.load_all(tables, city, lambda _: places[POOL])
        return {f"{name} {step}": took for name, (_, found) in results.items() for step, took in found.seconds.items()}

    command = partial(_load, ground, city)
    sides = {
        PUBLISHED: lambda: ways.load_published(tables, city, places[PUBLISHED]), POOL: pool, COMMAND: command
    }  # fmt: skip
    runs = alternated(
        ground, {name: Side(run=run, ready=partial(empty, name)) for name, run in sides.items()}, ground.wanted.pairs
    )
    again = alternated(ground, {AGAIN: Side(run=command)}, 3)
    unchanged = Spread(_unchanged(table, city, places[POOL]) for table in tables)
    claim = f"whole release, {keys}"
    goals = [
        goal(f"{claim}, first byte to last publish: published / ours", "≥ 2x", runs.ratio(PUBLISHED, POOL)),
        goal(f"{claim}, the whole command: published / ours", "≥ 1.5x", runs.ratio(PUBLISHED, COMMAND)),
        goal("the whole command, nothing changed", "< 10 s", again.seconds(AGAIN), 1),
        goal("one unchanged layer", "< 1 s", unchanged, 3, worst=True),
    ]
    more = [
        [AGAIN, f"{again.seconds(AGAIN):.2f}", "", "", again.cpu(AGAIN)],
        ["ours, one unchanged layer, in process", f"{unchanged:.3f}"],
    ]
    notes = ["the server has just been told to write a checkpoint; files are in the page cache", runs.by_step(POOL)]
    title = f"The whole release, {keys}, into an empty database"
    found = section(title, runs, PUBLISHED, goals=goals, more=more, notes=notes)
    return replace(found, values={**found.values, "again": again.values()[AGAIN]})


def _load(ground: Ground, city: Release) -> dict[str, float]:
    """`dagster asset materialize` of all layers; seconds of each step."""
    _, said = ground.python(*_LOAD, FLUX_RELEASE=str(city.address))
    return {step: float(took) / (1000 if unit == "ms" else 1) for step, took, unit in _STEP.findall(said)}


def _unchanged(table: StaticTable, city: Release, target: Target) -> float:
    begun = perf_counter()
    if ways.load(table, city, target, force=False).outcome != "unchanged":
        raise RuntimeError(f"{table.name} was loaded again")
    return perf_counter() - begun


@contextmanager
def _all_loaded(ground: Ground, city: Release) -> Iterator[tuple[Target, StandIn, Callable[..., tuple[str, str]]]]:
    """Layers and a first sync in the database of the project's commands; what runs Python with that release."""
    target, stand_in = ground.fresh_map_database(), StandIn(ground.cluster.home)
    python = partial(ground.python, FLUX_RELEASE=str(city.address))
    ground.say("  loading and syncing everything …")
    try:
        ways.load_all(static_tables(), city, lambda _: target)
        python(*_SYNC)
        yield target, stand_in, python
    finally:
        stand_in.stop()


def checks(ground: Ground) -> Section:
    """Run all checks of all live tables, by the command and in this process."""
    largest = layer()
    with _all_loaded(ground, ground.city()) as (target, _, python):
        sides = {CHECKS: Side(run=lambda: python(*_CHECK) and None), CHECKED_HERE: Side(run=lambda: _check_all(target))}
        runs = alternated(ground, sides, ground.wanted.few)
        # Each in a session of its own, which counts the rows first.
        single = {each.name: _check(target, largest, {each.name}) for each in all_audits_of(largest)}
    tables, whole = len(static_tables()) + len(dynamic_tables()), runs.seconds(CHECKS)
    by_table = {name: runs.step(CHECKED_HERE, name).median for name in runs[CHECKED_HERE][0].steps}
    slowest_first = sorted(by_table.items(), key=lambda item: -item[1])
    return section(
        f"All checks of {tables} live tables",
        runs,
        CHECKS,
        goals=[goal(f"all checks of {tables} live tables, the whole command", "≤ 60 s", whole, 1, worst=True)],
        more=[[f"  {name}", f"{took:.2f}"] for name, took in slowest_first],
        notes=[f"{largest.name} {name}: {took:.2f} s, with its session" for name, took in single.items()],
    )


def _check_all(target: Target) -> dict[str, float]:
    """Run all checks in this process; seconds by table."""
    longest_first = sorted(static_tables(), key=lambda table: -table.release_rows)
    with ThreadPoolExecutor(ways.AT_ONCE) as pool:
        times = list(pool.map(partial(_check, target), longest_first))
    begun = perf_counter()
    questions = [
        AuditRequest(table=table, names={audit.name for audit in sync_audits(table)}, missing=())
        for table in dynamic_tables()
    ]
    looks = audit_tables(questions, target, _no_source, Stop())
    _require_passed([audit for look in looks.values() for audit in look.audits])
    names = [table.name for table in longest_first]
    return {**dict(zip(names, times, strict=True)), "dynamic tables": perf_counter() - begun}


def _check(target: Target, table: StaticTable, *names: set[str]) -> float:
    begun = perf_counter()
    _require_passed(audit_live(table, target, *names))
    return perf_counter() - begun


def _no_source() -> AbstractContextManager[Any]:
    raise RuntimeError("the source was asked")


def _require_passed(results: Sequence[AuditResult]) -> None:
    """Raise RuntimeError for a check that failed; the lag does, for nobody syncs while this runs."""
    if wrong := [f"{result.name}: {result.sample}" for result in results if not result.passed and result.name != "lag"]:
        raise RuntimeError(f"checks failed: {wrong}")


def tick(ground: Ground) -> Section:
    """From a tick to what readers see: the command, beside its imports; the source changes before each sync."""

    def command() -> dict[str, float]:
        begun = datetime.now(UTC)
        python(*_SYNC)
        with psycopg.connect(target.conninfo) as session:
            rows = session.execute(_WRITTEN, [begun]).fetchall()
        if not any(kind == "DELTA" for kind, _ in rows):
            raise RuntimeError(f"the sync was to write something: {rows}")
        return {"visible": (max(at for _, at in rows).astimezone(UTC) - begun).total_seconds()}

    with _all_loaded(ground, ground.city(TICK_SCALE)) as (target, stand_in, python):
        change = partial(python, *_SIMULATE)
        sides = {
            IMPORTS: Side(run=lambda: python("-c", _THEIRS) and None),
            TICK: Side(run=command, ready=change),
            SYNCED_HERE: Side(run=lambda: _sync(stand_in, target), ready=change),
            OWN_IMPORTS: Side(run=lambda: {"took": float(python("-c", _THEIRS + _OURS)[0])}),
        }
        runs = alternated(ground, sides, ground.wanted.pairs)
    visible, own = runs.step(TICK, "visible"), runs.step(OWN_IMPORTS, "took")
    over = Spread(a - b for a, b in zip(visible, runs.seconds(IMPORTS), strict=True))
    ours = Spread(a + b for a, b in zip(runs.seconds(SYNCED_HERE), own, strict=True))
    goals = [
        goal("tick to visible, beyond the imports of dagster and dagster_snowflake", "≤ 4 s", over),
        goal("of it ours: the sync and our imports", "≤ 1 s", ours),
    ]
    more = [[f"{TICK}, start to commit", f"{visible:.2f}"], [f"{OWN_IMPORTS}, of that process", f"{own:.3f}"]]
    notes = [
        "each in a fresh process but the sync alone; visible: when the sync closed its row in the ledger, in the"
        " transaction that wrote the tables",
        "our imports: what our modules import that those two have not, third-party packages included",
    ]
    title = f"Tick to visible: sync_all_dynamic at scale {TICK_SCALE:g}"
    return section(title, runs, IMPORTS, goals=goals, more=more, notes=notes)


def _sync(stand_in: StandIn, target: Target) -> None:
    """Sync as the step does, through dagster-snowflake, where all is imported."""
    tables, opening = dynamic_tables(), partial(open_source, stand_in.account(), Overrides(), connect=connect)
    names = [each.name for each in tables]
    result = sync_tables(names, Family(tables=tables), opening, target, SyncOptions(), ways.quiet)
    if failed := [each.error for each in result.tables if each.error]:
        raise failed[0]
