"""Old rows of the ledger, deleted: a sync every five minutes writes 315,000 a year.

Here: which rows may go, and their deletion in batches. Not here: when it is done (Dagster's daily maintenance), and
the register of versions, which stays whole: it is small, and says when a file was first seen.
"""

from __future__ import annotations

from datetime import timedelta

import psycopg

from flux_assets.postgis.connect import Stop

# Failures, and runs that published a version, say more and are few.
KEPT_LONGER = 4
_PRUNE = """
DELETE FROM postgres_sync.sync_status WHERE sync_id IN (
    SELECT entry.sync_id FROM postgres_sync.sync_status AS entry
    WHERE entry.schema_name = %(schema)s
      AND entry.started_at < statement_timestamp() - CASE
          WHEN entry.status = 'SUCCESS' AND entry.sync_type IN ('UNCHANGED', 'PINNED', 'DELTA') THEN %(keep)s
          ELSE %(keep)s * %(longer)s END
      AND entry.started_at < statement_timestamp() - %(keep)s
      AND entry.sync_id <> ALL (%(newest)s)
      AND NOT (entry.status = 'RUNNING' AND postgres_sync.is_alive(entry.backend_pid, entry.backend_start))
      AND NOT EXISTS (
          SELECT FROM postgres_sync.layer_versions AS kept
          WHERE entry.status = 'SUCCESS' AND entry.sync_type NOT IN ('UNCHANGED', 'PINNED', 'DELTA')
            AND kept.schema_name = entry.schema_name AND kept.layer_name = entry.layer_name
            AND kept.version = entry.version AND kept.state = 'published')
    ORDER BY entry.started_at LIMIT %(batch)s)
"""
# Of each table: the last time that it was right, the last that it was written, the last that something went wrong.
_NEWEST = """
WITH RECURSIVE tables AS (
    (SELECT layer_name FROM postgres_sync.sync_status WHERE schema_name = %(schema)s ORDER BY layer_name LIMIT 1)
    UNION ALL
    SELECT (SELECT next.layer_name FROM postgres_sync.sync_status AS next
            WHERE next.schema_name = %(schema)s AND next.layer_name > tables.layer_name
            ORDER BY next.layer_name LIMIT 1)
    FROM tables WHERE tables.layer_name IS NOT NULL)
SELECT newest.sync_id FROM tables
CROSS JOIN (VALUES ('SUCCESS', NULL), ('SUCCESS', ARRAY['UNCHANGED', 'PINNED']), ('FAILED', NULL)) AS sort (status, but)
CROSS JOIN LATERAL (
    SELECT entry.sync_id FROM postgres_sync.sync_status AS entry
    WHERE entry.schema_name = %(schema)s AND entry.layer_name = tables.layer_name AND entry.status = sort.status
      AND (sort.but IS NULL OR entry.sync_type <> ALL (sort.but))
    ORDER BY entry.started_at DESC LIMIT 1) AS newest
"""


def prune_ledger(
    session: psycopg.Connection, schema: str, keep: timedelta, *, batch: int = 10_000, stop: Stop | None = None
) -> int:
    """Delete the schema's rows of the ledger that are older than `keep`; returns how many.

    Failures, and runs that published a version, are kept KEPT_LONGER times as long, those of versions that can be
    rolled back to always. The newest success, change and failure of each table stay, and so does a run under way.
    Each batch is a transaction of its own; `session` is one that commits by itself.
    """
    newest = [number for (number,) in session.execute(_NEWEST, {"schema": schema})]
    values = {"schema": schema, "keep": keep, "longer": KEPT_LONGER, "newest": newest, "batch": batch}
    deleted = 0
    while True:
        (stop or Stop()).check()
        count = session.execute(_PRUNE, values).rowcount
        deleted += count
        if count < batch:
            return deleted
