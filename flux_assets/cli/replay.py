"""The command that replays refused records: replay."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flux_assets.cli.arguments import load_options, the_layer, the_target
from flux_assets.cli.rollback import inform_dagster
from flux_assets.cli.terminal import exit_if
from flux_assets.errors import counted

if TYPE_CHECKING:
    from flux_assets.layers.quarantine.replay import ReplayResult

_REFUSED_SHOWN = 10


@click.command()
@click.argument("table")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Only write the records to this new CSV file, each with the reason.",
)
@click.option(
    "--from",
    "corrected",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Read the corrected records from this CSV file instead of the release.",
)
@click.option("--accept-schema-change", is_flag=True, help="Change the public table's columns as the declaration says.")
def replay(table: str, out: Path | None, corrected: Path | None, accept_schema_change: bool) -> None:
    """Read the refused records of TABLE again, and publish those that pass.

    The published version and these records make a new version, which is audited and published as by a load. Records
    that are still refused stay in postgres_sync.quarantine, with the reason. Exit code 1 when none passes.

    \b
    Examples:
      flux-assets replay substations
      flux-assets replay substations --out wrong.csv
      flux-assets replay substations --from wrong.csv
    """
    from flux_assets.layers.quarantine.corrections import read_corrections, write_corrections
    from flux_assets.layers.quarantine.replay import replay as replay_records
    from flux_assets.layers.quarantine.replay import waiting_records
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
    result = replay_records(declared, target, options, lambda line: click.echo(line, err=True), given)
    _show(table, result)
    if result.replayed:
        left = len(result.waiting)
        inform_dagster(settings, lambda history: history.report_replay(declared, result.version, left))
    exit_if(bool(result.waiting) and not result.replayed)


def _show(table: str, result: ReplayResult) -> None:
    """Print how many records were published, and the first of those that were not, with the reason."""
    if not result.replayed and not result.waiting:
        click.echo(f"{table}: no record is in quarantine; there is nothing to replay.")
        return
    total = result.replayed + len(result.waiting)
    click.echo(f"{table}: published {result.replayed:,} of {counted(total, 'record')} from quarantine.")
    if result.replayed:
        click.echo(f"  Version {result.version.version[:12]} is live, {result.version.rows or 0:,} rows.")
    for held in result.waiting[:_REFUSED_SHOWN]:
        column = f", column {held.column_name}" if held.column_name else ""
        click.echo(f"  still refused: {held.file}, line {held.line}{column}: {held.reason}")
    if len(result.waiting) > _REFUSED_SHOWN:
        click.echo(f"  … and {len(result.waiting) - _REFUSED_SHOWN:,} more, in postgres_sync.quarantine.")
