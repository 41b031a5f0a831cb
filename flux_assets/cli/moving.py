"""The commands for moving over from another loader, and back: adopt, eject."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from flux_assets.cli.terminal import exit_if, finish_run, show_table, the_layer, the_target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flux_assets.spec import StaticTable

COMMANDS = click.Group()


@COMMANDS.command("adopt")
@click.argument("tables", nargs=-1, metavar="[TABLE]...")
@click.option("--dry-run", is_flag=True, help="Only print what would become of everything that hangs on the tables.")
@click.option(
    "--drop-foreign-keys", is_flag=True, help="Drop foreign keys of other tables that point at an adopted table."
)
def _adopt(tables: tuple[str, ...], dry_run: bool, drop_foreign_keys: bool) -> None:
    """Take over the plain tables that another loader made, or only TABLE, without a gap for readers.

    The release is loaded beside each of them. In the transaction that publishes it, the old table is renamed to
    TABLE_before_flux, and whatever hangs on it comes along: owner, rights, policies, triggers, views and the like.
    Where something cannot come along, that is said before anything is loaded. Exit code 1 then, or when a layer could
    not be loaded.

    \b
    Examples:
      flux-assets adopt --dry-run
      flux-assets adopt substations
      flux-assets adopt meter_locations_enhanced --drop-foreign-keys
    """
    from flux_assets.layers.context import LoadOptions
    from flux_assets.layers.takeover import plan_takeovers
    from flux_assets.tables import static_tables

    chosen: Sequence[StaticTable] = [the_layer(name) for name in tables] or static_tables()
    plans = plan_takeovers(chosen, the_target(), LoadOptions(drop_foreign_keys=drop_foreign_keys))
    for table in chosen if tables else ():
        if table.name not in plans:
            click.echo(f"{table.name} is no plain table; there is nothing to adopt.")
    if not plans:
        click.echo("No layer has the name of a plain table; there is nothing to adopt.")
        return
    if dry_run:
        for name, plan in plans.items():
            click.secho(f"{name} becomes {plan.old_name}; its place takes the layer of that name.", bold=True)
            show_table(("what", "name", "outcome"), plan.outcomes)
        exit_if(any(plan.refusal() for plan in plans.values()))
        return
    for refusal in filter(None, (plan.refusal() for plan in plans.values())):
        raise refusal

    from flux_assets.orchestration.commands import load_layers

    config = {"take_over": True, "drop_foreign_keys": drop_foreign_keys}
    finish_run("adopt", "loading", *load_layers(list(plans), config))


@COMMANDS.command("eject")
@click.argument("tables", nargs=-1, required=True, metavar="TABLE...")
def _eject(tables: tuple[str, ...]) -> None:
    """Make TABLE a plain table again, under the same name, with its rows and all that hangs on it.

    Readers notice nothing. Its live version becomes the plain table; earlier versions stay until it is adopted again.
    From then on no load publishes into it: `flux-assets adopt TABLE` takes it over again. A synced table is a plain
    table already.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 another process is loading the layer.

    \b
    Examples:
      flux-assets eject substations
    """
    from flux_assets.layers.context import LoadOptions
    from flux_assets.layers.eject import eject
    from flux_assets.settings import load_settings

    target, options = the_target(), LoadOptions(publish_wait=load_settings().flux_publish_wait)
    for table in [the_layer(name) for name in tables]:
        version = eject(table, target, options, lambda line: click.echo(line, err=True))
        click.echo(
            f"{table.name} is a plain table, with the {version.rows or 0:,} rows of version {version.version[:12]}."
        )
