"""The commands that publish other than by a load: rollback, pin, unpin, replay."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import click

from flux_assets.cli.terminal import exit_if, the_layer, the_target
from flux_assets.errors import counted

if TYPE_CHECKING:
    from flux_assets.layers.context import LoadOptions
    from flux_assets.layers.replay.replay import ReplayResult
    from flux_assets.layers.versions import Version
    from flux_assets.spec import StaticTable

_REFUSED_SHOWN = 10
_log = partial(click.echo, err=True)
COMMANDS = click.Group()


def _not_empty(_context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Return the value. Raises BadParameter for an empty one, such as a shell variable that is not set."""
    if value is not None and not value.strip():
        raise click.BadParameter("is empty; give a value, or leave the option out.", param=parameter)
    return value


@COMMANDS.command("rollback")
@click.argument("table", required=False)
@click.option(
    "--to",
    metavar="VERSION",
    callback=_not_empty,
    help="The version to publish; the first characters of its id are enough.",
)
@click.option(
    "--release",
    "tag",
    metavar="TAG",
    callback=_not_empty,
    help="Roll all layers back to this release, in one transaction.",
)
def _roll_back(table: str | None, to: str | None, tag: str | None) -> None:
    """Publish an earlier version of TABLE again, and pin it.

    Readers see either version, never a mixture. Without --to, the version published before the current one is used;
    `flux-assets versions TABLE` lists them. No load replaces it before `flux-assets unpin TABLE`.

    What is computed from it follows: its kept version that was computed from this one is live again, or it is computed.

    With --release, all layers go back to that release together, or none does: a layer that has no kept version of the
    release is named. Layers that are at the release already stay as they are; all are pinned.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 another process is loading a layer.

    \b
    Examples:
      flux-assets rollback substations
      flux-assets rollback substations --to 3f2a9c
      flux-assets rollback --release v1.0.0
    """
    if (table is None) == (tag is None):
        raise click.UsageError("Give either TABLE or --release TAG.")
    if tag is not None and to is not None:
        raise click.UsageError(
            "--to is for one TABLE, and --release decides the version of every layer; give one of them."
        )
    if tag is not None:
        _roll_back_release(tag)
        return
    from flux_assets.layers.rollback import rollback

    declared = the_layer(str(table))
    version = rollback(declared, the_target(), _options(), _log, to)
    _show_live(declared, version)
    click.echo(f"  It is pinned: no load replaces it before `flux-assets unpin {declared.name}`.")
    _inform_dagster(lambda history: history.report_versions([(declared, version)]))
    _bring_along([declared])


def _roll_back_release(tag: str) -> None:
    from flux_assets.layers.rollback import rollback_release
    from flux_assets.layers.status import layer_pins
    from flux_assets.tables import layers

    target = the_target()
    done = rollback_release(layers(), target, _options(), _log, tag)
    for table, version in done.moved:
        _show_live(table, version)
    for table, version in done.stayed:
        click.echo(f"{table.name}: version {version.version[:12]} is at release {tag} already.")
    click.echo("All of them are pinned: no load replaces them before `flux-assets unpin --all`.")
    pins = layer_pins(target)
    stayed = [(table, pins.get(table.name)) for table, _ in done.stayed]
    _inform_dagster(lambda history: history.report_versions(done.moved))
    _inform_dagster(lambda history: history.report_pins(stayed))
    _bring_along([table for table, _ in done.moved])


@COMMANDS.command("pin")
@click.argument("table")
@click.option(
    "--version",
    "to",
    metavar="VERSION",
    callback=_not_empty,
    help="Pin to this kept version; the first characters of its id are enough.",
)
@click.option("--reason", default="", metavar="TEXT", help="Why; shown with the pin.")
def _pin(table: str, to: str | None, reason: str) -> None:
    """Keep TABLE at its current version, whatever the release holds.

    No load publishes another version before `flux-assets unpin TABLE`, not even with force: true; such a load succeeds
    and reports what it skipped. A --version that is not live is published first, as `flux-assets rollback` does.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 another process is loading the layer.

    \b
    Examples:
      flux-assets pin substations
      flux-assets pin substations --version 3f2a9c --reason "v2 lacks a feeder"
    """
    from flux_assets.layers import rollback

    declared = the_layer(table)
    done = rollback.pin(declared, the_target(), _options(), _log, to, reason=reason)
    if done.published:
        _show_live(declared, done.version)
    click.echo(f"{table} is {done.pin}. `flux-assets unpin {table}` lets loads publish again.")
    if done.published:
        _inform_dagster(lambda history: history.report_versions([(declared, done.version)]))
    _inform_dagster(lambda history: history.report_pins([(declared, done.pin)]))
    if done.published:
        _bring_along([declared])


