"""The guard against a source that lost its rows, truncated or half-loaded, and against a reading that lost them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import psycopg

from flux_assets.checks.audit import SAMPLE_KEYS
from flux_assets.errors import SyncError, plainly
from flux_assets.spec import DynamicTable
from flux_assets.sync import diff
from flux_assets.sync.reader import HeldRead
from flux_assets.sync.table import TableSync

# Which of these keys of a table the source still holds, and which of those the rule still takes.
HeldOf = Callable[[DynamicTable, Sequence[tuple[object, ...]]], HeldRead]


def guard(session: psycopg.Connection, table: TableSync, held_of: HeldOf, *, accept_vanished: bool) -> None:
    """Raise SyncError when the source lost many rows, with the number left in the outcome, or when reading did.

    A row that is to be deleted is judged by the rule itself: the source does not hold it any more (it vanished, and
    many of those are refused unless that is accepted), or holds it closed or out of its window (it may go), or holds
    it as the rule still takes it: then the reading lost it, and nothing that was read is to be believed. The source is
    asked only where rows enough are to be deleted; a reading that was cut is found by its own count before.
    """
    last, snapshot, difference = table.state.last, table.outcome.snapshot, table.difference
    held = (snapshot.rows if snapshot else 0) - difference.inserts + difference.deletes
    # Rows beyond those that the last sync left were put in by others, and are no loss of the source's.
    strange = max(0, held - last.rows) if last else 0
    limit = table.live.table.vanished
    allowed = limit.allowed(held - strange)
    # Where the source's rows are those of the last sync, others put or changed here whatever is to be deleted.
    is_as_it_was = last is not None and snapshot is not None and last.fingerprint == snapshot.fingerprint
    if difference.deletes <= allowed or is_as_it_was:
        return
    keys = diff.deleted_keys(session, table.live)
    found = held_of(table.live.table, keys)
    if found.taken:
        raise _lost(table, len(keys), found.taken)
    # Strange rows may be among those that the source holds, closed or out of their window, and count once.
    vanished = 0 if accept_vanished else len(keys) - max(len(found.there), min(len(keys), strange))
    table.lost(vanished)
    if vanished > allowed:
        raise SyncError(
            f"{table.live.title}: {vanished:,} of its {held:,} rows are gone from {table.live.table.source},"
            f" which looks truncated or half-loaded (allowed: {limit.share:.0%}, or {limit.minimum} rows if"
            " that is less than half).",
            "If that is right, sync once with accept_vanished: true, or raise vanished_share in FLUX_CONFIG; the table"
            " is as it was.",
        )


def _lost(table: TableSync, missing: int, taken: Collection[tuple[object, ...]]) -> SyncError:
    shown = ", ".join(sorted("/".join(plainly(str(part)) for part in key) for key in taken)[:SAMPLE_KEYS])
    others = ", among others" if len(taken) > SAMPLE_KEYS else ""
    return SyncError(
        f"{table.live.title}: {len(taken):,} of the {missing:,} rows that were not read are still in"
        f" {table.live.table.source}, and are to be taken: reading lost them ({', '.join(table.live.table.key)} {shown}"
        f"{others}).",
        "Nothing was deleted, and the next tick reads again. Where it stays so, look for what cuts results:"
        " SHOW PARAMETERS LIKE 'ROWS_PER_RESULTSET' FOR USER …, or a program between here and Snowflake.",
    )
