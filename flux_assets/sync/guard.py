"""The guard against a source that lost its rows, truncated or half-loaded, and against a reading that lost them.

Here: the judgement. Not here: the limits (spec, FLUX_CONFIG), and what is deleted (postgis/merge.py).
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import psycopg

from flux_assets.checks.audit import SAMPLE_KEYS
from flux_assets.errors import SyncError, plainly
from flux_assets.sync import diff
from flux_assets.sync.reader import HeldRead
from flux_assets.sync.table import TableSync

# Which of these keys of a table the source still holds, and which of those the rule still takes.
HeldOf = Callable[[TableSync, list[tuple[object, ...]]], HeldRead]


def guard(session: psycopg.Connection, work: TableSync, held_of: HeldOf, *, accept_vanished: bool) -> None:
    """Raise SyncError when the source lost many rows, with the number left in `work.vanished`, or when reading did.

    A row that is to be deleted is judged by the rule itself: the source does not hold it any more (it vanished, and
    many of those are refused unless that is accepted), or holds it closed or out of its window (it may go), or holds
    it as the rule still takes it: then the reading lost it, and nothing that was read is to be believed. The source is
    asked only where rows enough are to be deleted; a reading that was cut is found by its own count before.
    """
    read = work.snapshot.rows if work.snapshot else 0
    held = read - work.difference.inserts + work.difference.deletes
    # Rows beyond those that the last sync left were put in by others, and are no loss of the source's.
    strange = max(0, held - work.last.rows) if work.last else 0
    limit = work.live.table.vanished
    allowed = limit.allowed(held - strange)
    if work.difference.deletes <= allowed or _is_as_it_was(work):
        return
    keys = diff.deleted_keys(session, work.live)
    found = held_of(work, keys)
    if found.taken:
        raise _lost(work, len(keys), found.taken)
    # Strange rows may be among those that the source holds, closed or out of their window, and count once.
    vanished = len(keys) - max(len(found.there), min(len(keys), strange))
    work.vanished = 0 if accept_vanished else vanished
    if work.vanished > allowed:
        raise SyncError(
            f"{work.live.title}: {work.vanished:,} of its {held:,} rows are gone from {work.live.table.source},"
            f" which looks truncated or half-loaded (allowed: {limit.share:.0%}, or {limit.minimum} rows if"
            " that is less than half).",
            "If that is right, sync once with accept_vanished: true, or raise vanished_share in FLUX_CONFIG; the table"
            " is as it was.",
        )


def _lost(work: TableSync, missing: int, taken: Collection[tuple[object, ...]]) -> SyncError:
    shown = ", ".join(sorted("/".join(plainly(str(part)) for part in key) for key in taken)[:SAMPLE_KEYS])
    others = ", among others" if len(taken) > SAMPLE_KEYS else ""
    return SyncError(
        f"{work.live.title}: {len(taken):,} of the {missing:,} rows that were not read are still in"
        f" {work.live.table.source}, and are to be taken: reading lost them ({', '.join(work.live.table.key)} {shown}"
        f"{others}).",
        "Nothing was deleted, and the next tick reads again. Where it stays so, look for what cuts results:"
        " SHOW PARAMETERS LIKE 'ROWS_PER_RESULTSET' FOR USER …, or a program between here and Snowflake.",
    )


def _is_as_it_was(work: TableSync) -> bool:
    """The source's rows are those of the last sync: whatever is to be deleted, others put or changed here."""
    return work.last is not None and work.snapshot is not None and work.last.fingerprint == work.snapshot.fingerprint
