"""Filling the stand-in's tables."""

from __future__ import annotations

from collections.abc import Callable

from flux_assets.embedded.stand_in.server import StandIn
from flux_assets.release.source import Release
from flux_assets.warehouse.account import Account


def ensure_seeded(stand_in: StandIn, release: Callable[[], Release], account: Account) -> Account:
    """Make database and schema."""
    import snowflake.connector

    with snowflake.connector.connect(**account.arguments()) as connection:
        connection.cursor().execute(f'CREATE DATABASE IF NOT EXISTS "{account.database}"')
        connection.cursor().execute(f'CREATE SCHEMA IF NOT EXISTS "{account.database}"."{account.schema}"')
    return account
