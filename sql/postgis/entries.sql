-- open --
INSERT INTO postgres_sync.sync_status (layer_name, schema_name, sync_type, run_id, backend_pid, backend_start)
-- The view of all sessions would be half of what the statement costs.
SELECT name, {schema}, {kind}, {run_id}, pid, backend_start FROM pg_stat_get_activity(pg_backend_pid()),
       unnest({names}::text[]) AS name
RETURNING sync_id, layer_name;

-- close --
UPDATE postgres_sync.sync_status
SET status = {status}, sync_type = {sync_type}, rows_synced = {rows}, rows_changed = {changed},
    error_message = {error}, version = coalesce({version}, version), completed_at = clock_timestamp(),
    duration_seconds = round(extract(epoch FROM clock_timestamp() - started_at), 3)
WHERE sync_id = {sync_id} AND status = 'RUNNING';

-- close_synced --
-- What the table holds is noted before, in the same transaction, where the sync wrote it.
UPDATE postgres_sync.sync_status AS entry
SET status = 'SUCCESS', sync_type = {kind}, rows_synced = (
        SELECT state.rows FROM postgres_sync.sync_state AS state
        WHERE state.schema_name = entry.schema_name AND state.layer_name = entry.layer_name),
    rows_changed = {inserted} + {updated} + {deleted}, rows_inserted = {inserted}, rows_updated = {updated},
    rows_deleted = {deleted}, source_instant = {instant}, source_changed_at = {changed},
    completed_at = clock_timestamp(),
    duration_seconds = round(extract(epoch FROM clock_timestamp() - started_at), 3)
WHERE sync_id = {sync_id} AND status = 'RUNNING';

-- close_held --
UPDATE postgres_sync.sync_status
SET status = 'SUCCESS', sync_type = 'PINNED', rows_synced = {rows}, rows_changed = 0, version = {version}, held_version = {held},
    completed_at = clock_timestamp(),
    duration_seconds = round(extract(epoch FROM clock_timestamp() - started_at), 3)
WHERE sync_id = {sync_id} AND status = 'RUNNING';

-- close_dead --
UPDATE postgres_sync.sync_status
SET status = 'FAILED', completed_at = clock_timestamp(),
    duration_seconds = round(extract(epoch FROM clock_timestamp() - started_at), 3), error_message = {said}
WHERE status = 'RUNNING' AND layer_name = ANY ({names}) AND schema_name = {schema}
  AND (NOT postgres_sync.is_alive(backend_pid, backend_start)
       -- A pooler may have handed on the server process of a run that died. This one has opened no row yet.
       OR (backend_pid, backend_start) = (SELECT pid, backend_start FROM pg_stat_get_activity(pg_backend_pid())));

-- close_silent --
-- One that has died is another matter, and closed as dead.
UPDATE postgres_sync.sync_status
SET status = 'FAILED', completed_at = clock_timestamp(),
    duration_seconds = round(extract(epoch FROM clock_timestamp() - started_at), 3), error_message = {said}
WHERE status = 'RUNNING' AND backend_start = {since} AND backend_pid <> pg_backend_pid()
  AND postgres_sync.is_alive(backend_pid, backend_start);

-- forget --
DELETE FROM postgres_sync.sync_status WHERE sync_id = {sync_id};

-- measured --
UPDATE postgres_sync.sync_status SET step_seconds = {step_seconds} WHERE sync_id = {sync_id};

-- locked --
UPDATE postgres_sync.sync_status SET lock_seconds = {lock_seconds} WHERE sync_id = {sync_id};
