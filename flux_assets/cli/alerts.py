"""The commands about alerts: watchdog and mute."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from flux_assets.cli.arguments import did_you_mean
from flux_assets.cli.terminal import exit_if, moment, print_warning, show_table
from flux_assets.errors import FluxError, LayerError

if TYPE_CHECKING:
    from flux_assets.alerting.delivery import Delivery
    from flux_assets.alerting.store import Mutes
    from flux_assets.orchestration.alerts.rounds import Definitions, Problem


def _time_span(_context: click.Context, _parameter: click.Parameter, value: str) -> timedelta:
    """Return a time span such as 90m, 2h or 1d. Raises BadParameter for one without a unit, unlike in settings."""
    from flux_assets.settings import duration

    bare = value.strip()
    if bare.strip("0.") and bare.replace(".", "", 1).isdecimal():
        raise click.BadParameter(f"{value!r} has no unit; write {bare}m, {bare}h or {bare}d")
    try:
        span = duration(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a time span of at most a year such as 30m, 2h or 1d") from None
    if not timedelta() < span <= timedelta(days=366):
        raise click.BadParameter(f"{value!r} is not between a second and a year")
    return span


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--send", "to_send", is_flag=True, help="Also send what has not been reported yet to FLUX_ALERT_URL.")
def watchdog(as_json: bool, to_send: bool) -> None:
    """Check all tables, PostGIS and Dagster once, and print a line for each problem.

    Made for cron: it needs no Dagster daemon, reports when the daemon is dead, and starts nothing. Exit code 1 when
    there is a problem that is not muted, or when an alert was not delivered.

    \b
    Examples:
      flux-assets watchdog
      flux-assets watchdog --json
      */5 * * * *  cd /srv/flux_assets && .venv/bin/flux-assets watchdog --send >> watchalerts.log 2>&1
    """
    from flux_assets.orchestration.alerts import rounds as alerts
    from flux_assets.settings import load_settings
    from flux_assets.tables import declarations

    settings, tables = load_settings(), declarations()
    with alerts.dagster_of(settings, _definitions) as dagster:
        rounds = alerts.send(settings, tables, dagster) if to_send else []
        found = alerts.problems(settings, tables, dagster)
    undelivered = [each.undelivered for each in rounds if each.undelivered]
    if as_json:
        click.echo(json.dumps(_as_json(found, rounds, undelivered), indent=2))
    else:
        _show(found, rounds)
    for error in undelivered:
        print_warning(str(error))
    exit_if(bool(undelivered) or any(not problem.muted for problem in found))


def _definitions() -> Definitions:
    from flux_assets.definitions import defs

    return defs


@click.command()
@click.option(
    "--for",
    "span",
    callback=_time_span,
    default="2h",
    show_default=True,
    metavar="SPAN",
    help="How long, such as 30m, 2h or 1d.",
)
@click.option("--table", "tables", multiple=True, metavar="TABLE", help="Only this table; may be given several times.")
@click.option("--off", is_flag=True, help="End all mutes, or those of --table.")
@click.option("--list", "listed", is_flag=True, help="List the mutes.")
def mute(span: timedelta, tables: tuple[str, ...], off: bool, listed: bool) -> None:
    """Send no alerts for a while, about all tables or about some.

    A problem that lasts longer than the mute is reported when the mute ends; one that is over by then is not.

    \b
    Examples:
      flux-assets mute --for 2h
      flux-assets mute --for 1d --table work_orders
      flux-assets mute --list
      flux-assets mute --off
    """
    from flux_assets.alerting import store
    from flux_assets.alerting.store import IncidentFile
    from flux_assets.settings import load_settings
    from flux_assets.wiring.target import postgis_target

    if off and listed:
        raise click.UsageError("--off ends mutes and --list shows them; give one of them.")
    _require_tables(tables)
    settings = load_settings()
    target = postgis_target(settings)
    with target.session("mute") as session:
        store.make_ready(session, target.schema)
        if off:
            ended = store.unmute(session, target.schema, tables)
            click.echo(f"Ended {ended} mute{'' if ended == 1 else 's'}." if ended else "Nothing was muted.")
        elif not listed:
            store.mute(session, target.schema, tables or (None,), span)
        held = store.mutes(session, target.schema)
    IncidentFile(settings.flux_home).note_mutes(held)
    if not off:
        _show_mutes(held)


def _require_tables(names: Sequence[str]) -> None:
    from flux_assets.tables import declarations

    known = [table.name for table in declarations()]
    for name in names:
        if name not in known:
            raise LayerError(
                f"There is no table {name!r}.{did_you_mean(name, known)}", f"The tables are {', '.join(known)}."
            )


def _show_mutes(held: Mutes) -> None:
    if not held.all:
        click.echo("Nothing is muted.")
        return
    rows = [(mute.layer_name or "all tables", moment(mute.ends_at), mute.begun_by) for mute in held.all]
    show_table(("muted", "until", "by"), rows)


def _show(found: Sequence[Problem], rounds: Sequence[Delivery]) -> None:
    from flux_assets.alerting.message import length, title

    now = datetime.now(UTC)
    for problem in found:
        incident = problem.incident
        muted = "muted: " if problem.muted else ""
        remedy = f" {incident.remedy}" if incident.remedy else ""
        names = f" [{', '.join(incident.failing)}]" if len(incident.failing) > 1 else ""
        click.echo(
            f"{muted}{title('opened', incident)}{names}, for {length(now - incident.since)}: {incident.problem}{remedy}"
        )
    if not found:
        click.echo("All is well.")
    for event, incident in (sent for each in rounds for sent in each.sent):
        click.echo(f"sent: {title(event, incident)}")


def _as_json(found: Sequence[Problem], rounds: Sequence[Delivery], undelivered: Sequence[FluxError]) -> dict[str, Any]:
    from flux_assets.alerting.incident import ABOUT
    from flux_assets.alerting.message import title

    return {
        "ok": not undelivered and all(problem.muted for problem in found),
        "problems": [
            {
                "kind": problem.incident.kind,
                "about": ABOUT[problem.incident.kind],
                "title": title("opened", problem.incident),
                "muted": problem.muted,
                "problem": problem.incident.problem,
                "remedy": problem.incident.remedy,
                "tables": list(problem.incident.failing),
                "since": problem.incident.since.isoformat(),
                "failures": problem.incident.ticks,
                "run_id": problem.incident.run_id,
            }
            for problem in found
        ],
        "told": [{"event": event, "title": title(event, incident)} for each in rounds for event, incident in each.sent],
        "undelivered": [str(error) for error in undelivered],
    }
