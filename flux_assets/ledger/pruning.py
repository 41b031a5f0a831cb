"""Deleting old rows of the ledger and of the register of versions: a sync every five minutes writes 315,000 a year."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import psycopg
from psycopg import sql

from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.relations import VERSIONS
from flux_assets.sqlfiles import query

# Failures, and runs that published a version, say more and are few.
KEPT_LONGER = 4


def prune_ledger(
    session: psycopg.Connection, schema: str, keep: timedelta, *, batch: int = 10_000, stop: Stop | None = None
) -> int:
    """Delete the schema's rows of the ledger that are older than `keep`; returns how many.

    Failures, and runs that published a version, are kept KEPT_LONGER times as long, those of versions that can be
    rolled back to always. The newest success, change and failure of each table stay, and so does a run under way.
    Each batch is a transaction of its own; `session` is one that commits by itself.
    """
    newest = [number for (number,) in session.execute(query("pruning", "newest"), {"schema": schema})]
    values = {"schema": schema, "keep": keep, "longer": KEPT_LONGER, "newest": newest, "batch": batch}
    return _deleted(session, query("pruning", "prune_ledger"), values, batch, stop)


def prune_register(
    session: psycopg.Connection, schema: str, keep: timedelta, *, batch: int = 10_000, stop: Stop | None = None
) -> int:
    """Delete the schema's rows of the register whose table is gone and that are older than `keep`; returns how many.

    Those of versions that were published are kept KEPT_LONGER times as long. The first sight of a file that a version
    still holds stays: source_changed_at is told from it.
    """
    values = {"schema": schema, "keep": keep, "longer": KEPT_LONGER, "versions": VERSIONS, "batch": batch}
    return _deleted(session, query("pruning", "prune_register"), values, batch, stop)


def _deleted(
    session: psycopg.Connection, statement: sql.SQL, values: Mapping[str, object], batch: int, stop: Stop | None
) -> int:
    """Delete rows in batches until one is not full; return how many."""
    deleted = 0
    while True:
        (stop or Stop()).check()
        count = session.execute(statement, values).rowcount
        deleted += count
        if count < batch:
            return deleted
