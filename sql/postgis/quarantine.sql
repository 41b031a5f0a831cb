-- delete_gone --
DELETE FROM postgres_sync.quarantine WHERE schema_name = {schema} AND NOT EXISTS (
    SELECT FROM postgres_sync.layer_versions AS version
    WHERE version.schema_name = quarantine.schema_name AND version.layer_name = quarantine.layer_name
      AND version.lease = quarantine.lease AND version.state <> 'dropped')
    AND layer_name = coalesce({name}, layer_name) AND quarantined_at < statement_timestamp() - {kept};
