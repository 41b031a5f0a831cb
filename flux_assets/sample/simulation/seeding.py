"""Filling the source tables for the first time, or anew: circuits, the past, and what the simulation remembers.

Here: when and from what. Not here: what the past looks like (history.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from flux_assets.errors import EmbeddedError, reported
from flux_assets.sample.city.frame import random_stream
from flux_assets.sample.simulation.grid import Grid, grid_of
from flux_assets.sample.simulation.history import past_orders, past_outages
from flux_assets.sample.simulation.state import Clock
from flux_assets.sample.simulation.store import SourceTables
from flux_assets.sample.simulation.tables import (  # fmt: skip
    CIRCUITS,
    DEVICES,
    ORDERS,
    OUTAGES,
    Shape,
    circuit_row,
    order_row,
    outage_row,
)
from flux_assets.snowflake.account import Account
from flux_assets.snowflake.quoting import quoted

if TYPE_CHECKING:
    from snowflake.connector import SnowflakeConnection

    from flux_assets.release.release import Release
    from flux_assets.sample.stand_in.server import StandIn

SEED = 7
_STREAM = 30


def ensure_seeded(stand_in: StandIn, release: Callable[[], Release], account: Account) -> None:
    """Fill the account's schema from the release if it never was; several callers at once fill it once.

    A file beside the data says that it is filled, so that nothing is asked of the server.
    """
    if not _done(stand_in, account).exists():
        with stand_in.writing():
            if not _done(stand_in, account).exists():
                _fill(stand_in, release, account, SEED)


def seed_anew(stand_in: StandIn, release: Callable[[], Release], account: Account, seed_number: int = SEED) -> None:
    """Fill the account's schema from the release, whatever it holds."""
    with stand_in.writing():
        _done(stand_in, account).unlink(missing_ok=True)
        _fill(stand_in, release, account, seed_number)


def seed(
    connection: SnowflakeConnection,
    grid: Grid,
    *,
    shape: Shape = "a",
    now: datetime | None = None,
    seed_number: int = SEED,
) -> None:
    """Make the three tables in the connection's schema anew and fill them, in the shape that is asked for.

    The same grid, seed and `now` (UTC, without a zone; by default the present) give the same rows.
    """
    now = (now or datetime.now(UTC).replace(tzinfo=None)).replace(microsecond=0)
    random = random_stream(seed_number, _STREAM)
    outages, orders = past_outages(grid, random, now), past_orders(grid, random, now)
    clock = Clock(now=now, seed=seed_number, outages=len(outages), orders=len(orders))
    store = SourceTables(connection)
    store.make(shape)
    with store.transaction():
        store.insert(CIRCUITS, [circuit_row(circuit, number) for number, circuit in enumerate(grid.circuits)])
        store.insert(OUTAGES[shape], [outage_row(outage, shape, now) for outage in outages])
        store.insert(ORDERS[shape], [order_row(order, shape, now) for order in orders])
        store.insert(DEVICES, [{name.upper(): value for name, value in asdict(d).items()} for d in grid.devices])
        store.set_clock(clock, shape)


def _fill(stand_in: StandIn, release: Callable[[], Release], account: Account, seed_number: int) -> None:
    import snowflake.connector

    grid, database = grid_of(release()), quoted(account.database)
    schema = f"{database}.{quoted(account.schema)}"
    with snowflake.connector.connect(**account.arguments()) as connection, connection.cursor() as cursor:
        try:
            cursor.execute(f"CREATE DATABASE IF NOT EXISTS {database}")
            cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
            cursor.execute(f"USE SCHEMA {schema}")
        except snowflake.connector.Error as error:
            raise EmbeddedError(
                f"The Snowflake stand-in cannot make {schema}: {reported(error)}.",
                "Set SNOWFLAKE_DATABASE and SNOWFLAKE_SCHEMA to names that are no words of SQL, such as FLUX_DB.",
            ) from error
        seed(connection, grid, seed_number=seed_number)
    _done(stand_in, account).touch()


def _done(stand_in: StandIn, account: Account) -> Path:
    return stand_in.layout.data / f"{account.database}.{account.schema}.filled"
