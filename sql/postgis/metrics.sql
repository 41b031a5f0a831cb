-- tables --
-- As JSON, so that a view of an earlier revision answers too. What is wrong here ends soon, and locks nothing.
SELECT to_jsonb(status), extract(epoch FROM statement_timestamp() - source_changed_at)::float8,
       extract(epoch FROM statement_timestamp() - checked_at)::float8,
       extract(epoch FROM statement_timestamp() - published_at)::float8
FROM postgres_sync.v_table_status AS status WHERE schema_name = {schema};
