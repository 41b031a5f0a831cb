"""What the commands about the source print: where the stand-in listens, and what a step of the simulation did.

Here: sentences. Not here: the commands (cli.py), and what is told of tables (shown.py).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from flux_assets.sample.simulation.tick import Ticked
    from flux_assets.snowflake.account import Account

_ACCEPTING = {"ops": {"sync_dynamic_tables": {"config": {"accept_vanished": True}}}}


def show_source(account: Account, secret: Path) -> None:
    """How to connect to the stand-in; the password is told only where it lies."""
    click.echo("The Snowflake stand-in is running; `flux-assets simulate` drives it.")
    where = f"host {account.host}, port {account.port}, protocol {account.protocol}"
    click.echo(f"  connector:    account {account.account}, user {account.user}, {where}")
    click.echo(f"  tables:       database {account.database}, schema {account.schema}")
    click.echo(f"  password:     in {secret}")


def show_filled_anew() -> None:
    """That the tables were filled, and what the next sync may say of it."""
    click.echo("Filled the stand-in's tables anew.")
    click.echo(
        "If many rows that were synced are gone now, such as those of a storm, the next sync takes the source for"
    )
    click.echo("half-loaded, fails, and leaves the table as it is. To accept it once:")
    click.echo("  dagster asset materialize -m flux_assets.definitions --select 'group:dynamic_operations' \\")
    click.echo(f"      --config-json '{json.dumps(_ACCEPTING)}'")


def show_step(step: Ticked) -> None:
    """One line: what began and ended, and how things stand."""
    outages = f"{step.begun} began, {step.restored} restored, {step.open_outages} open"
    orders = f"{step.orders_written} written, {step.orders_completed} completed"
    weather = "; storm" if step.storm else ""
    out = f"{step.customers_out:,} customers out"
    click.echo(f"{step.now:%Y-%m-%d %H:%MZ}  outages: {outages}, {out}; work orders: {orders}{weather}")
