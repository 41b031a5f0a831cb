"""Leases and rows of the ledger of somebody else, for tests of what everybody else then does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from flux_assets.ledger.runs import Entry, Lease
from flux_assets.postgis.relations import Layer
from flux_assets.postgis.session import prepare, run


@contextmanager
def someone_else(conninfo: str, schema: str = "public", name: str = Lease.SYNC) -> Iterator[psycopg.Connection]:
    """A session named "another" that holds the lease of a layer, or of all syncs into the schema, while it is open."""
    with psycopg.connect(conninfo, autocommit=True, application_name="another") as session:
        prepare(session, schema)
        [[_]] = run(session, Lease.acquiring(schema, name))
        yield session


def open_entry(session: psycopg.Connection, layer: Layer, sync_type: str, run_id: str | None = None) -> Entry:
    """A RUNNING row of the ledger, as every run opens it."""
    [opened] = run(session, Entry.opening([layer], sync_type, run_id, close_dead=False))
    return Entry.opened(sync_type, opened)[layer.name]
