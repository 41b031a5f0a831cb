-- prune_ledger --
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
    ORDER BY entry.started_at LIMIT %(batch)s);

-- newest --
-- Of each table: the last time that it was right, the last that it was written, the last that something went wrong.
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
    ORDER BY entry.started_at DESC LIMIT 1) AS newest;

-- prune_register --
-- A version whose table is gone says something only as the first sight of a file that another version still holds.
-- What was dropped while its table was being made may have it all the same, and is left to the layer's next run.
DELETE FROM postgres_sync.layer_versions WHERE (schema_name, layer_name, lease) IN (
    SELECT schema_name, layer_name, lease FROM postgres_sync.layer_versions AS gone
    WHERE gone.schema_name = %(schema)s AND gone.state = 'dropped' AND NOT gone.current
      AND coalesce(gone.published_at, gone.staged_at) < statement_timestamp() - CASE
          WHEN gone.published_at IS NULL THEN %(keep)s ELSE %(keep)s * %(longer)s END
      AND to_regclass(format('%%I.%%I', %(versions)s::text, gone.relation)) IS NULL
      AND NOT (
          EXISTS (
              SELECT FROM postgres_sync.layer_versions AS kept
              WHERE kept.schema_name = gone.schema_name AND kept.layer_name = gone.layer_name
                AND kept.sha256 = gone.sha256 AND kept.state <> 'dropped')
          AND NOT EXISTS (
              SELECT FROM postgres_sync.layer_versions AS earlier
              WHERE earlier.schema_name = gone.schema_name AND earlier.layer_name = gone.layer_name
                AND earlier.sha256 = gone.sha256
                AND (earlier.staged_at, earlier.lease) < (gone.staged_at, gone.lease)))
    LIMIT %(batch)s);
