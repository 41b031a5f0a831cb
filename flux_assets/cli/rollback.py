"""The commands that go back and stay there: rollback, pin, unpin.

Here: their options, what they print, telling Dagster. Not here: the other commands (cli.py).
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING

import click

from flux_assets.cli.arguments import load_options, the_layer, the_target
from flux_assets.cli.terminal import moment, warn

if TYPE_CHECKING:
    from flux_assets.layers.versions import Version
    from flux_assets.settings import Settings


def _said(_context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Refuse what is given and empty, as of a shell's variable that is not set: it is not the same as not given."""
    if value is not None and not value.strip():
        raise click.BadParameter("is empty; name one, or leave the option out.", param=parameter)
    return value


@click.command("rollback")
@click.argument("table", required=False)
@click.option(
    "--to", metavar="VERSION", callback=_said, help="The version to publish: the first characters of its id are enough."
)
@click.option(
    "--release", "tag", metavar="TAG", callback=_said, help="Take all layers back to this release, in one transaction."
)
def roll_back(table: str | None, to: str | None, tag: str | None) -> None:
    """Publish an earlier version of TABLE again, and pin the layer to it.

    Readers see one version or the other, whole. Without --to, the version that was published last before the current
    one; `flux-assets versions TABLE` lists them. No load publishes over it before `flux-assets unpin TABLE`.

    With --release, all layers go back to that release together, or none does: when no version of it is kept of a
    layer, the layer is named. Those that are of the release already stay; all are pinned.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 another process is loading a layer.

    \b
    Examples:
      flux-assets rollback substations
      flux-assets rollback substations --to 3f2a9c
      flux-assets rollback --release v1.0.0
    """  # fmt: skip
    if (table is None) == (tag is None):
        raise click.UsageError("Give either TABLE or --release TAG.")
    if tag is not None and to is not None:
        raise click.UsageError("--to is for one TABLE; --release says which version of each layer is published.")
    if table is not None:
        _roll_back_layer(table, to)
    elif tag is not None:
        _roll_back_release(tag)


@click.command()
@click.argument("table")
@click.option(
    "--version",
    "to",
    metavar="VERSION",
    callback=_said,
    help="Pin to this kept version: the first characters are enough.",
)
@click.option("--reason", default="", metavar="TEXT", help="Why; shown wherever the pin is.")
def pin(table: str, to: str | None, reason: str) -> None:
    """Keep TABLE at the version that it has, whatever the release holds.

    No load publishes another version before `flux-assets unpin TABLE`, not even with force: true; such a load ends well
    and says what it left. A --version that is not live is published first, as `flux-assets rollback` does.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 another process is loading the layer.

    \b
    Examples:
      flux-assets pin substations
      flux-assets pin substations --version 3f2a9c --reason "v2 lacks a feeder"
    """  # fmt: skip
    from flux_assets.layers import rollback as pinning
    from flux_assets.settings import load_settings

    declared, settings = the_layer(table), load_settings()
    done = pinning.pin(declared, the_target(), load_options(settings), _log, to, reason=reason)
    if done.published:
        _say_live(table, done.version)
    click.echo(f"{table} is {done.pin}. `flux-assets unpin {table}` lets loads publish again.")
    if done.published:
        tell_dagster(settings, lambda history: history.report_rollbacks([(declared, done.version)]))
    tell_dagster(settings, lambda history: history.report_pins([(declared, done.pin)]))


@click.command()
@click.argument("tables", nargs=-1, metavar="[TABLE]...")
@click.option("--all", "every", is_flag=True, help="Every layer that is pinned.")
def unpin(tables: tuple[str, ...], every: bool) -> None:
    """Let loads publish TABLE again.

    Nothing is published by this: the next load does, and release_sensor asks for it at its next look. A TABLE that is
    not pinned is left as it is.

    Exit codes: 0 done, 1 failed, 2 wrong usage.

    \b
    Examples:
      flux-assets unpin substations
      flux-assets unpin --all
    """  # fmt: skip
    from flux_assets.layers import rollback as pinning
    from flux_assets.layers.status import layer_pins
    from flux_assets.settings import load_settings
    from flux_assets.tables import static_tables

    if bool(tables) == every:
        raise click.UsageError("Give either TABLE or --all.")
    target = the_target()
    pinned = layer_pins(target)
    chosen = [table for table in static_tables() if table.name in pinned] if every else list(map(the_layer, tables))
    freed = [table for table in chosen if pinning.unpin(table, target)]
    for table in chosen:
        said = (
            "is no longer pinned: the next load publishes what the release holds" if table in freed else "is not pinned"
        )
        click.echo(f"{table.name} {said}.")
    if not chosen:
        click.echo("No layer is pinned.")
    if freed:
        tell_dagster(load_settings(), lambda history: history.report_pins([(table, None) for table in freed]))


def _roll_back_layer(name: str, to: str | None) -> None:
    from flux_assets.layers.rollback import rollback
    from flux_assets.settings import load_settings

    declared, settings = the_layer(name), load_settings()
    version = rollback(declared, the_target(), load_options(settings), _log, to)
    _say_live(name, version)
    click.echo(f"  It is pinned: no load publishes over it before `flux-assets unpin {name}`.")
    tell_dagster(settings, lambda history: history.report_rollbacks([(declared, version)]))


def _roll_back_release(tag: str) -> None:
    from flux_assets.layers.status import layer_pins
    from flux_assets.layers.whole_release.rollback import rollback_release
    from flux_assets.settings import load_settings
    from flux_assets.tables import static_tables

    settings, target = load_settings(), the_target()
    done = rollback_release(static_tables(), target, load_options(settings), _log, tag)
    for table, version in done.moved:
        _say_live(table.name, version)
    for table, version in done.stayed:
        click.echo(f"{table.name}: version {version.version[:12]} is of release {tag} already.")
    click.echo("All of them are pinned: no load publishes over them before `flux-assets unpin --all`.")
    pins = layer_pins(target)
    tell_dagster(settings, lambda history: history.report_rollbacks(done.moved))
    tell_dagster(
        settings, lambda history: history.report_pins([(table, pins.get(table.name)) for table, _ in done.stayed])
    )


def _say_live(name: str, version: Version) -> None:
    click.echo(f"{name}: version {version.version[:12]} of release {version.release_tag} is live now,")
    click.echo(f"  {version.rows or 0:,} rows, staged {moment(version.staged_at)}.")


def _log(line: str) -> None:
    click.echo(line, err=True)


def tell_dagster(settings: Settings, tell: Callable[[ModuleType], object]) -> None:
    """It has happened whether or not Dagster hears of it, so a failure here is only told."""
    from flux_assets.sample.cluster import Cluster

    if settings.dagster_postgres_url is None and not Cluster(settings.flux_home).data.exists():
        return
    try:
        from flux_assets.orchestration import history

        tell(history)
    except Exception as error:  # noqa: BLE001 - Dagster's storage fails with errors of several libraries
        warn(f"Dagster was not told, so its UI shows what was before: {' '.join(str(error).split())}")
