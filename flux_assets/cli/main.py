"""The command line `flux-assets`.

Here: commands, options, what they print, exit codes. Not here: how tables and errors look (console/terminal.py), and
everything a command does; each imports it when it is called, so that --help answers at once.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flux_assets.cli.alerts import mute, watchdog
from flux_assets.cli.arguments import load_options, the_layer, the_target
from flux_assets.cli.rollback import pin, roll_back, tell_dagster, unpin
from flux_assets.cli.runs import load, sync
from flux_assets.cli.shown import show_connection, show_findings, show_replay, show_versions
from flux_assets.cli.shown_source import show_filled_anew, show_source, show_step
from flux_assets.cli.shown_status import show_statuses
from flux_assets.cli.terminal import WRONG, Commands, progress_bars
from flux_assets.errors import SettingError, counted
from flux_assets.words import size

if TYPE_CHECKING:
    from flux_assets.layers.pins import Pin
    from flux_assets.layers.versions import Version
    from flux_assets.ledger.status import TableStatus
    from flux_assets.postgis.connect import Target
    from flux_assets.settings import Settings

_AS_IS = {"ignore_unknown_options": True, "allow_interspersed_args": False}
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, with identifiers in full.")


@click.group(cls=Commands, context_settings={"max_content_width": 100})
@click.version_option(package_name="flux_assets")
def main() -> None:
    """Versioned map layers in PostGIS: the database, the state of its tables, and going back to an earlier version.

    `load` and `sync` start the same runs as Dagster does (`make ui`). Settings come from the environment and from
    `.env`; `flux-assets doctor` tests each of them.

    Exit codes: 0 fine, 1 something is wrong, 2 wrong usage, 3 another process is at it.
    """


@main.command()
def up() -> None:
    """Start the embedded PostGIS and the Snowflake stand-in, and say how to connect.

    Both start by themselves whenever they are needed; this is for connecting a map program. The stand-in does not
    start where the settings name a Snowflake account.

    \b
    Example:
      flux-assets up
    """
    from flux_assets.sample.cluster import Cluster
    from flux_assets.settings import load_settings

    settings = load_settings()
    if settings.flux_profile == "production":
        raise SettingError("Profile production provides no database.", "Unset FLUX_PROFILE to use the embedded one.")
    cluster = Cluster(settings.flux_home)
    cluster.ensure_map_database()
    if settings.target_is_set:
        click.echo("The layers go into the database that your settings name; this one is embedded and apart from it.")
    show_connection(cluster.tcp_url(), cluster.secrets)
    _start_stand_in(settings)


@main.command()
def down() -> None:
    """Stop the embedded PostGIS and the Snowflake stand-in, and nothing else.

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
        click.echo(f"Nothing to stop: neither an embedded PostGIS nor a Snowflake stand-in of {home} runs.")


@main.command()
@click.option("--tick", "once", is_flag=True, help="Take one step and end; so does the command without any option.")
@click.option(
    "--every",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Go on, a step every so many seconds, until Ctrl-C (exit code 130).",
)
@click.option("--storm", is_flag=True, help="Let a storm begin in the first step. It is on for 12 hours at most.")
@click.option("--calm", is_flag=True, help="End the storm in the first step: all that it broke is restored.")
@click.option("--reset", is_flag=True, help="First fill the tables anew from the release; alone, do only that.")
@click.option("--seed", type=click.IntRange(min=0), help="Draw from this seed  [default: that of the tables, 7].")
@click.option(
    "--minutes-per-tick",
    "minutes",
    type=click.FloatRange(min=0, min_open=True, max=360),
    default=5.0,
    show_default=True,
    help="Minutes of the utility's day that a step takes at least.",
)
def simulate(  # noqa: PLR0913, PLR0917 - click hands over an argument an option
    once: bool, every: float | None, storm: bool, calm: bool, reset: bool, seed: int | None, minutes: float
) -> None:
    """Drive the Snowflake stand-in like a utility's day.

    Outages begin, crews are assigned, customers are restored; work orders are scheduled, started, completed. A step
    goes to the present time, or --minutes-per-tick past the step before where that is later: steps faster than real
    time run ahead of the clock. The same tables, seed and time give the same step. A real Snowflake account is
    never written to.

    \b
    Examples:
      flux-assets simulate --storm
      flux-assets simulate --every 60
      flux-assets simulate --reset --seed 3
    """  # fmt: skip
    from flux_assets.settings import load_settings
    from flux_assets.wiring.source import simulation_of

    if storm and calm:
        raise click.UsageError("--storm and --calm are opposites; give one of them.")
    if once and every is not None:
        raise click.UsageError("--tick takes one step and --every goes on; give one of them.")
    simulation = simulation_of(load_settings(), seed)
    if reset:
        simulation.reset()
        show_filled_anew()
        if not (once or every or storm or calm):
            return
    length = timedelta(minutes=minutes)
    show_step(simulation.tick(length, storm=storm, calm=calm))
    while every is not None:
        time.sleep(every)
        show_step(simulation.tick(length))


