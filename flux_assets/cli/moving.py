"""The commands for moving over from another loader, and back: compare, adopt, eject."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from flux_assets.cli.terminal import Commands, exit_if, one_of, print_json, show_table, the_target
from flux_assets.errors import LayerError

if TYPE_CHECKING:
    from flux_assets.compare.difference import TableDifference
    from flux_assets.layers.takeover import Takeover
    from flux_assets.sync.takeover import Takeover as SyncTakeover

    _Plan = Takeover | SyncTakeover

COMMANDS = click.Group()


@COMMANDS.command("adopt")
@click.argument("tables", nargs=-1, metavar="[TABLE]...")
@click.option("--dry-run", is_flag=True, help="Only print what would become of everything that hangs on the tables.")
@click.option(
    "--drop-foreign-keys", is_flag=True, help="Drop foreign keys of other tables that point at an adopted table."
)
def _adopt(tables: tuple[str, ...], dry_run: bool, drop_foreign_keys: bool) -> None:
    """Take over plain tables that another loader or sync made.

    All of them, or TABLE and what is computed from it. Readers see no gap. The release is loaded beside the table of a
    layer; a synced table is kept as it is where its columns fit, and otherwise made anew from its rows. In one
    transaction the old table is renamed to TABLE_before_flux, and whatever hangs on it comes along: owner, rights,
    policies, triggers, views and the like. Where something cannot come along, that is said before anything is done.
    Exit code 1 then, or when a table could not be loaded or synced.

    \b
    Examples:
      flux-assets adopt --dry-run
      flux-assets adopt substations circuit_status_realtime
      flux-assets adopt meter_locations_enhanced --drop-foreign-keys
    """
    from flux_assets.layers.context import LoadOptions
    from flux_assets.layers.takeover import Takeover
    from flux_assets.sync.result import SyncOptions
    from flux_assets.sync.setup import TableSetup
    from flux_assets.tables import declarations, dynamic_tables, following, layers

    chosen = [one_of(declarations(), "table", name).name for name in tables]
    # What is computed from a layer is loaded with it.
    wanted = {*chosen, *following(chosen)}
    static = [table for table in layers() if table.name in wanted or not chosen]
    dynamic = [table for table in dynamic_tables() if table.name in chosen or not chosen]
    target = the_target()
    options = LoadOptions(drop_foreign_keys=drop_foreign_keys)
    loaded = Takeover.of_plain(static, target, options) if static else {}
    synced = TableSetup.takeovers(dynamic, target, SyncOptions(drop_foreign_keys=drop_foreign_keys)) if dynamic else {}
    plans: dict[str, _Plan] = {**loaded, **{name: plan for name, plan in synced.items() if plan}}
    for name in (name for name in (chosen or synced) if name not in plans):
        kept = "is kept as it is, and the next sync brings it into step"
        click.echo(f"{name} {kept if name in synced else 'is not a plain table; there is nothing to adopt'}.")
    if not plans:
        click.echo("There is nothing to adopt.")
        return
    for name, plan in plans.items() if dry_run else ():
        becomes = f"would become {plan.old_name}" if plan.refusal() else f"becomes {plan.old_name}"
        click.secho(f"{name} {becomes}, and a new table takes its name.", bold=True)
        show_table(("what", "name", "outcome"), plan.outcomes)
    if refusals := [refusal for plan in plans.values() if (refusal := plan.refusal())]:
        remedy = "Do what the brackets say, or drop what nobody needs, and run it again"
        listing = "." if dry_run else "; `flux-assets adopt --dry-run` lists everything."
        raise LayerError("\n".join(refusal.problem for refusal in refusals), f"{remedy}{listing}")
    if dry_run:
        return

    from flux_assets.orchestration.commands import load_layers, sync_tables

    ended, asked = [], {"take_over": True, "drop_foreign_keys": drop_foreign_keys}
    if loaded:
        ended.append(load_layers(list(loaded), asked))
    if changing := [name for name, plan in synced.items() if plan]:
        ended.append(sync_tables(changing, asked))
    for end in ended:
        Commands.finish_run("adopt", "loading or syncing", *end)


@COMMANDS.command("eject")
@click.argument("tables", nargs=-1, required=True, metavar="TABLE...")
def _eject(tables: tuple[str, ...]) -> None:
    """Make TABLE a plain table again, with all that hangs on it.

    It keeps its name and its rows. Readers notice nothing. Its live version becomes the plain table; earlier versions
    stay until it is adopted again. From then on no load publishes into it: `flux-assets adopt TABLE` takes it over
    again. A synced table is a plain table already.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 another process is loading the layer.

    \b
    Examples:
      flux-assets eject substations
    """
    from flux_assets.layers.context import LoadOptions
    from flux_assets.layers.eject import eject
    from flux_assets.settings import load_settings
    from flux_assets.spec import DynamicTable
    from flux_assets.tables import declarations, following, layers

    target, options = the_target(), LoadOptions(publish_wait=load_settings().flux_publish_wait)
    for table in [one_of(declarations(), "table", name) for name in tables]:
        if isinstance(table, DynamicTable):
            until = "syncs write into it until dynamic_sync_schedule is stopped"
            click.echo(f"{table.name} is a plain table already; {until}.")
            continue
        version = eject(table, target, options, lambda line: click.echo(line, err=True))
        with_rows = (
            f", with the {version.rows or 0:,} rows of version {version.version[:12]}" if version else " already"
        )
        click.echo(f"{table.name} is a plain table{with_rows}.")
        computed = {each.name for each in layers()} & set(following([table.name]))
        if version and computed:
            click.echo(f"Until it is adopted again, {', '.join(sorted(computed))} cannot be computed anew.")


@COMMANDS.command("compare")
@click.argument("tables", nargs=-1, metavar="[TABLE]...")
@click.option("--with", "schema", required=True, metavar="SCHEMA", help="Where the tables of the old system are.")
@click.option("--ignore", "ignored", multiple=True, metavar="COLUMN", help="Leave it out; may be given again.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def _compare(tables: tuple[str, ...], schema: str, ignored: tuple[str, ...], as_json: bool) -> None:
    """Compare all tables, or TABLE, with those in another SCHEMA.

    Columns and rows that differ are told. For running beside the old system before the switch: FLUX_POSTGRES_SCHEMA
    names a schema of our own in its database. Columns that note when a sync wrote a row are not compared. Nothing is
    changed. Exit code 1 where something that the old table has is missing or different.

    \b
    Examples:
      flux-assets compare --with public
      flux-assets compare circuit_status_realtime --with public --ignore load_percent
    """
    from flux_assets.compare.schemas import compare_schemas
    from flux_assets.postgis.liveness import Stop
    from flux_assets.tables import declarations

    target = the_target()
    if schema == target.schema:
        raise click.UsageError(
            f"{schema} is the schema of our own tables; name another one, or set FLUX_POSTGRES_SCHEMA."
        )
    chosen = [one_of(declarations(), "table", name) for name in tables] or declarations()
    if unknown := set(ignored) - {name for table in chosen for name in table.column_names}:
        raise click.UsageError(f"No table that is compared has a column {', '.join(sorted(unknown))}.")
    found = []
    for each in compare_schemas(chosen, schema, target, ignored, Stop()):
        found.append(each)
        if not as_json:
            _show_difference(each)
    if as_json:
        print_json([_as_document(each) for each in found])
    exit_if(not all(each.is_same for each in found))


def _show_difference(found: TableDifference) -> None:
    if found.absent:
        click.echo(f"{found.name}: there is no {' and no '.join(found.absent)}.")
        return
    words = [f"{len(found.compared)} columns compared"]
    words += [f"not here: {', '.join(found.lacking)}"] if found.lacking else []
    words += [f"only here: {', '.join(found.added)}"] if found.added else []
    words += [f"other types: {', '.join(found.retyped)}"] if found.retyped else []
    if found.rows is None:
        words.append(f"rows not compared: {found.problem}")
    elif found.rows.same:
        words.append(f"the {found.rows.actual[0]:,} rows are the same")
    else:
        counts = ", ".join(f"{count:,} {kind}" for kind, count in found.rows.counts.items())
        words.append(f"{found.rows.actual[0]:,} rows here, {found.rows.expected[0]:,} there: {counts}")
    click.echo(f"{found.name}: {'; '.join(words)}.")
    for line in found.rows.sample if found.rows else ():
        click.echo(f"  {line}")


def _as_document(found: TableDifference) -> dict[str, object]:
    rows = found.rows
    return {
        "table": found.name,
        "same": found.is_same,
        "absent": found.absent,
        "columns": {
            "compared": found.compared,
            "lacking": found.lacking,
            "added": found.added,
            "retyped": found.retyped,
        },
        "rows": {**rows.numbers("old"), "sample": rows.sample} if rows else None,
        "problem": found.problem,
    }
