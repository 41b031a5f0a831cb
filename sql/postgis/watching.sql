-- What the ledger says of failures, for the alerts.

-- failures --
-- What failed since the last success, in the order in which it ended: runs of one table can overlap. A rollback that was
-- refused says nothing about the table, and who stops a run knows that it did not finish.
SELECT wanted.layer_name, failed.* FROM unnest(%(names)s::text[]) AS wanted (layer_name) CROSS JOIN LATERAL (
    WITH recent AS (
        SELECT * FROM postgres_sync.sync_status AS entry
        WHERE entry.schema_name = %(schema)s AND entry.layer_name = wanted.layer_name
        ORDER BY entry.started_at DESC LIMIT 1000)
    SELECT coalesce(entry.completed_at, entry.started_at) AS ended_at, entry.run_id,
           CASE entry.status WHEN 'FAILED' THEN entry.error_message ELSE %(died)s END AS message
    FROM recent AS entry
    WHERE (entry.status = 'FAILED' OR (entry.status = 'RUNNING' AND NOT EXISTS (
              SELECT FROM pg_stat_activity AS session
              WHERE session.pid = entry.backend_pid
                AND coalesce(session.backend_start, entry.backend_start) = entry.backend_start)))
      AND entry.sync_type NOT IN ('ROLLBACK', 'REPLAY')
      AND coalesce(entry.error_message, '') NOT ILIKE '%%stopped on request%%'
      AND coalesce(entry.completed_at, entry.started_at) > coalesce(
              (SELECT max(completed_at) FROM recent WHERE status = 'SUCCESS' AND sync_type <> 'REPLAY'), '-infinity')
    ORDER BY 1 DESC, entry.sync_id DESC) AS failed;

-- failed_runs --
SELECT DISTINCT run_id, layer_name FROM postgres_sync.sync_status
WHERE schema_name = %(schema)s AND status = 'FAILED' AND run_id = ANY (%(run_ids)s);
