-- status --
-- What revision 5 added, and later ones, is read as JSON, so that a view of an earlier revision answers too.
SELECT layer_name AS "table", kind, state, trusted, detail, rows, version, release_tag, source_changed_at, checked_at,
       published_at, lag_seconds, last_error, last_error_at, failures_last_hour, sync_id, run_id,
       coalesce((to_jsonb(status) ->> 'rows_quarantined')::bigint, 0) AS rows_quarantined,
       extract(epoch FROM statement_timestamp() - source_changed_at)::float8 AS source_age_seconds,
       extract(epoch FROM statement_timestamp() - checked_at)::float8 AS checked_age_seconds,
       extract(epoch FROM statement_timestamp() - published_at)::float8 AS published_age_seconds,
       (to_jsonb(status) ->> 'pinned_at')::timestamptz AS pinned_at, to_jsonb(status) ->> 'pinned_by' AS pinned_by,
       to_jsonb(status) ->> 'pin_reason' AS pin_reason, to_jsonb(status) ->> 'held_version' AS held_version,
       to_jsonb(status) ->> 'last_attempt' AS last_attempt,
       coalesce(to_jsonb(status) ->> 'last_attempt_detail', '') AS last_attempt_detail,
       (to_jsonb(status) ->> 'last_attempt_at')::timestamptz AS last_attempt_at,
       (to_jsonb(status) ->> 'others_wrote_at')::timestamptz AS others_wrote_at,
       coalesce(to_jsonb(status) ->> 'others_wrote', '') AS others_wrote,
       extract(epoch FROM statement_timestamp() - (to_jsonb(status) ->> 'last_attempt_at')::timestamptz)::float8
           AS last_attempt_age_seconds
FROM postgres_sync.v_table_status AS status WHERE schema_name = %s;
