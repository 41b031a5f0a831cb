"""The guard against a source that lost its rows: truncated, half-loaded, or another one.

Here: the judgement. Not here: the limits (spec, FLUX_CONFIG), and what is deleted (postgis/merge.py).
"""

from __future__ import annotations

from collections.abc import Callable

import psycopg

from flux_assets.errors import SyncError
from flux_assets.postgis import merge
from flux_assets.syncing.work import Work

# How many of these keys of a table the source still holds.
Existing = Callable[[Work, list[tuple[object, ...]]], int]


def guard(session: psycopg.Connection, work: Work, existing: Existing, *, accept_vanished: bool) -> None:
    """Raise SyncError when the source lost many rows, with the number left in `work.vanished`.

    Rows that closed or left their window are still in it and do not count; it is asked only where rows enough are to be
    deleted.
    """
    limit, deletes = work.live.table.vanished, work.difference.deletes
    # Rows beyond those that the last sync left were put in by others, and never were in the source.
    strange = max(0, work.before - work.last.rows) if work.last else 0
    allowed = limit.allowed(work.before - strange)
    if deletes <= allowed or accept_vanished:
        return
    keys = merge.deleted_keys(session, work.live)
    work.vanished = max(0, len(keys) - existing(work, keys) - strange)
    if work.vanished > allowed:
        raise SyncError(
            f"{work.live.title}: {work.vanished:,} of its {work.before:,} rows are gone from {work.live.table.source},"
            f" which looks truncated or half-loaded (allowed: {limit.share:.0%}, or {limit.minimum} rows if"
            " that is less than half).",
            "If that is right, sync once with accept_vanished: true, or raise vanished_share in FLUX_CONFIG; the table"
            " is as it was.",
        )
