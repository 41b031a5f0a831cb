-- delete_gone --
DELETE FROM postgres_sync.quarantine WHERE schema_name = {schema} AND NOT EXISTS (
    SELECT FROM postgres_sync.layer_versions AS version
    WHERE version.schema_name = quarantine.schema_name AND version.layer_name = quarantine.layer_name
      AND version.lease = quarantine.lease AND version.state <> 'dropped')
    AND layer_name = coalesce({name}, layer_name) AND quarantined_at < statement_timestamp() - {kept};

-- records --
SELECT record, file, line, column_name, reason, header, raw_record, raw_bytes, raw_cut,
       replayed_at IS NOT NULL AS replayed
FROM postgres_sync.quarantine WHERE schema_name = %(schema)s AND layer_name = %(name)s AND lease = %(lease)s
ORDER BY record;

-- count_waiting --
SELECT count(*) FROM postgres_sync.quarantine
WHERE schema_name = %(schema)s AND layer_name = %(name)s AND lease = %(lease)s AND replayed_at IS NULL;

-- add --
INSERT INTO postgres_sync.quarantine (schema_name, layer_name, lease, version, run_id, record, file, line, column_name,
                                      reason, header, raw_record, raw_bytes, raw_cut, replayed_at)
VALUES (%(schema)s, %(name)s, %(lease)s, %(version)s, %(run_id)s, %(record)s, %(file)s, %(line)s, %(column_name)s,
        %(reason)s, %(header)s, %(raw_record)s, %(raw_bytes)s, %(raw_cut)s,
        CASE WHEN %(replayed)s THEN clock_timestamp() END);

-- correct --
UPDATE postgres_sync.quarantine
SET header = %(header)s, raw_record = %(raw_record)s, raw_bytes = octet_length(%(raw_record)s), raw_cut = false
WHERE schema_name = %(schema)s AND layer_name = %(name)s AND lease = %(lease)s AND record = %(record)s
  AND replayed_at IS NULL;

-- explain --
UPDATE postgres_sync.quarantine SET column_name = %(column_name)s, reason = %(reason)s
WHERE schema_name = %(schema)s AND layer_name = %(name)s AND lease = %(lease)s AND record = %(record)s;

-- clear --
DELETE FROM postgres_sync.quarantine WHERE schema_name = %(schema)s AND layer_name = %(name)s AND lease = %(lease)s;

-- note_base --
UPDATE postgres_sync.layer_versions SET base_version = %(base)s, rows_replayed = %(replayed)s
WHERE schema_name = %(schema)s AND layer_name = %(name)s AND lease = %(lease)s;