@main.command(context_settings=_AS_IS)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[PSQL ARGUMENTS]...")
def psql(arguments: tuple[str, ...]) -> None:
    """Open psql on the target database, passing all arguments on.

    Address and password go through the environment. Put `--` before arguments that this command would take itself.

    \b
    Examples:
      flux-assets psql
      flux-assets psql -c 'SELECT count(*) FROM substations'
      flux-assets psql -- --help
    """
    from flux_assets.settings import load_settings
    from flux_assets.wiring.psql import psql_environment, psql_program

    program, environment = psql_program(), psql_environment(load_settings())
    os.execve(program, [program, *arguments], environment)  # noqa: S606 - the user's own terminal, and no shell


@main.command()
@as_json
@click.option(
    "--watch",
    "every",
    is_flag=False,
    flag_value=5.0,
    type=click.FloatRange(min=0.1),
    metavar="[SECONDS]",
    help="Look again every 5 seconds, or so many, until Ctrl-C (exit code 130).",
)
@click.option(
    "--attempts", is_flag=True, help="How each table's last load or sync ended, with the whole reason; see exit codes."
)
def status(as_json: bool, every: float | None, attempts: bool) -> None:
    """Show what readers see of every table and, apart from that, how its last load or sync ended.

    Its rows and version; when its source last changed, when it was last checked, when what readers see last changed;
    how old a synced table's picture is (lag). A load or sync that failed has changed nothing that readers see. View
    postgres_sync.v_table_status says the same: state and trusted of the one, last_attempt of the other.

    Exit code 1 when what readers see of a table cannot be trusted: it is late or broken. With --attempts also when a
    last attempt failed.

    \b
    Examples:
      flux-assets status
      flux-assets status --attempts
      flux-assets status --watch
      flux-assets status --watch 60 --json
    """
    from flux_assets.layers.status import table_statuses
    from flux_assets.tables import declarations

    target = the_target()
    if every is not None:
        if attempts:
            raise click.UsageError("--watch shows what readers see, and --attempts does not; give one of them.")
        _watch(target, every, as_json)
        return
    found = table_statuses(target, declarations())
    if as_json:
        _print_json(_document(target, found))
    else:
        show_statuses(found, attempts=attempts)
    _exit_if(any(table.wrong or (attempts and table.attempt_failed) for table in found))


def _watch(target: Target, every: float, as_json: bool) -> None:
    from flux_assets.cli.watch import watch, watch_as_json
    from flux_assets.layers.status import table_statuses
    from flux_assets.tables import declarations

    def look() -> list[TableStatus]:
        return table_statuses(target, declarations())

    if as_json:
        watch_as_json(look, every, lambda found: _document(target, found))
    watch(look, every, f"Schema {target.schema}")


def _document(target: Target, found: Sequence[TableStatus]) -> dict[str, object]:
    return {"schema": target.schema, "tables": [_status_document(table) for table in found]}


def _status_document(table: TableStatus) -> dict[str, object]:
    return asdict(table) | {"wrong": table.wrong, "attempt_failed": table.attempt_failed}


@main.command()
@click.argument("table", required=False)
@as_json
def versions(table: str | None, as_json: bool) -> None:
    """List the versions of every layer, or of TABLE.

    The newest first, with the one that readers see, whether the layer is pinned to it, and those that can be rolled
    back to (state `published`).

    \b
    Examples:
      flux-assets versions
      flux-assets versions substations --json
    """
    from flux_assets.layers.status import layer_pins, layer_versions
    from flux_assets.tables import static_tables

    target, chosen = the_target(), (the_layer(table),) if table else static_tables()
    found = layer_versions(target, chosen)
    pinned = {(pin.layer_name, pin.version): pin for pin in layer_pins(target).values()}
    if as_json:
        _print_json([_version_document(name, version, pinned.get((name, version.version))) for name, version in found])
        return
    show_versions(found, pinned)


