"""What the commands of the command line print.

Here: the columns and sentences of each command's result. Not here: the commands (cli.py), and how a table or an
error looks (terminal.py).
"""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Container, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from flux_assets.cli.terminal import Cell, moment, show_table
from flux_assets.errors import counted
from flux_assets.words import size

if TYPE_CHECKING:
    from flux_assets.doctor.finding import Finding
    from flux_assets.layers.quarantine.replay import ReplayResult
    from flux_assets.layers.versions import Version

_COLOURS: dict[str, dict[str, Any]] = {
    "ok": {"fg": "green"},
    "note": {"fg": "cyan"},
    "warning": {"fg": "yellow"},
    "failed": {"fg": "red", "bold": True},
}
_REFUSED_SHOWN = 10
_MARGIN = " " * 11


def show_connection(url: str, secrets: Path) -> None:
    """How to connect to the embedded PostGIS; the password is told only where it lies."""
    parts = urlsplit(url)
    click.echo("The embedded PostGIS is running. Stop it with `flux-assets down`.")
    click.echo("  psql:         flux-assets psql")
    where = f"host {parts.hostname}, port {parts.port}, database {parts.path[1:]}, user {parts.username}"
    click.echo(f"  map program:  {where}")
    click.echo(f"  password:     `owner` in {secrets}")


def show_versions(found: Sequence[tuple[str, Version]], pinned: Container[tuple[str, str]]) -> None:
    """One row a version; `pinned` are the layers and versions that stay."""
    if not found:
        click.echo("No version yet. Load the layers, and they appear here.")
        return
    headings = ("table", "version", "lease", "state", "current", "rows", "size", "release", "staged", "published")
    show_table(
        (*headings, "run"), [(name, *_cells(version, (name, version.version) in pinned)) for name, version in found]
    )


def show_replay(table: str, result: ReplayResult) -> None:
    """What became of the records in quarantine, the first of those that stay with why."""
    if not result.replayed and not result.waiting:
        click.echo(f"{table}: no record is in quarantine; there is nothing to replay.")
        return
    total = result.replayed + len(result.waiting)
    click.echo(f"{table}: {result.replayed:,} of {counted(total, 'record')} from quarantine published now.")
    if result.replayed:
        click.echo(f"  Version {result.version.version[:12]} is live, {result.version.rows or 0:,} rows.")
    for held in result.waiting[:_REFUSED_SHOWN]:
        column = f", column {held.column_name}" if held.column_name else ""
        click.echo(f"  stays: {held.file}, line {held.line}{column}: {held.reason}")
    if len(result.waiting) > _REFUSED_SHOWN:
        click.echo(f"  … and {len(result.waiting) - _REFUSED_SHOWN:,} more, in postgres_sync.quarantine.")


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


def show_findings(findings: Sequence[Finding]) -> None:
    """Print what an examination found, a heading a group, with what to do below each line that needs it."""
    group = ""
    for finding in findings:
        if finding.group != group:
            group = finding.group
            click.secho(f"\n{group}" if finding is not findings[0] else group, bold=True)
        click.secho(f"  {finding.outcome:8} ", nl=False, **_COLOURS[finding.outcome])
        click.echo("\n".join(_indented(finding.said)).lstrip())
        for line in finding.remedy.splitlines():
            click.echo("\n".join(_indented(line)))


def _indented(line: str) -> list[str]:
    """The line below the outcomes, broken where a terminal would break it; whole where there is no terminal."""
    width = max(60, shutil.get_terminal_size().columns) if sys.stdout.isatty() else sys.maxsize
    return textwrap.wrap(
        line, width, initial_indent=_MARGIN, subsequent_indent=_MARGIN, break_long_words=False, break_on_hyphens=False
    )
