-- What the database has of a layer, read and written. What came later is read as JSON, so that a register of an
-- earlier revision, which lacks them, is readable too.

-- versions --
SELECT lease, version, sha256, release_tag, relation, run_id, state, current, rows, bytes, extent, audits, staged_at,
       published_at, coalesce(to_jsonb(known) -> 'further_tags', '[]'), to_jsonb(known) ->> 'base_version',
       to_jsonb(known) -> 'inputs', own.oid IS NOT NULL,
       EXISTS (SELECT FROM pg_partitioned_table JOIN pg_class AS public ON public.oid = partrelid
               JOIN pg_namespace AS target ON target.oid = public.relnamespace
               WHERE partdefid = own.oid AND target.nspname = {schema} AND public.relname = {name})
FROM postgres_sync.layer_versions AS known
LEFT JOIN (pg_class AS own JOIN pg_namespace AS place ON place.oid = own.relnamespace
                                                      AND place.nspname = 'flux_versions') ON own.relname = relation
WHERE schema_name = {schema} AND layer_name = {name} AND (state <> 'dropped' OR {leftovers} AND own.oid IS NOT NULL)
ORDER BY lease DESC;

-- version_times --
SELECT (SELECT min(seen.staged_at) FROM postgres_sync.layer_versions AS seen
        WHERE seen.schema_name = asked.schema_name AND seen.layer_name = asked.layer_name
          AND seen.sha256 = live.sha256), clock_timestamp(), live.published_at
FROM (VALUES ({schema}::text, {name}::text)) AS asked (schema_name, layer_name)
LEFT JOIN postgres_sync.layer_versions AS live
       ON live.current AND live.schema_name = asked.schema_name AND live.layer_name = asked.layer_name;

-- add_staging --
INSERT INTO postgres_sync.layer_versions
    (schema_name, layer_name, lease, version, sha256, release_tag, relation, state, run_id, inputs)
VALUES ({schema}, {name}, {lease}, {version}, {sha256}, {release_tag}, {relation}, 'staging', {run_id}, {inputs});

-- judged --
UPDATE postgres_sync.layer_versions SET state = {state}, rows = {rows}, extent = {extent}, audits = {audits},
    bytes = pg_total_relation_size(to_regclass(format('%I.%I', 'flux_versions', relation)))
WHERE schema_name = {schema} AND layer_name = {name} AND lease = {lease}
  AND (state <> 'dropped' OR to_regclass(format('%I.%I', 'flux_versions', relation)) IS NOT NULL)
RETURNING bytes;

-- not_current --
UPDATE postgres_sync.layer_versions SET current = false
WHERE schema_name = {schema} AND layer_name = {name} AND current;

-- current --
UPDATE postgres_sync.layer_versions SET current = true, state = 'published', published_at = clock_timestamp()
WHERE schema_name = {schema} AND layer_name = {name} AND lease = {lease};

-- dropped --
UPDATE postgres_sync.layer_versions SET state = 'dropped'
WHERE schema_name = {schema} AND layer_name = {name} AND lease = {lease};

-- further_tag --
UPDATE postgres_sync.layer_versions SET further_tags = further_tags || {tag}::text
WHERE schema_name = {schema} AND layer_name = {name} AND lease = {lease} AND {tag}::text <> ALL (further_tags);

-- release_tag --
UPDATE postgres_sync.layer_versions SET release_tag = {tag}
WHERE schema_name = {schema} AND layer_name = {name} AND lease = {lease};

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

-- refuse_pinned --
SELECT postgres_sync.refuse_pinned({schema}, {name}, {version});

-- public_table --
SELECT (SELECT ARRAY[partstrat::text, attname::text] FROM pg_partitioned_table
        JOIN pg_attribute ON attrelid = partrelid AND attnum = partattrs[0] WHERE partrelid = c.oid),
       ARRAY(SELECT attname::text FROM pg_constraint, unnest(conkey) WITH ORDINALITY AS k (num, place)
             JOIN pg_attribute ON attrelid = c.oid AND attnum = k.num
             WHERE conrelid = c.oid AND contype = 'p' ORDER BY place),
       ARRAY(SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = c.oid ORDER BY 1),
       (SELECT ARRAY[own.nspname::text, part.relname::text] FROM pg_partitioned_table
        JOIN pg_class part ON part.oid = partdefid JOIN pg_namespace own ON own.oid = part.relnamespace
        WHERE partrelid = c.oid),
       ARRAY(SELECT conrelid::regclass::text || ' (' || conname || ')' FROM pg_constraint
             WHERE confrelid = c.oid AND contype = 'f' AND conparentid = 0 ORDER BY 1),
       obj_description(c.oid, 'pg_class')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = {schema} AND c.relname = {name};

-- waiting --
SELECT lease, count(*) FROM postgres_sync.quarantine
WHERE schema_name = {schema} AND layer_name = {name} AND replayed_at IS NULL GROUP BY lease;

-- note_quarantined --
UPDATE postgres_sync.sync_status SET rows_quarantined = (
    SELECT count(*) FROM postgres_sync.quarantine
    WHERE schema_name = {schema} AND layer_name = {name} AND lease = {lease} AND replayed_at IS NULL)
WHERE sync_id = {sync_id} RETURNING rows_quarantined;