@main.command("replay")
@click.argument("table")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Only write the records to this new CSV file, with why.",
)
@click.option(
    "--from",
    "corrected",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Take the corrected records of this CSV file instead of what the release has.",
)
@click.option(
    "--accept-schema-change", is_flag=True, help="Change columns of the public table as the declaration now says."
)
def play_again(table: str, out: Path | None, corrected: Path | None, accept_schema_change: bool) -> None:
    """Read the records again that TABLE lacks because they were refused, and publish those that pass.

    A new version is made of the published one and those records, audited and swapped in as by a load. Records that
    are still refused stay in postgres_sync.quarantine, with the reason. Exit code 1 when none passes.

    \b
    Examples:
      flux-assets replay substations
      flux-assets replay substations --out wrong.csv
      flux-assets replay substations --from wrong.csv
    """
    from flux_assets.layers.quarantine.corrections import read_corrections, write_corrections
    from flux_assets.layers.quarantine.replay import replay, waiting_records
    from flux_assets.settings import load_settings

    declared, settings, target = the_layer(table), load_settings(), the_target()
    if out is not None and corrected is not None:
        raise click.UsageError("--out writes the records and --from reads them; give one of them.")
    if out is not None:
        records = waiting_records(declared, target)
        write_corrections(out, declared, records)
        click.echo(
            f"{table}: wrote {counted(len(records), 'record')} to {out}."
            f" Correct the values and run `flux-assets replay {table} --from {out}`."
        )
        return
    options = replace(load_options(settings), accept_schema_change=accept_schema_change)
    given = list(read_corrections(corrected)) if corrected else []
    result = replay(declared, target, options, lambda line: click.echo(line, err=True), given)
    show_replay(table, result)
    if result.replayed:
        left = len(result.waiting)
        tell_dagster(settings, lambda history: history.report_replay(declared, result.version, left))
    _exit_if(bool(result.waiting) and not result.replayed)


@main.command()
@click.option("--scale", type=float, default=1.0, show_default=True, help="Size; 1 is that of the published release.")
@click.option("--seed", type=int, default=7, show_default=True, help="Another seed is another city.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder to write.")
def sample(scale: float, seed: int, out: Path) -> None:
    """Write a made-up release of any size: the sample city.

    The same scale and seed give the same bytes.

    \b
    Example:
      flux-assets sample --scale 0.05 --seed 7 --out city
      FLUX_RELEASE=city dagster asset materialize -m flux_assets.definitions --select group:static_layers
    """
    from flux_assets.sample.city.release_writer import write_release
    from flux_assets.tables import static_tables

    with progress_bars() as progress:
        write_release(out, static_tables(), scale=scale, seed=seed, progress=progress)
    files = sorted(out.glob("*.csv.gz"))
    written = sum(file.stat().st_size for file in files)
    click.echo(f"Wrote {len(files)} files, {size(written)}, and manifest.json to {out}.")
    click.echo(f"Load it with FLUX_RELEASE={out.absolute()}")


@main.command()
@as_json
def doctor(as_json: bool) -> None:
    """Test every setting and permission.

    Says what to do about each that fails. Exit code 1 when anything failed; warnings and notes do not count.

    \b
    Examples:
      flux-assets doctor
      flux-assets doctor --json
    """
    from flux_assets.doctor.examination import examine
    from flux_assets.tables import declarations

    findings = list(examine(declarations()))
    failed = [finding for finding in findings if finding.outcome == "failed"]
    if as_json:
        _print_json({"ok": not failed, "findings": [asdict(finding) for finding in findings]})
    else:
        show_findings(findings)
    _exit_if(bool(failed))


main.add_command(load)
main.add_command(sync)
main.add_command(roll_back)
main.add_command(pin)
main.add_command(unpin)
main.add_command(mute)
main.add_command(watchdog)


def _start_stand_in(settings: Settings) -> None:
    """Filled where it is the source; where the settings name another source, or none, it is only told why not."""
    from flux_assets.sample.stand_in.server import StandIn
    from flux_assets.wiring.source import snowflake_account

    try:
        account = snowflake_account(settings)
    except SettingError as error:
        click.echo(f"The Snowflake stand-in was not started: {error}")
        return
    if account.stand_in:
        show_source(account, StandIn(settings.flux_home).layout.secret)
    else:
        click.echo(f"The dynamic tables come from the Snowflake account {account.account}.")


def _version_document(table: str, version: Version, pin: Pin | None) -> dict[str, object]:
    pinned = {"at": pin.pinned_at, "by": pin.pinned_by, "reason": pin.reason} if pin and version.current else None
    return {"table": table} | asdict(version) | {"pinned": pinned}


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2, default=lambda instant: instant.isoformat()))


def _exit_if(wrong: bool) -> None:
    if wrong:
        click.get_current_context().exit(WRONG)
