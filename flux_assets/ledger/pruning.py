"""Deleting old rows of postgres_sync: a sync every five minutes writes 315,000 a year into the ledger."""

from __future__ import annotations

from datetime import timedelta

import psycopg

from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.relations import VERSIONS
from flux_assets.sqlfiles import query

# Failures, and runs that published a version, say more and are few.
_KEPT_LONGER = 4
# Of loads that failed: whoever fixes the file needs what they refused.
_REFUSED_KEPT = timedelta(days=7)


def prune(
    session: psycopg.Connection, schema: str, keep: timedelta, *, batch: int = 10_000, stop: Stop | None = None
) -> tuple[int, int, int]:
    """Delete old rows of a schema; returns how many of the ledger, of the register of versions, of the quarantine.

    Those of the ledger go when older than `keep`, failures and runs that published a version _KEPT_LONGER times later,
    those of versions that can be rolled back to never. The newest success, change and failure of each table stay, and
    so does a run under way. Those of the register go likewise, once the version's table is gone; the first sight of a
    file that a version still holds stays: source_changed_at is told from it. Records in quarantine follow their
    version. Each batch is a transaction of its own; `session` is one that commits by itself.
    """
    newest = [number for (number,) in session.execute(query("pruning", "newest"), {"schema": schema})]
    values = {"schema": schema, "keep": keep, "longer": _KEPT_LONGER, "batch": batch}

    def deleted(name: str, **more: object) -> int:
        """Delete in batches until one is not full."""
        total, count = 0, batch
        while count >= batch:
            (stop or Stop()).check()
            count = session.execute(query("pruning", name), {**values, **more}).rowcount
            total += count
        return total

    runs, versions = deleted("prune_ledger", newest=newest), deleted("prune_register", versions=VERSIONS)
    refused = query("quarantine", "delete_gone").format(schema=schema, name=None, kept=_REFUSED_KEPT)
    return runs, versions, session.execute(refused).rowcount
