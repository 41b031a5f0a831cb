"""The other commands that inspect: versions, doctor, psql, health, watchdog; and mute, which silences its messages."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from flux_assets.cli.terminal import exit_if, one_of, print_json, show_table, the_layer, the_target
from flux_assets.errors import SettingError, counted
from flux_assets.words import size

if TYPE_CHECKING:
    from flux_assets.alerting.incident import Incident
    from flux_assets.doctor.finding import Finding

_COLOURS: dict[str, dict[str, Any]] = {
    "ok": {"fg": "green"},
    "note": {"fg": "cyan"},
    "warning": {"fg": "yellow"},
    "failed": {"fg": "red", "bold": True},
}
_MARGIN = " " * 11
_PARTS = ("postgis", "dagster", "daemon")
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, with identifiers in full.")
COMMANDS = click.Group()


@COMMANDS.command("psql", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[PSQL ARGUMENTS]...")
def _psql(arguments: tuple[str, ...]) -> None:
    """Open psql on the target database, passing all arguments on.

    Address and password go through the environment. Put `--` before arguments that this command would take itself.

    \b
    Examples:
      flux-assets psql
      flux-assets psql -c 'SELECT count(*) FROM substations'
      flux-assets psql -- --help
    """
    from flux_assets.settings import load_settings
    from flux_assets.wiring.target import psql_environment, psql_program

    program, environment = psql_program(), psql_environment(load_settings())
    os.execve(program, [program, *arguments], environment)  # noqa: S606 - the user's own terminal, and no shell


@COMMANDS.command("versions")
@click.argument("table", required=False)
@_as_json
def _versions(table: str | None, as_json: bool) -> None:
    """List the versions of every layer, or of TABLE.

    The newest comes first. `current` marks the published version, `pinned` the one that loads do not replace; versions
    in the state `published` can be rolled back to.

    \b
    Examples:
      flux-assets versions
      flux-assets versions substations --json
    """
    from flux_assets.layers.status import layer_pins, layer_versions
    from flux_assets.tables import layers

    target, chosen = the_target(), (the_layer(table),) if table else layers()
    found = layer_versions(target, chosen)
    pins = {(pin.layer_name, pin.version): pin for pin in layer_pins(target).values()}
    documents: list[dict[str, object]] = []
    rows = []
    for name, version in found:
        pin = pins.get((name, version.version)) if version.current else None
        pinned = {"at": pin.pinned_at, "by": pin.pinned_by, "reason": pin.reason} if pin else None
        documents.append({"table": name, **asdict(version), "pinned": pinned})
        rows.append(
            (
                name,
                version.version[:12],
                version.lease,
                version.state,
                ("current, pinned" if pin else "current") if version.current else None,
                version.rows,
                size(version.bytes),
                ", ".join((version.release_tag, *version.further_tags)),
                version.staged_at,
                version.published_at,
                version.run_id,
            )
        )
    if as_json:
        print_json(documents)
    elif not found:
        click.echo("No version yet. Load a layer with `flux-assets load`.")
    else:
        headings = ("table", "version", "lease", "state", "current", "rows", "size", "release", "staged", "published")
        show_table((*headings, "run"), rows)


@COMMANDS.command("doctor")
@_as_json
def _doctor(as_json: bool) -> None:
    """Test every setting and permission, with remedies.

    Exit code 1 when a test failed; warnings and notes do not count.

    \b
    Examples:
      flux-assets doctor
      flux-assets doctor --json
    """
    from flux_assets.doctor.examination import examine

    findings = [*examine(), *_workers()]
    failed = any(finding.outcome == "failed" for finding in findings)
    if as_json:
        # `said` was the name of `message`.
        documents = [asdict(finding) | {"said": finding.message} for finding in findings]
        print_json({"ok": not failed, "findings": documents})
    else:
        _show_findings(findings)
    exit_if(failed)


def _workers() -> Iterator[Finding]:
    """Yield what is found of workers where a setting asks for them; only then what they need is imported."""
    from flux_assets.settings import load_settings

    with suppress(SettingError):  # which has been found
        settings = load_settings()
        if settings.flux_sync_runs == "worker" or settings.flux_executor == "celery":
            from flux_assets.orchestration.spread.launcher import SyncLauncher

            yield from SyncLauncher.findings()


def _show_findings(findings: Sequence[Finding]) -> None:
    """Print a heading for each group, and the remedy below each finding that has one; wrapped on a terminal only."""
    wrapper = textwrap.TextWrapper(
        width=max(60, shutil.get_terminal_size().columns) if sys.stdout.isatty() else sys.maxsize,
        initial_indent=_MARGIN,
        subsequent_indent=_MARGIN,
        break_long_words=False,
        break_on_hyphens=False,
    )
    group = ""
    for finding in findings:
        if finding.group != group:
            group = finding.group
            click.secho(f"\n{group}" if finding is not findings[0] else group, bold=True)
        click.secho(f"  {finding.outcome:8} ", nl=False, **_COLOURS[finding.outcome])
        click.echo(wrapper.fill(finding.message).lstrip())
        for line in finding.remedy.splitlines():
            click.echo(wrapper.fill(line))


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


@COMMANDS.command("health")
@click.argument("parts", nargs=-1, metavar="[PART]...")
@click.option("--port", type=click.IntRange(1, 65535), help="Answer by HTTP on PORT until Ctrl-C, with 200 or 503.")
@click.option("--address", default="127.0.0.1", show_default=True, help="Address to listen on, with --port.")
def _health(parts: tuple[str, ...], port: int | None, address: str) -> None:
    """Say in one line whether the parts of a deployment are ready.

    They are postgis, dagster and daemon, or each PART. Made for the probes of containers: it starts nothing, imports
    little, and answers within seconds. Exit code 1 when a part is not ready. `flux-assets doctor` says what to do.

    \b
    postgis             the target database answers and takes writes
    dagster             Dagster's database answers
    daemon              Dagster's daemon has given signs of life in the last five minutes
    http://host:port/…  the page answers; /server_info is the one that Dagster's webserver has for this
    grpc://host:port    the code server has loaded the definitions

    \b
    Examples:
      flux-assets health
      flux-assets health daemon
      flux-assets health http://127.0.0.1:3000/server_info
      flux-assets health grpc://127.0.0.1:4000
      flux-assets health --port 9809
    """
    wanted = parts or _PARTS
    if port is not None:
        _readiness(wanted)  # refuses what is no part before it listens
        _serve_readiness(wanted, (address, port))
    ready, line = _readiness(wanted)
    click.echo(line)
    exit_if(not ready)


def _readiness(parts: Sequence[str]) -> tuple[bool, str]:
    from flux_assets.doctor.readiness import unready

    faults = {part: fault for part in parts if (fault := unready(part)) is not None}
    said = "; ".join(f"{part}: {' '.join(fault.split())}" for part, fault in faults.items())
    return not faults, f"not ready: {said}" if faults else f"ready: {', '.join(parts)}"


def _serve_readiness(parts: Sequence[str], place: tuple[str, int]) -> None:
    """Answer one request after the other, without end, each by looking anew."""
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Handler(BaseHTTPRequestHandler):
        timeout = 10  # for a request to arrive

        def do_GET(self) -> None:
            ready, line = _readiness(parts)
            self.send_response(200 if ready else 503)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.end_headers()
            self.wfile.write(f"{line}\n".encode())

        def log_message(self, *_: object) -> None:
            """Print nothing: probes come every few seconds."""

    try:
        server = HTTPServer(place, Handler)
    except OSError as error:
        raise click.ClickException(f"Port {place[1]} of {place[0]} cannot be listened on: {error.strerror}.") from None
    with server:
        server.serve_forever()


@COMMANDS.command("watchdog")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--send", "to_send", is_flag=True, help="Also send what has not been reported yet to FLUX_ALERT_URL.")
def _watchdog(as_json: bool, to_send: bool) -> None:
    """Print what is wrong with tables, PostGIS or Dagster.

    Made for cron: it checks once, needs no Dagster daemon, reports when the daemon is dead, and starts nothing. Exit
    code 1 when there is a problem that is not muted, or when an alert was not delivered.

    \b
    Examples:
      flux-assets watchdog
      flux-assets watchdog --json
      */5 * * * *  cd /srv/flux_assets && .venv/bin/flux-assets watchdog --send >> watchalerts.log 2>&1
    """
    from flux_assets.alerting.delivery import length
    from flux_assets.orchestration.alerts.rounds import run_watchdog

    rounds, found = run_watchdog(send=to_send)
    undelivered = [each.undelivered for each in rounds if each.undelivered]
    sent = [{"event": event, "title": incident.title(event)} for each in rounds for event, incident in each.sent]
    wrong = bool(undelivered) or not all(muted for _, muted in found)
    if as_json:
        problems = [_problem(incident, muted) for incident, muted in found]
        said = {"ok": not wrong, "problems": problems, "told": sent, "undelivered": list(map(str, undelivered))}
        print_json(said)
    else:
        for incident, muted in found:
            names = f" [{', '.join(incident.failing)}]" if len(incident.failing) > 1 else ""
            lasts = length(datetime.now(UTC) - incident.since)
            line = f"{incident.title('opened')}{names}, for {lasts}: {incident.problem} {incident.remedy}"
            click.echo(f"{'muted: ' if muted else ''}{line.rstrip()}")
        if not found:
            click.echo("All is well.")
        for message in sent:
            click.echo(f"sent: {message['title']}")
    for error in undelivered:
        click.secho(f"Warning: {error}", fg="yellow", err=True)
    exit_if(wrong)


def _problem(incident: Incident, muted: bool) -> dict[str, Any]:
    return {
        "kind": incident.kind,
        "about": incident.about,
        "title": incident.title("opened"),
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
