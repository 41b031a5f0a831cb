"""The commands about what stands in when nothing is configured: up, down, simulate, sample."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from flux_assets.errors import SettingError
from flux_assets.words import size

if TYPE_CHECKING:
    from rich.progress import TaskID

    from flux_assets.sample.simulation.tick import Ticked

_REFILLED = r"""Refilled the tables of the stand-in.
If many synced rows are gone now, such as those of a storm, the next sync treats the source as
half-loaded: it fails and leaves the table unchanged. To accept the change once:
  dagster asset materialize -m flux_assets.definitions --select 'group:dynamic_operations' \
      --config-json '{"ops": {"sync_dynamic_tables": {"config": {"accept_vanished": true}}}}'"""
COMMANDS = click.Group()


@COMMANDS.command("up")
def _up() -> None:
    """Start the embedded PostGIS and the Snowflake stand-in.

    How to connect is printed. Both start by themselves whenever they are needed; use this to connect a map program. The
    stand-in does not start where the settings name a Snowflake account.

    \b
    Example:
      flux-assets up
    """
    from flux_assets.sample.cluster import Cluster
    from flux_assets.sample.stand_in.server import StandIn
    from flux_assets.settings import load_settings
    from flux_assets.wiring.home import Home
    from flux_assets.wiring.source import snowflake_account

    settings = load_settings()
    if settings.flux_profile == "production":
        raise SettingError(
            "FLUX_PROFILE=production provides no database.", "Unset FLUX_PROFILE to use the embedded one."
        )
    Home(settings.flux_home).claim()
    cluster = Cluster(settings.flux_home)
    cluster.ensure_map_database()
    if settings.target_is_set:
        click.echo("The layers are loaded into the database of your settings, not into this embedded one.")
    parts = urlsplit(cluster.tcp_url())
    where = f"host {parts.hostname}, port {parts.port}, database {parts.path[1:]}, user {parts.username}"
    click.echo("The embedded PostGIS is running. Stop it with `flux-assets down`.")
    click.echo("  psql:         flux-assets psql")
    click.echo(f"  map program:  {where}")
    click.echo(f"  password:     `owner` in {cluster.secrets}")
    try:
        account = snowflake_account(settings)
    except SettingError as error:
        click.echo(f"The Snowflake stand-in was not started: {error}")
        return
    if not account.stand_in:
        click.echo(f"The dynamic tables come from the Snowflake account {account.account}.")
        return
    where = f"host {account.host}, port {account.port}, protocol {account.protocol}"
    click.echo("The Snowflake stand-in is running; `flux-assets simulate` changes its rows.")
    click.echo(f"  connector:    account {account.account}, user {account.user}, {where}")
    click.echo(f"  tables:       database {account.database}, schema {account.schema}")
    click.echo(f"  password:     in {StandIn(settings.flux_home).layout.secret}")


@COMMANDS.command("down")
def _down() -> None:
    """Stop the embedded PostGIS and the Snowflake stand-in.

    Only what this project started under FLUX_HOME is stopped; its data stays.

    \b
    Example:
      flux-assets down
    """
    from flux_assets.sample.cluster import Cluster
    from flux_assets.sample.stand_in.server import StandIn
    from flux_assets.settings import load_settings

    home = load_settings().flux_home
    cluster, stand_in = Cluster(home), StandIn(home)
    running = {"embedded PostGIS": cluster.running(), "Snowflake stand-in": stand_in.running}
    stand_in.stop()
    cluster.stop()
    for name in (name for name, ran in running.items() if ran):
        click.echo(f"Stopped the {name} of {home}; its data stays.")
    if not any(running.values()):
        click.echo(f"Nothing to stop: neither an embedded PostGIS nor a Snowflake stand-in of {home} is running.")


@COMMANDS.command("simulate")
@click.option("--tick", "once", is_flag=True, help="Take one step and end: the default.")
@click.option(
    "--every",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Take a step every SECONDS until Ctrl-C (exit code 130).",
)
@click.option("--storm", is_flag=True, help="Start a storm in the first step. It lasts 12 hours at most.")
@click.option("--calm", is_flag=True, help="End the storm in the first step: all that it broke is restored.")
@click.option(
    "--reset", is_flag=True, help="First refill the tables from the release; without other options, only that."
)
@click.option("--seed", type=click.IntRange(min=0), help="Random seed  [default: the seed of the tables, 7].")
@click.option(
    "--minutes-per-tick",
    "minutes",
    type=click.FloatRange(min=0, min_open=True, max=360),
    default=5.0,
    show_default=True,
    help="Simulated minutes that a step takes at least.",
)
def _simulate(every: float | None, seed: int | None, minutes: float, **flags: bool) -> None:
    """Simulate a utility's day on the Snowflake stand-in.

    Outages begin, crews are assigned, customers are restored; work orders are scheduled, started, completed. A step
    goes to the present time, or --minutes-per-tick past the step before where that is later: steps faster than real
    time run ahead of the clock. The same tables, seed and time give the same step. A real Snowflake account is
    never written to.

    \b
    Examples:
      flux-assets simulate --storm
      flux-assets simulate --every 60
      flux-assets simulate --reset --seed 3
    """
    from flux_assets.settings import load_settings
    from flux_assets.wiring.source import simulation_of

    once, storm, calm = flags["once"], flags["storm"], flags["calm"]
    if storm and calm:
        raise click.UsageError("--storm and --calm are opposites; give one of them.")
    if once and every is not None:
        raise click.UsageError("--tick takes one step and --every many; give one of them.")
    simulation = simulation_of(load_settings(), seed)
    if flags["reset"]:
        simulation.reset()
        click.echo(_REFILLED)
        if not (once or every or storm or calm):
            return
    length = timedelta(minutes=minutes)
    _show_step(simulation.tick(length, storm=storm, calm=calm))
    while every is not None:
        time.sleep(every)
        _show_step(simulation.tick(length))


@COMMANDS.command("sample")
@click.option("--scale", type=float, default=1.0, show_default=True, help="Size; 1 is that of the published release.")
@click.option("--seed", type=int, default=7, show_default=True, help="Random seed; another one makes another city.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder to write.")
def _sample(scale: float, seed: int, out: Path) -> None:
    """Write a made-up release of any size: the sample city.

    The same scale and seed give the same bytes.

    \b
    Example:
      flux-assets sample --scale 0.05 --seed 7 --out city
      FLUX_RELEASE=city dagster asset materialize -m flux_assets.definitions --select group:static_layers
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from flux_assets.sample.city.release_writer import write_release
    from flux_assets.tables import built_in

    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def report(name: str, done: int, of: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=of)
            bars.update(tasks[name], completed=done, total=of)

        write_release(out, built_in().static, scale=scale, seed=seed, progress=report)
    files = sorted(out.glob("*.csv.gz"))
    written = sum(file.stat().st_size for file in files)
    click.echo(f"Wrote {len(files)} files, {size(written)}, and manifest.json to {out}.")
    click.echo(f"Load it with FLUX_RELEASE={out.absolute()}")


def _show_step(step: Ticked) -> None:
    """Print one line: what began and ended, and what is open."""
    outages = f"{step.begun} began, {step.restored} restored, {step.open_outages} open"
    orders = f"{step.orders_written} written, {step.orders_completed} completed"
    weather = "; storm" if step.storm else ""
    out = f"{step.customers_out:,} customers out"
    click.echo(f"{step.now:%Y-%m-%d %H:%MZ}  outages: {outages}, {out}; work orders: {orders}{weather}")
