"""The commands about alerts: watchdog and mute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from flux_assets.cli.terminal import exit_if, one_of, print_json, show_table, the_target
from flux_assets.errors import counted

if TYPE_CHECKING:
    from flux_assets.alerting.incident import Incident

COMMANDS = click.Group()


def _time_span(_context: click.Context, _parameter: click.Parameter, value: str) -> timedelta:
    """Return a time span such as 90m, 2h or 1d. Raises BadParameter for one without a unit, unlike in settings."""
    from pydantic import TypeAdapter

    from flux_assets.settings import Duration

    bare = value.strip()
    if bare.strip("0.") and bare.replace(".", "", 1).isdecimal():
        raise click.BadParameter(f"{value!r} has no unit; write {bare}m, {bare}h or {bare}d")
    try:
        span: timedelta = TypeAdapter(Duration).validate_python(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a time span of at most a year such as 30m, 2h or 1d") from None
    if not timedelta() < span <= timedelta(days=366):
        raise click.BadParameter(f"{value!r} is not between a second and a year")
    return span


@COMMANDS.command("watchdog")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--send", "to_send", is_flag=True, help="Also send what has not been reported yet to FLUX_ALERT_URL.")
def _watchdog(as_json: bool, to_send: bool) -> None:
    """Check all tables, PostGIS and Dagster once, and print a line for each problem.

    Made for cron: it needs no Dagster daemon, reports when the daemon is dead, and starts nothing. Exit code 1 when
    there is a problem that is not muted, or when an alert was not delivered.

    \b
    Examples:
      flux-assets watchdog
      flux-assets watchdog --json
      */5 * * * *  cd /srv/flux_assets && .venv/bin/flux-assets watchdog --send >> watchalerts.log 2>&1
    """
    from flux_assets.alerting.delivery import length, title
    from flux_assets.orchestration.alerts.rounds import run_watchdog

    rounds, found = run_watchdog(send=to_send)
    undelivered = [each.undelivered for each in rounds if each.undelivered]
    sent = [{"event": event, "title": title(event, incident)} for each in rounds for event, incident in each.sent]
    wrong = bool(undelivered) or not all(muted for _, muted in found)
    if as_json:
        problems = [_as_json(title("opened", incident), incident, muted) for incident, muted in found]
        said = {"ok": not wrong, "problems": problems, "told": sent, "undelivered": list(map(str, undelivered))}
        print_json(said)
    else:
        for incident, muted in found:
            names = f" [{', '.join(incident.failing)}]" if len(incident.failing) > 1 else ""
            lasts = length(datetime.now(UTC) - incident.since)
            line = f"{title('opened', incident)}{names}, for {lasts}: {incident.problem} {incident.remedy}"
            click.echo(f"{'muted: ' if muted else ''}{line.rstrip()}")
        if not found:
            click.echo("All is well.")
        for message in sent:
            click.echo(f"sent: {message['title']}")
    for error in undelivered:
        click.secho(f"Warning: {error}", fg="yellow", err=True)
    exit_if(wrong)


def _as_json(title: str, incident: Incident, muted: bool) -> dict[str, Any]:
    return {
        "kind": incident.kind,
        "about": incident.about,
        "title": title,
        "muted": muted,
        "problem": incident.problem,
        "remedy": incident.remedy,
        "tables": list(incident.failing),
        "since": incident.since,
        "failures": incident.ticks,
        "run_id": incident.run_id,
    }


@COMMANDS.command("mute")
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
def _mute(span: timedelta, tables: tuple[str, ...], off: bool, listed: bool) -> None:
    """Send no alerts for a while, about all tables or about some.

    A problem that lasts longer than the mute is reported when the mute ends; one that is over by then is not.

    \b
    Examples:
      flux-assets mute --for 2h
      flux-assets mute --for 1d --table work_orders
      flux-assets mute --list
      flux-assets mute --off
    """
    from flux_assets.alerting.store import AlertFile, AlertTables
    from flux_assets.settings import load_settings
    from flux_assets.tables import declarations

    if off and listed:
        raise click.UsageError("--off ends mutes and --list shows them; give one of them.")
    for name in tables:
        one_of(declarations(), "table", name)
    target = the_target()
    with target.session("mute") as session:
        store = AlertTables(session, target.schema)
        store.create()
        if off:
            ended = store.unmute(tables)
            click.echo(f"Ended {counted(ended, 'mute')}." if ended else "Nothing was muted.")
        elif not listed:
            store.mute(tables, span)
        held = store.mutes()
    AlertFile(load_settings().flux_home).note_mutes(held)
    if off:
        return
    if not held.all:
        click.echo("Nothing is muted.")
        return
    rows = [(mute.layer_name or "all tables", mute.ends_at, mute.begun_by) for mute in held.all]
    show_table(("muted", "until", "by"), rows)
