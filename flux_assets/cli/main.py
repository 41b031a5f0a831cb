"""The command line `flux-assets`, and the commands that run Dagster's steps: load, sync, worker.

A command imports what it runs when it is called, so that --help answers at once.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from flux_assets.cli import embedded, inspection, listen, moving, releases, rollback, starting, status
from flux_assets.cli.terminal import Commands, one_of, the_layer
from flux_assets.errors import LayerError, SyncError

_force = click.option("--force", is_flag=True, help="Also where nothing seems to have changed.")


@click.group(cls=Commands, context_settings={"max_content_width": 100})
@click.version_option(package_name="flux_assets")
def main() -> None:
    """Load versioned map layers into PostGIS, sync tables from Snowflake, inspect both, and roll back.

    `load` and `sync` start the same runs as Dagster does (`make ui`). Settings come from the environment and from
    `.env`; `flux-assets doctor` tests each of them.

    Exit codes: 0 done, 1 failed or not to be trusted, 2 wrong usage, 3 another process is loading or syncing it.
    """


for module in (embedded, inspection, listen, moving, releases, rollback, starting, status):
    main.commands |= module.COMMANDS.commands


@main.command("load")
@click.argument("layers", nargs=-1, metavar="[LAYER]...")
@_force
@click.option(
    "--accept-fewer-rows", is_flag=True, help="Publish a version even if it has less than half of the published rows."
)
@click.option("--accept-schema-change", is_flag=True, help="Change the public table's columns as the declaration says.")
@click.option("--take-over", is_flag=True, help="Rename another loader's table of that name once the layer is ready.")
@click.option(
    "--quarantine",
    type=click.IntRange(min=0),
    metavar="RECORDS",
    help="Put up to RECORDS refused records into quarantine  [default: FLUX_QUARANTINE_LIMIT].",
)
def _load(layers: tuple[str, ...], quarantine: int | None, **flags: bool) -> None:
    """Load every layer that the release has changed, or only LAYER.

    A run of Dagster's job load_static_layers, with the same history, checks and log in the UI. Exit code 1 when a layer
    could not be loaded, 3 when nothing was loaded because another process is loading it.

    \b
    Examples:
      flux-assets load
      flux-assets load substations transformers
      flux-assets load substations --force
    """
    from flux_assets.tables import layers as every_layer

    names = [the_layer(name).name for name in layers] or [table.name for table in every_layer()]
    if not names:
        raise LayerError("No layer is declared.", "FLUX_WITHOUT leaves out those of flux_assets.")
    config: dict[str, object] = {name: True for name, given in flags.items() if given}
    if quarantine is not None:
        config["quarantine"] = quarantine

    from flux_assets.orchestration.commands import load_layers

    Commands.finish_run("load", "loading", *load_layers(list(dict.fromkeys(names)), config))


@main.command("sync")
@click.argument("tables", nargs=-1, metavar="[TABLE]...")
@_force
@click.option("--accept-vanished", is_flag=True, help="Accept this once that many rows have vanished from the source.")
def _sync(tables: tuple[str, ...], **flags: bool) -> None:
    """Sync all synced tables, or only TABLE, with Snowflake.

    A run of Dagster's job sync_all_dynamic, as its schedule starts it. Exit code 1 when a table could not be synced, 3
    when another process is syncing.

    \b
    Examples:
      flux-assets sync
      flux-assets sync work_orders
      flux-assets sync --accept-vanished
    """
    from flux_assets.tables import dynamic_tables, layers

    loaded = {table.name for table in layers()}
    for name in tables:
        elsewhere = f"{name} is not synced: it is loaded from a release, by `flux-assets load {name}`."
        one_of(dynamic_tables(), "synced table", name, elsewhere if name in loaded else None, SyncError)
    names = tables or [table.name for table in dynamic_tables()]
    if not names:
        raise SyncError("No synced table is declared.", "FLUX_WITHOUT leaves out those of flux_assets.")

    from flux_assets.orchestration.commands import sync_tables

    config = {name: True for name, given in flags.items() if given}
    Commands.finish_run("sync", "syncing", *sync_tables(list(dict.fromkeys(names)), config))


@main.command("worker", context_settings={"ignore_unknown_options": True})
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[CELERY_OPTIONS]...")
def _worker(options: tuple[str, ...]) -> None:
    """Run steps of loads, and syncs, as a worker of Celery.

    For FLUX_EXECUTOR=celery and FLUX_SYNC_RUNS=worker, until SIGTERM or Ctrl-C. It becomes Celery's own worker, with
    our configuration: FLUX_PARALLEL_LAYERS at a time, syncs first, then large layers; CELERY_OPTIONS are those of
    `celery worker`. On SIGTERM it ends within ten seconds; steps that have not ended by then go to another worker, and
    a sync is repeated.

    \b
    Examples:
      flux-assets worker
      flux-assets worker -Q flux_large --concurrency 1
      flux-assets worker -Q flux_sync --concurrency 1
    """
    from flux_assets.orchestration.spread.steps import Steps
    from flux_assets.settings import Settings

    Steps.celery()  # what is missing is said in a sentence, here
    program = Path(sys.executable).with_name("celery")
    command = ["celery", "-A", "flux_assets.orchestration.spread.workers", "worker", "--loglevel", "WARNING", *options]
    # The instance that other commands use too: Dagster's task looks for a sync's run there.
    home = next(
        (str(folder) for folder in (Path.cwd(), Settings.project_folder()) if (folder / "dagster.yaml").is_file()), ""
    )
    given = {"REMAP_SIGTERM": "SIGQUIT", "DAGSTER_HOME": os.environ.get("DAGSTER_HOME") or home}
    os.execve(program, command, os.environ | given)  # noqa: S606
