-- recent_runs --
-- What had nothing to load says nothing of how long a load takes.
SELECT status, duration_seconds::float8, CASE WHEN sync_type IN ('FULL', 'PUBLISH') THEN rows_synced END,
       rows_inserted - rows_deleted
FROM postgres_sync.sync_status
WHERE layer_name = %s AND schema_name = %s AND status <> 'RUNNING'
  AND (sync_type NOT IN ('UNCHANGED', 'PINNED') OR source_instant IS NOT NULL)
ORDER BY started_at DESC, sync_id DESC
LIMIT 24;
