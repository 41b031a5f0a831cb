"""The commands that a user types, beside the same work in this process: a whole release, and a sync."""

from __future__ import annotations

import os
import re
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import psycopg

from bench import layers
from bench.ground import Ground, keys_in_order
from bench.runs import Section, Side, Spread, Work, alternated, goal, quotients, section
from flux_assets.orchestration.commands import dagster_instance
from flux_assets.orchestration.resources import connect
from flux_assets.postgis.session import Target
from flux_assets.release.release import Release
from flux_assets.sample.stand_in.server import StandIn
from flux_assets.settings import load_settings
from flux_assets.snowflake.overrides import Overrides
from flux_assets.snowflake.source import Source
from flux_assets.spec import StaticTable
from flux_assets.sync.result import SyncOptions
from flux_assets.sync.sync import sync_tables
from flux_assets.sync.table import Family
from flux_assets.tables import dynamic_tables, static_tables
from flux_assets_tests.workers.site import Redis, Site
from flux_assets_tests.workers.syncs import Syncs

PUBLISHED, POOL, COMMAND = "published way, serial", "ours, two layers at once", "ours, the whole command"
AGAIN = "ours, the whole command again, nothing changed"
IMPORTS, TICK, SYNCED_HERE = "imports of dagster and dagster_snowflake", "the whole command", "the sync alone"
UNCHANGED, WARM = "the whole command, nothing changed", "on a worker, nothing changed"
TICK_SCALE = 0.05
_MODULE = ("-m", "flux_assets.definitions")
_LOAD = ("-m", "dagster", "asset", "materialize", *_MODULE, "--select", "group:static_layers")
_SYNC = ("-m", "dagster", "job", "execute", *_MODULE, "-j", "sync_all_dynamic")
_SIMULATE = ("-c", "from flux_assets.cli.main import main; main()", "simulate", "--tick")
_STEP = re.compile(r"- (\w+) - STEP_SUCCESS - .* in ([\d.]+)(m?s)")
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
        results = layers.load_all(tables, city, lambda _: places[POOL])
        return {f"{name} {step}": took for name, (_, found) in results.items() for step, took in found.seconds.items()}

    def command() -> dict[str, float]:
        _, said = ground.python(*_LOAD, FLUX_RELEASE=str(city.address))
        return {step: float(took) / (1000 if unit == "ms" else 1) for step, took, unit in _STEP.findall(said)}

    sides: dict[str, Work] = {
        PUBLISHED: lambda: layers.load_published(tables, city, places[PUBLISHED]),
        POOL: pool,
        COMMAND: command,
    }
    readied = {name: Side(run=run, ready=partial(empty, name)) for name, run in sides.items()}
    runs = alternated(ground, readied, ground.wanted.pairs)
    again = alternated(ground, {AGAIN: Side(run=command)}, 3)
    unchanged = Spread(_unchanged(table, city, places[POOL]) for table in tables)
    claim = f"whole release, {keys}"
    goals = [
        goal(f"{claim}, first byte to last publish: published / ours", "≥ 2x", runs.ratio(PUBLISHED, POOL)),
        goal(f"{claim}, the whole command: published / ours", "≥ 1.5x", runs.ratio(PUBLISHED, COMMAND)),
        goal("the whole command, nothing changed", "< 10 s", again.seconds(AGAIN), 1),
        goal("one unchanged layer", "< 1 s", unchanged, 3, worst=True),
    ]
    notes = ["the server has just been told to write a checkpoint; files are in the page cache", runs.by_step(POOL)]
    found = section(f"The {claim}, into an empty database", runs, PUBLISHED, goals=goals, notes=notes)
    return replace(found, values={**found.values, **again.values()})


def _unchanged(table: StaticTable, city: Release, target: Target) -> float:
    begun = perf_counter()
    if layers.load(table, city, target, force=False).outcome != "unchanged":
        raise RuntimeError(f"{table.name} was loaded again")
    return perf_counter() - begun


