-- How far a dynamic table is behind its source.

-- sync_times --
SELECT state.layer_name, state.rows, state.mark, state.token, state.source_changed_at, state.changed_at AS published_at,
       greatest(last.source_instant, state.source_instant) AS picture_at,
       coalesce(last.completed_at, state.changed_at) AS checked_at, clock_timestamp() AS now
FROM postgres_sync.sync_state AS state
LEFT JOIN LATERAL (
    SELECT source_instant, completed_at FROM postgres_sync.sync_status AS entry
    WHERE entry.schema_name = state.schema_name AND entry.layer_name = state.layer_name AND status = 'SUCCESS'
      AND source_instant IS NOT NULL
    ORDER BY started_at DESC LIMIT 1) AS last ON true
WHERE state.schema_name = %s AND state.layer_name = ANY (%s);

-- last_runs --
SELECT sync_id, sync_type, status, started_at, completed_at, source_instant, source_changed_at, error_message
FROM postgres_sync.sync_status WHERE schema_name = {} AND layer_name = {} ORDER BY started_at DESC LIMIT 20;
