"""`python -m bench`: runs the experiments, prints what they found, writes it under bench/results/."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import click
from rich.console import Console

from bench import (
    buildings,
    checks,
    event_log,
    growth,
    machine,
    matching,
    peers,
    readers,
    sync_dlt,
    sync_memory,
    sync_readers,
    sync_speed,
    sync_tick,
    sync_wal,
    whole,
)
from bench.ground import Ground, ground, keys_in_order, release, server_facts
from bench.results import Section, finish, show
from flux_assets.errors import FluxError
from flux_assets.release.release import Release
from flux_assets.spec import StaticTable
from flux_assets.tables import dynamic_tables, static_tables

EXPERIMENTS = (
    "buildings",
    "buildings-in-order",
    "release",
    "release-in-order",
    "memory",
    "linear",
    "publish",
    "matching",
    "peers",
    "sync",
    "sync-readers",
    "sync-wal",
    "sync-memory",
    "sync-dlt",
    "sync-tick",
    "checks",
    "event-log",
)
LAYER = "building_footprints"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the command line asked for."""

    scale: float
    seed: int
    pairs: int
    publishes: int
    quick: bool


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--scale", default=1.0, show_default=True, help="Size of the sample city; 1 is the published release.")
@click.option("--seed", default=7, show_default=True, help="Which sample city.")
@click.option("--pairs", default=5, show_default=True, help="Rounds of the alternated runs.")
@click.option("--publishes", default=20, show_default=True, help="Publishes under readers.")
@click.option("--patience", default=0.0, help="Seconds to wait, before each timed run, for others to be quiet.")
@click.option("--quick", is_flag=True, help="Scale 0.05 and two rounds: does it run? Its ratios mean nothing.")
@click.option("--only", type=click.Choice(EXPERIMENTS), multiple=True, help="This experiment; may be repeated.")
@click.option(
    "--settings", type=click.Choice(["stock", "embedded"]), default="stock", show_default=True,
    help="PostgreSQL's own settings, or those of the embedded cluster; for both sides.",
)  # fmt: skip
def main(*, quick: bool, only: tuple[str, ...], settings: str, patience: float, **asked: Any) -> None:
    """Measure loads and publishes of the sample city in a private PostGIS."""
    wanted = Wanted(**(asked | ({"scale": 0.05, "pairs": 2} if quick else {})), quick=quick)
    console = Console(width=None if Console().is_terminal else 200)
    facts = machine.facts()
    sections: list[Section] = []
    with ground(settings, partial(console.print, highlight=False), patience) as place:
        facts |= {"scale": f"{wanted.scale:g}", "server": f"{settings} settings, autovacuum off: {_server(place)}"}
        for name in only or EXPERIMENTS:
            place.say(f"{name} …")
            sections.append(_experiments(place, wanted)[name]())
            show(sections[-1], console)
    when = datetime.now(UTC).strftime("%Y%m%d-%H%M")
    finish(sections, facts, console, "-".join([when, f"scale{wanted.scale:g}", settings, *only]))


def _experiments(place: Ground, wanted: Wanted) -> dict[str, Callable[[], Section]]:
    table, rows = _layer(), 2_000 if wanted.quick else 100_000

    def city(scale: float = wanted.scale) -> Release:
        return release(place.say, scale, wanted.seed)

    def in_order() -> Release:
        return keys_in_order(city(), table, f"in-order-{wanted.scale:g}-{wanted.seed}")

    def sizes() -> dict[float, Release]:
        return {size: city(size) for size in (wanted.scale / 4, wanted.scale)}

    return {
        "buildings": lambda: buildings.measure(place, table, city(), wanted.pairs, "ids in no order"),
        "buildings-in-order": lambda: buildings.measure(
            place, table, in_order(), wanted.pairs, "ids in the file's order"
        ),
        "release": lambda: whole.measure(place, static_tables(), city(), wanted.pairs, "building ids in no order"),
        "release-in-order": lambda: whole.measure(
            place, static_tables(), in_order(), wanted.pairs, "building ids in the file's order"
        ),
        "memory": lambda: growth.memory(place, table, sizes(), 2),
        "linear": lambda: growth.linear(place, table, sizes(), wanted.pairs),
        "publish": lambda: readers.measure(place, table, city(), wanted.publishes),
        "matching": lambda: matching.measure(place, table, city(), min(wanted.pairs, 3)),
        "peers": lambda: peers.measure(place, table, city(), min(wanted.pairs, 3)),
        "sync": lambda: sync_speed.measure(place, wanted.pairs, quick=wanted.quick),
        "sync-readers": lambda: sync_readers.measure(place, rows, wanted.publishes),
        "sync-wal": lambda: sync_wal.measure(place, rows, wanted.pairs),
        "sync-memory": lambda: sync_memory.measure(place, rows * 10),
        "sync-tick": lambda: sync_tick.measure(place, city(sync_tick.SCALE), wanted.pairs),
        "sync-dlt": lambda: sync_dlt.measure(place, rows, min(wanted.pairs, 3)),
        "event-log": lambda: event_log.measure(place, *((72, 24) if wanted.quick else (1000, event_log.DAY))),
        "checks": lambda: checks.measure(place, static_tables(), dynamic_tables(), city(), min(wanted.pairs, 3)),
    }


def _layer() -> StaticTable:
    return next(table for table in static_tables() if table.name == LAYER)


def _server(place: Ground) -> str:
    return ", ".join(f"{name} {value}" for name, value in server_facts(place.cluster).items())


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # through the end of `ground`, which stops the server
    try:
        main()
    except FluxError as error:
        sys.exit(str(error))