def tick(ground: Ground) -> Section:
    """From a tick to what readers see: the command, beside its imports; the source changes before each sync."""
    target, city, stand_in = ground.fresh_map_database(), ground.city(TICK_SCALE), StandIn(ground.cluster.home)
    python = partial(ground.python, FLUX_RELEASE=str(city.address))

    def command() -> dict[str, float]:
        begun = datetime.now(UTC)
        python(*_SYNC)
        with psycopg.connect(target.conninfo) as session:
            rows = session.execute(_WRITTEN, [begun]).fetchall()
        if not any(kind == "DELTA" for kind, _ in rows):
            raise RuntimeError(f"the sync was to write something: {rows}")
        return {"visible": (max(at for _, at in rows).astimezone(UTC) - begun).total_seconds()}

    ground.say("  loading and syncing everything …")
    with ExitStack() as stack:
        stack.callback(stand_in.stop)
        layers.load_all(static_tables(), city, lambda _: target)
        python(*_SYNC)
        sides = {
            IMPORTS: Side(run=lambda: python("-c", "import dagster, dagster_snowflake") and None),
            TICK: Side(run=command, ready=partial(python, *_SIMULATE)),
            UNCHANGED: Side(run=lambda: python(*_SYNC) and None),
            WARM: Side(run=_on_worker(stack)),
            SYNCED_HERE: Side(run=lambda: _sync(stand_in, target), ready=partial(python, *_SIMULATE)),
        }
        runs = alternated(ground, sides, ground.wanted.pairs)
    visible = runs.step(TICK, "visible")
    over = Spread(a - b for a, b in zip(visible, runs.seconds(IMPORTS), strict=True))
    whole, imports = (runs.of(side, lambda run: run.client_cpu) for side in (UNCHANGED, IMPORTS))
    goals = [
        goal("CPU of an unchanged tick / of a process that imports those", "≤ 0.6x", quotients(whole, imports)),
        goal("CPU of an unchanged tick on a worker / as a command", "≤ 0.4x", quotients(runs.step(WARM, "cpu"), whole)),
        goal("tick to visible, beyond the imports of dagster and dagster_snowflake", "≤ 4 s", over),
        goal("of it the sync", "≤ 1 s", runs.seconds(SYNCED_HERE)),
    ]
    notes = [f"start to commit, when the sync closed its row in the ledger: {visible:.2f} s; scale {TICK_SCALE:g}"]
    return section("Tick to visible: sync_all_dynamic", runs, IMPORTS, goals=goals, notes=notes)


def _on_worker(stack: ExitStack) -> Work:
    """Start Redis and a worker; return what launches a sync there and says its CPU seconds."""
    folder = Path(stack.enter_context(TemporaryDirectory()))
    site = Site(folder, folder, {}, "", Redis(folder / "redis"))
    os.environ |= {"FLUX_CELERY_BROKER": site.redis.url, "FLUX_SYNC_RUNS": "worker"}
    site.environment |= os.environ
    load_settings.cache_clear()
    site.redis.start()
    stack.callback(site.end)
    syncs = Syncs(site, stack.enter_context(dagster_instance()))
    syncs.worker()
    syncs.end(syncs.tick())

    def launch() -> dict[str, float]:
        before = syncs.cpu_seconds()
        syncs.end(syncs.tick())
        return {"cpu": syncs.cpu_seconds() - before}

    return launch


def _sync(stand_in: StandIn, target: Target) -> None:
    """Sync as the step does, through dagster-snowflake, where all is imported."""
    tables, opening = dynamic_tables(), partial(Source.open, stand_in.account(), Overrides(), connect=connect)
    names = [each.name for each in tables]
    result = sync_tables(names, Family(tables=tables), opening, target, SyncOptions(), layers.quiet)
    if failed := [each.error for each in result.tables if each.error]:
        raise failed[0]
