"""`python -m bench`: runs the experiments, prints what they found, writes it under bench/results/."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import click
from rich.console import Console

from bench import commands, derived, far, formats, layers, memory, publish, scale, sync
from bench.ground import Ground, Wanted, ground
from bench.runs import Section, finish, show
from flux_assets.errors import FluxError

EXPERIMENTS: dict[str, Callable[[Ground], Section]] = {
    "buildings": partial(layers.buildings, in_order=False),
    "buildings-in-order": partial(layers.buildings, in_order=True),
    "release": partial(commands.release, in_order=False),
    "release-in-order": partial(commands.release, in_order=True),
    "far": far.far,
    "derived": derived.derived,
    "memory": memory.of_loads,
    "publish": publish.publish,
    "peers": layers.peers,
    "formats": formats.formats,
    "sync": sync.speed,
    "sync-wal": sync.wal,
    "sync-memory": memory.of_syncs,
    "sync-dlt": sync.dlt,
    "sync-tick": commands.tick,
}
SCALE_OUT: dict[str, Callable[[Ground], Section]] = {
    "scale-loads": scale.loads,
    "scale-publishes": scale.publishes,
    "scale-syncs": partial(sync.wal, times=scale.TIMES),
}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--scale", default=1.0, show_default=True, help="Size of the sample city; 1 is the published release.")
@click.option("--seed", default=7, show_default=True, help="Which sample city.")
@click.option("--pairs", default=5, show_default=True, help="Rounds of the alternated runs.")
@click.option("--publishes", default=20, show_default=True, help="Publishes under readers.")
@click.option("--quick", is_flag=True, help="Scale 0.05 and two rounds: does it run? Its ratios mean nothing.")
@click.option(
    "--only", type=click.Choice([*EXPERIMENTS, *SCALE_OUT]), multiple=True, help="This experiment; may be repeated."
)
@click.option(
    "--scale-out", is_flag=True, help=f"The experiments at {scale.TIMES} times the scale, which take an hour."
)
@click.option("--embedded", is_flag=True, help="The embedded cluster's settings, not PostgreSQL's own, for both sides.")
def main(*, quick: bool, only: tuple[str, ...], scale_out: bool, embedded: bool, **asked: Any) -> None:
    """Measure loads, publishes and syncs of the sample city in a private PostGIS."""
    wanted = Wanted(**(asked | ({"scale": 0.05, "pairs": 2} if quick else {})), quick=quick)
    console = Console(width=None if Console().is_terminal else 200)
    sections: list[Section] = []
    settings = "embedded" if embedded else "stock"
    with ground(settings, partial(console.print, highlight=False), wanted) as place:
        facts = {**place.facts(), "settings": settings}
        for name in only or (SCALE_OUT if scale_out else EXPERIMENTS):
            place.say(f"{name} …")
            sections.append((EXPERIMENTS | SCALE_OUT)[name](place))
            show(sections[-1], console)
    when = datetime.now(UTC).strftime("%Y%m%d-%H%M")
    finish(
        sections,
        facts,
        console,
        "-".join([when, f"scale{wanted.scale:g}", settings, *only, *(["out"] if scale_out else [])]),
    )


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # through the end of `ground`, which stops the server
    try:
        main()
    except FluxError as error:
        sys.exit(str(error))
