"""The commands about alerts: the watchdog and muting.

Here: their options, what they print, exit codes. Not here: the other commands (cli.py).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from flux_assets.cli.arguments import did_you_mean
from flux_assets.cli.terminal import WRONG, moment, show_table, warn
from flux_assets.errors import FluxError, LayerError

if TYPE_CHECKING:
    from flux_assets.alerting.delivery import Delivery
    from flux_assets.alerting.muting import Mutes
    from flux_assets.orchestration.alerts.watchdog import Definitions, Problem


class Span(click.ParamType):  # type: ignore[type-arg]
    """A time span such as 90m, 2h or 1d."""

    name = "span"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:  # noqa: ANN401
        from flux_assets.settings import duration

        bare = str(value).strip()
        if bare.strip("0.") and bare.replace(".", "", 1).isdecimal():
            self.fail(f"{value!r} has no unit; write {bare}m, {bare}h or {bare}d", param, ctx)
        try:
            span = value if isinstance(value, timedelta) else duration(str(value))
        except ValueError:
            # In settings a bare number is seconds, and their sentence says so.
            self.fail(f"{value!r} is not a time span of at most a year such as 30m, 2h or 1d", param, ctx)
        if not timedelta() < span <= timedelta(days=366):
            self.fail(f"{value!r} is not between a second and a year", param, ctx)
        return span


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--send", "to_send", is_flag=True, help="Also send to FLUX_ALERT_URL what nobody has been told yet.")
def watchdog(as_json: bool, to_send: bool) -> None:
    """Look once at all tables, at PostGIS and at Dagster, and say what is wrong, a line each.

    It needs no Dagster daemon, notices when that is dead, and starts nothing: made for cron. Exit code 1 when
    something is wrong that is not muted, or when a message did not arrive.

    \b
    Examples:
      flux-assets watchdog
      flux-assets watchdog --json
      */5 * * * *  cd /srv/flux_assets && .venv/bin/flux-assets watchdog --send >> watchdog.log 2>&1
    """  # fmt: skip
    from flux_assets.orchestration.alerts import watchdog as dog
    from flux_assets.settings import load_settings
    from flux_assets.tables import declarations

    settings, tables = load_settings(), declarations()
    with dog.dagster_of(settings, _definitions) as dagster:
        rounds = dog.send(settings, tables, dagster) if to_send else []
        found = dog.problems(settings, tables, dagster)
    undelivered = [each.undelivered for each in rounds if each.undelivered]
    if as_json:
        click.echo(json.dumps(_as_json(found, rounds, undelivered), indent=2))
    else:
        _show(found, rounds)
    for error in undelivered:
        warn(str(error))
    if undelivered or any(not problem.muted for problem in found):
        click.get_current_context().exit(WRONG)


def _definitions() -> Definitions:
    from flux_assets.definitions import defs

    return defs


@click.command()
@click.option("--for", "span", type=Span(), default="2h", show_default=True, help="How long, such as 30m, 2h or 1d.")
@click.option("--table", "tables", multiple=True, metavar="TABLE", help="Only this table; may be given several times.")
@click.option("--off", is_flag=True, help="End the mutes, or those of --table.")
@click.option("--list", "listed", is_flag=True, help="Show what is muted.")
def mute(span: timedelta, tables: tuple[str, ...], off: bool, listed: bool) -> None:
    """Tell nobody of what is wrong, for a while.

    Of all tables, or of some. What is still wrong when it ends is told then; what was over by then is not.

    \b
    Examples:
      flux-assets mute --for 2h
      flux-assets mute --for 1d --table work_orders
      flux-assets mute --list
      flux-assets mute --off
    """
    from flux_assets.alerting import muting, store
    from flux_assets.alerting.unreachable import IncidentFile
    from flux_assets.settings import load_settings
    from flux_assets.wiring.target import postgis_target

    if off and listed:
        raise click.UsageError("--off ends mutes and --list shows them; give one of them.")
    _insist_on_tables(tables)
    settings = load_settings()
    target = postgis_target(settings)
    with target.session("mute") as session:
        store.make_ready(session, target.schema)
        if off:
            ended = muting.unmute(session, target.schema, tables)
            click.echo(f"Ended {ended} mute{'' if ended == 1 else 's'}." if ended else "Nothing was muted.")
        elif not listed:
            muting.mute(session, target.schema, tables or (None,), span)
        held = muting.mutes(session, target.schema)
    IncidentFile(settings.flux_home).note_mutes(held)
    if not off:
        _show_mutes(held)


def _insist_on_tables(names: Sequence[str]) -> None:
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
        click.echo(f"told: {title(event, incident)}")


def _as_json(found: Sequence[Problem], rounds: Sequence[Delivery], undelivered: Sequence[FluxError]) -> dict[str, Any]:
    from flux_assets.alerting.message import title
    from flux_assets.alerting.observation import ABOUT

    return {
        "ok": not undelivered and all(problem.muted for problem in found),
        "problems": [
            {
                "kind": problem.incident.kind, "about": ABOUT[problem.incident.kind],
                "title": title("opened", problem.incident), "muted": problem.muted,
                "problem": problem.incident.problem, "remedy": problem.incident.remedy,
                "tables": list(problem.incident.failing), "since": problem.incident.since.isoformat(),
                "failures": problem.incident.ticks, "run_id": problem.incident.run_id,
            }
            for problem in found
        ],
        "told": [
            {"event": event, "title": title(event, incident)} for each in rounds for event, incident in each.sent
        ],
        "undelivered": [str(error) for error in undelivered],
    }  # fmt: skip
