"""The other commands that inspect and change nothing: versions, doctor, psql."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from flux_assets.cli.terminal import exit_if, print_json, show_table, the_layer, the_target
from flux_assets.words import size

if TYPE_CHECKING:
    from flux_assets.doctor.finding import Finding

_COLOURS: dict[str, dict[str, Any]] = {
    "ok": {"fg": "green"},
    "note": {"fg": "cyan"},
    "warning": {"fg": "yellow"},
    "failed": {"fg": "red", "bold": True},
}
_MARGIN = " " * 11
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
    from flux_assets.tables import static_tables

    target, chosen = the_target(), (the_layer(table),) if table else static_tables()
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
        print_json({"ok": not failed, "findings": documents})
    else:
        _show_findings(findings)
    exit_if(failed)


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
