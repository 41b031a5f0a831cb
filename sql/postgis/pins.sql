-- pins --
SELECT layer_name, version, pinned_at, pinned_by, reason FROM postgres_sync.layer_pins
WHERE schema_name = {schema} AND layer_name = coalesce({name}, layer_name);

-- pin --
INSERT INTO postgres_sync.layer_pins AS pinned (schema_name, layer_name, version, reason)
VALUES ({schema}, {name}, {version}, {reason})
ON CONFLICT (schema_name, layer_name) DO UPDATE SET version = excluded.version, pinned_at = excluded.pinned_at,
    pinned_by = excluded.pinned_by,
    reason = CASE WHEN excluded.reason = '' AND pinned.version = excluded.version THEN pinned.reason
                  ELSE excluded.reason END;
