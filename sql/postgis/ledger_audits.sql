-- What the quarantine and the ledger say of a table. A rollback or replay that was refused says nothing about it.

-- count_quarantined --
SELECT count(*) FILTER (WHERE replayed_at IS NULL), count(replayed_at),
       coalesce((array_agg(format('%s, line %s%s: %s', file, line, ', column ' || column_name, reason)
                           ORDER BY record) FILTER (WHERE replayed_at IS NULL))[:{limit}], '{{}}')
FROM postgres_sync.quarantine AS held JOIN postgres_sync.layer_versions AS live USING (schema_name, layer_name, lease)
WHERE live.current AND schema_name = {schema} AND layer_name = {name};

-- list_quarantined --
SELECT file, line, column_name, reason, raw_record
FROM postgres_sync.quarantine AS held JOIN postgres_sync.layer_versions AS live USING (schema_name, layer_name, lease)
WHERE live.current AND schema_name = {schema} AND layer_name = {name} AND replayed_at IS NULL ORDER BY record;

-- others --
SELECT others_wrote FROM postgres_sync.v_table_status WHERE schema_name = {schema} AND layer_name = {name};

-- count_runs --
SELECT count(*), count(*) FILTER (WHERE status = 'FAILED'),
       coalesce((array_agg(sync_id || ': ' || split_part(coalesce(error_message, 'no message'), E'\n', 1)
                           ORDER BY started_at DESC) FILTER (WHERE status = 'FAILED'))[:{limit}], '{{}}')
FROM postgres_sync.sync_status
WHERE schema_name = {schema} AND layer_name = {name} AND started_at > clock_timestamp() - {span}
  AND status IN ('SUCCESS', 'FAILED') AND sync_type NOT IN ('ROLLBACK', 'REPLAY');

-- list_failed_runs --
SELECT sync_id, started_at, error_message, run_id FROM postgres_sync.sync_status
WHERE schema_name = {schema} AND layer_name = {name} AND started_at > clock_timestamp() - {span}
  AND status = 'FAILED' AND sync_type NOT IN ('ROLLBACK', 'REPLAY') ORDER BY started_at DESC;

-- outdated_inputs --
SELECT read.name, coalesce(now_live.version, '') FROM postgres_sync.layer_versions AS live
CROSS JOIN jsonb_each_text(live.inputs) AS read (name, version)
LEFT JOIN postgres_sync.layer_versions AS now_live
       ON now_live.current AND now_live.schema_name = live.schema_name AND now_live.layer_name = read.name
WHERE live.current AND live.schema_name = {schema} AND live.layer_name = {name}
  AND now_live.version IS DISTINCT FROM read.version ORDER BY read.name;

-- dropped_keys --
-- A key that was made again, or whose table is gone, has no kind, and is judged no more.
SELECT referring, constraint_name, columns, key_columns, (
    SELECT relkind::text FROM pg_class WHERE oid = to_regclass(referring)
    AND NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = pg_class.oid AND conname = constraint_name))
FROM postgres_sync.dropped_keys WHERE schema_name = {schema} AND layer_name = {name}
ORDER BY referring, constraint_name;

-- orphans --
SELECT r.* FROM {referring} AS r
WHERE ROW({columns}) IS NOT NULL AND NOT EXISTS (SELECT FROM {rows} AS k WHERE ROW({keys}) = ROW({columns}));

-- count_orphans --
SELECT coalesce(sum(count), 0)::bigint, coalesce((array_agg(value ORDER BY value))[:{limit}], '{{}}') FROM (
    SELECT concat_ws(' ', {columns}) AS value, count(*) FROM ({orphans}) AS r GROUP BY 1) AS astray;

-- note_orphans --
UPDATE postgres_sync.dropped_keys SET orphans = ({found}::jsonb ->> format('%s of %s', constraint_name, referring))::bigint
WHERE schema_name = {schema} AND layer_name = {name};