@COMMANDS.command("unpin")
@click.argument("tables", nargs=-1, metavar="[TABLE]...")
@click.option("--all", "every", is_flag=True, help="Unpin every pinned layer.")
def _unpin(tables: tuple[str, ...], every: bool) -> None:
    """Let loads publish TABLE again.

    This publishes nothing: the next load does, and release_sensor requests one when it runs next. A TABLE that is
    not pinned is left unchanged.

    Exit codes: 0 done, 1 failed, 2 wrong usage.

    \b
    Examples:
      flux-assets unpin substations
      flux-assets unpin --all
    """
    from flux_assets.layers import rollback
    from flux_assets.layers.status import layer_pins
    from flux_assets.tables import layers

    if bool(tables) == every:
        raise click.UsageError("Give either TABLE or --all.")
    target = the_target()
    pinned = layer_pins(target)
    chosen = [table for table in layers() if table.name in pinned] if every else list(map(the_layer, tables))
    freed = [table for table in chosen if rollback.unpin(table, target)]
    for table in chosen:
        outcome = "no longer pinned: the next load publishes the release's version" if table in freed else "not pinned"
        click.echo(f"{table.name} is {outcome}.")
    if not chosen:
        click.echo("No layer is pinned.")
    if freed:
        _inform_dagster(lambda history: history.report_pins([(table, None) for table in freed]))


@COMMANDS.command("replay")
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
def _replay(table: str, out: Path | None, corrected: Path | None, accept_schema_change: bool) -> None:
    """Publish those refused records of TABLE that pass now.

    The published version and these records make a new version, which is audited and published as by a load. Records
    that are still refused stay in postgres_sync.quarantine, with the reason. Exit code 1 when none passes.

    \b
    Examples:
      flux-assets replay substations
      flux-assets replay substations --out wrong.csv
      flux-assets replay substations --from wrong.csv
    """
    from flux_assets.layers.replay.records import Correction, write_corrections
    from flux_assets.layers.replay.replay import replay, waiting_records

    declared, target = the_layer(table), the_target(judges=True)
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
    options = replace(_options(), accept_schema_change=accept_schema_change)
    given = list(Correction.read(corrected)) if corrected else []
    result = replay(declared, target, options, _log, given)
    _show_replayed(table, result)
    if result.replayed:
        left = len(result.waiting)
        _inform_dagster(lambda history: history.report_versions([(declared, result.version)], left))
        _bring_along([declared])
    exit_if(bool(result.waiting) and not result.replayed)


def _show_replayed(table: str, result: ReplayResult) -> None:
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


def _options() -> LoadOptions:
    from flux_assets.layers.context import LoadOptions
    from flux_assets.settings import load_settings

    settings = load_settings()
    return LoadOptions(
        publish_wait=settings.flux_publish_wait,
        keep_versions=settings.flux_keep_versions,
        keep_bytes=settings.flux_keep_bytes,
        disk_limit=settings.flux_disk_limit,
    )


def _show_live(table: StaticTable, version: Version) -> None:
    click.echo(f"{table.name}: version {version.version[:12]} of release {version.release_tag} is live now,")
    click.echo(f"  {version.rows or 0:,} rows, staged {version.staged_at:%Y-%m-%d %H:%M:%SZ}.")


def _bring_along(tables: Iterable[StaticTable]) -> None:
    """Have what is computed from these layers follow; what cannot is named with the command that does it."""
    from flux_assets.layers.rollback import bring_along
    from flux_assets.tables import catalogue, following

    names = following(table.name for table in tables)
    derived = [table for table in catalogue().computed if table.name in names]
    followed = []
    for each, live, was_kept, error in bring_along(derived, the_target(judges=True), _options(), _log):
        name, version = each.name, live.version[:12]
        if error is not None:
            click.secho(f"Warning: {name} does not follow: {error}", fg="yellow", err=True)
            click.secho(f"  It is of the other version; `flux-assets load {name}` computes it again.", err=True)
            continue
        followed.append((each, live))
        if was_kept:
            click.echo(f"{name}: version {version}, which was computed from this, is live again.")
        else:
            click.echo(f"{name}: version {version} is computed from this, {live.rows or 0:,} rows.")
    if followed:
        _inform_dagster(lambda history: history.report_versions(followed, followed=True))


def _inform_dagster(report: Callable[[ModuleType], object]) -> None:
    """Report to Dagster what was published. A failure is only a warning, for the version is live in any case."""
    from flux_assets.sample.cluster import Cluster
    from flux_assets.settings import load_settings

    settings = load_settings()
    if settings.dagster_postgres_url is None and not Cluster(settings.flux_home).data.exists():
        return
    try:
        from flux_assets.orchestration import commands

        report(commands)
    except Exception as error:  # noqa: BLE001 - Dagster's storage fails with errors of several libraries
        problem = f"Dagster was not informed, so its UI shows the earlier state: {' '.join(str(error).split())}"
        click.secho(f"Warning: {problem}", fg="yellow", err=True)
