"""Leases and rows of the ledger of somebody else, for tests of what everybody else then does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from flux_assets.ledger.entries import Entry, opening
from flux_assets.ledger.leases import SYNC, Lease
from flux_assets.postgis.relations import Layer
from flux_assets.postgis.session import prepare, run


@contextmanager
def someone_else(conninfo: str, schema: str = "public", name: str = SYNC) -> Iterator[psycopg.Connection]:
    """A session named "another" that holds the lease of a layer, or of all syncs into the schema, while it is open."""
    with psycopg.connect(conninfo, autocommit=True, application_name="another") as session:
        prepare(session, schema)
        [[_]] = run(session, Lease.acquiring(schema, name))
        yield session


def open_entry(session: psycopg.Connection, layer: Layer, sync_type: str, run_id: str | None = None) -> Entry:
    """A RUNNING row of the ledger, as every run opens it."""
    [[(sync_id, _)]] = run(session, [opening([layer], sync_type, run_id)])
    return Entry(sync_id, sync_type)
