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
    read = work.snapshot.rows if work.snapshot else 0
    held = read - work.difference.inserts + work.difference.deletes
    # Rows beyond those that the last sync left were put in by others, and are no loss of the source's.
    strange = max(0, held - work.last.rows) if work.last else 0
    limit = work.live.table.vanished
    allowed = limit.allowed(held - strange)
    if work.difference.deletes <= allowed or accept_vanished or _is_as_it_was(work):
        return
    keys = merge.deleted_keys(session, work.live)
    there = existing(work, keys)
    # Strange rows may be among those that the source holds, closed or out of their window, and count once.
    work.vanished = len(keys) - max(there, min(len(keys), strange))
    if work.vanished > allowed:
        raise SyncError(
            f"{work.live.title}: {work.vanished:,} of its {held:,} rows are gone from {work.live.table.source},"
            f" which looks truncated or half-loaded (allowed: {limit.share:.0%}, or {limit.minimum} rows if"
            " that is less than half).",
            "If that is right, sync once with accept_vanished: true, or raise vanished_share in FLUX_CONFIG; the table"
            " is as it was.",
        )


def _is_as_it_was(work: Work) -> bool:
    """The source's rows are those of the last sync: whatever is to be deleted, others put or changed here."""
    return work.last is not None and work.snapshot is not None and work.last.fingerprint == work.snapshot.fingerprint
