-- How far a dynamic table is behind its source.

-- sync_times --
SELECT state.layer_name, state.rows, state.mark, state.token, state.source_changed_at, state.changed_at AS published_at,
       greatest(last.source_instant, state.source_instant) AS picture_at,
       coalesce(last.completed_at, state.changed_at) AS checked_at, clock_timestamp() AS now, coalesce(past, '[]') AS past
FROM postgres_sync.sync_state AS state
LEFT JOIN LATERAL (
    SELECT source_instant, completed_at FROM postgres_sync.sync_status AS entry
    WHERE entry.schema_name = state.schema_name AND entry.layer_name = state.layer_name AND status = 'SUCCESS'
      AND source_instant IS NOT NULL
    ORDER BY started_at DESC LIMIT 1) AS last ON true
-- Of each of the last seven days its last sync: what a sync of five minutes ago says would excuse itself.
CROSS JOIN LATERAL (
    SELECT jsonb_agg(jsonb_build_array(rows_synced, to_char(started_at AT TIME ZONE 'UTC', '"the sync of" YYYY-MM-DD HH24:MI"Z"'))
                     ORDER BY started_at DESC) AS past
    FROM generate_series(1, 7) AS day CROSS JOIN LATERAL (
        SELECT rows_synced, started_at FROM postgres_sync.sync_status AS entry
        WHERE entry.schema_name = state.schema_name AND entry.layer_name = state.layer_name AND status = 'SUCCESS'
          AND rows_synced IS NOT NULL AND started_at <= clock_timestamp() - day * interval '1 day'
          AND started_at > clock_timestamp() - (day + 1) * interval '1 day'
        ORDER BY started_at DESC LIMIT 1) AS newest) AS week
WHERE state.schema_name = %s AND state.layer_name = ANY (%s);

-- last_runs --
SELECT sync_id, sync_type, status, started_at, completed_at, source_instant, source_changed_at, error_message
FROM postgres_sync.sync_status WHERE schema_name = {} AND layer_name = {} ORDER BY started_at DESC LIMIT 20;
