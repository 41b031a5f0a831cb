"""Somebody else who holds a lease, for tests of what everybody else then does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from flux_assets.ledger.leases import SYNC, acquiring
from flux_assets.postgis.session import prepare, run


@contextmanager
def someone_else(conninfo: str, schema: str = "public", name: str = SYNC) -> Iterator[psycopg.Connection]:
    """A session named "another" that holds the lease of a layer, or of all syncs into the schema, while it is open."""
    with psycopg.connect(conninfo, autocommit=True, application_name="another") as session:
        prepare(session, schema)
        [[_]] = run(session, acquiring(schema, name))
        yield session
