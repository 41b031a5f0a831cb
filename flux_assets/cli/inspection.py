"""The commands that inspect and change nothing: status, versions, doctor, psql."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Container, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from flux_assets.cli.arguments import the_layer, the_target
from flux_assets.cli.status import show_statuses
from flux_assets.cli.terminal import Cell, exit_if, moment, show_table
from flux_assets.words import size

if TYPE_CHECKING:
    from flux_assets.doctor.finding import Finding
    from flux_assets.layers.versions import Pin, Version
    from flux_assets.ledger.status import TableStatus
    from flux_assets.postgis.session import Target

_UNCHANGED = {"ignore_unknown_options": True, "allow_interspersed_args": False}
_COLOURS: dict[str, dict[str, Any]] = {
    "ok": {"fg": "green"},
    "note": {"fg": "cyan"},
    "warning": {"fg": "yellow"},
    "failed": {"fg": "red", "bold": True},
}
_MARGIN = " " * 11
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, with identifiers in full.")


@click.command(context_settings=_UNCHANGED)
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


@click.command()
@_as_json
@click.option(
    "--watch",
    "every",
    is_flag=False,
    flag_value=5.0,
    type=click.FloatRange(min=0.1),
    metavar="[SECONDS]",
    help="Refresh every 5 seconds, or every SECONDS, until Ctrl-C (exit code 130).",
)
@click.option("--attempts", is_flag=True, help="Show how each table's last load or sync ended, with the whole reason.")
def status(as_json: bool, every: float | None, attempts: bool) -> None:
    """Show the published state of every table and, apart from that, how its last load or sync ended.

    Shown are rows and version; when the source last changed, when it was last checked, when the published rows last
    changed; how old the rows of a synced table are (lag). A load or sync that failed has changed no published row.
    The view postgres_sync.v_table_status shows the same: state and trusted, and last_attempt.

    Exit code 1 when the published rows of a table cannot be trusted: it is late or broken. With --attempts also when
    a last attempt failed.

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
            raise click.UsageError("--watch shows the published state and not the attempts; leave out --attempts.")
        _watch(target, every, as_json)
        return
    found = table_statuses(target, declarations())
    if as_json:
        _print_json(_status_document(target, found))
    else:
        show_statuses(found, attempts=attempts)
    exit_if(any(table.wrong or (attempts and table.attempt_failed) for table in found))


def _watch(target: Target, every: float, as_json: bool) -> None:
    from flux_assets.cli.status import watch, watch_as_json
    from flux_assets.layers.status import table_statuses
    from flux_assets.tables import declarations

    def read() -> list[TableStatus]:
        return table_statuses(target, declarations())

    if as_json:
        watch_as_json(read, every, lambda found: _status_document(target, found))
    watch(read, every, f"Schema {target.schema}")


def _status_document(target: Target, found: Sequence[TableStatus]) -> dict[str, object]:
    tables = [asdict(table) | {"wrong": table.wrong, "attempt_failed": table.attempt_failed} for table in found]
    return {"schema": target.schema, "tables": tables}


@click.command()
@click.argument("table", required=False)
@_as_json
def versions(table: str | None, as_json: bool) -> None:
    """List the versions of every layer, or of TABLE.

    The newest comes first. `current` marks the published version, `pinned` the one that loads do not replace; versions
    in the state `published` can be rolled back to.

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
    _show_versions(found, pinned)


def _version_document(table: str, version: Version, pin: Pin | None) -> dict[str, object]:
    pinned = {"at": pin.pinned_at, "by": pin.pinned_by, "reason": pin.reason} if pin and version.current else None
    return {"table": table} | asdict(version) | {"pinned": pinned}


def _show_versions(found: Sequence[tuple[str, Version]], pinned: Container[tuple[str, str]]) -> None:
    if not found:
        click.echo("No version yet. Load a layer with `flux-assets load`.")
        return
    headings = ("table", "version", "lease", "state", "current", "rows", "size", "release", "staged", "published")
    rows = [(name, *_cells(version, (name, version.version) in pinned)) for name, version in found]
    show_table((*headings, "run"), rows)


def _cells(version: Version, pinned: bool) -> tuple[Cell, ...]:
    current = "current, pinned" if pinned else "current"
    return (
        version.version[:12],
        version.lease,
        version.state,
        current if version.current else None,
        version.rows,
        size(version.bytes),
        ", ".join((version.release_tag, *version.further_tags)),
        moment(version.staged_at),
        moment(version.published_at),
        version.run_id,
    )


@click.command()
@_as_json
def doctor(as_json: bool) -> None:
    """Test every setting and permission, and print a remedy for each that fails.

    Exit code 1 when a test failed; warnings and notes do not count.

    \b
    Examples:
      flux-assets doctor
      flux-assets doctor --json
    """
    from flux_assets.doctor.examination import examine
    from flux_assets.tables import declarations

    findings = list(examine(declarations()))
    failed = any(finding.outcome == "failed" for finding in findings)
    if as_json:
        # `said` was the name of `message`.
        documents = [asdict(finding) | {"said": finding.message} for finding in findings]
        _print_json({"ok": not failed, "findings": documents})
    else:
        _show_findings(findings)
    exit_if(failed)


def _show_findings(findings: Sequence[Finding]) -> None:
    """Print a heading for each group, and the remedy below each finding that has one."""
    group = ""
    for finding in findings:
        if finding.group != group:
            group = finding.group
            click.secho(f"\n{group}" if finding is not findings[0] else group, bold=True)
        click.secho(f"  {finding.outcome:8} ", nl=False, **_COLOURS[finding.outcome])
        click.echo("\n".join(_indented(finding.message)).lstrip())
        for line in finding.remedy.splitlines():
            click.echo("\n".join(_indented(line)))


def _indented(line: str) -> list[str]:
    """Return the line indented below the outcomes, wrapped on a terminal only."""
    width = max(60, shutil.get_terminal_size().columns) if sys.stdout.isatty() else sys.maxsize
    return textwrap.wrap(
        line, width, initial_indent=_MARGIN, subsequent_indent=_MARGIN, break_long_words=False, break_on_hyphens=False
    )


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2, default=lambda instant: instant.isoformat()))
