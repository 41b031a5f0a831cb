-- The register of versions, read. `further_tags` as JSON, so that a register of an earlier revision, which lacks it, is
-- readable too.

-- versions --
SELECT lease, version, sha256, release_tag, relation, run_id, state, current, rows, bytes, extent, audits, staged_at,
       published_at, coalesce(to_jsonb(known) -> 'further_tags', '[]'), base_version, there.is_there
FROM postgres_sync.layer_versions AS known, LATERAL (
    SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                   WHERE n.nspname = 'flux_versions' AND c.relname = known.relation)) AS there (is_there)
WHERE schema_name = {schema} AND layer_name = {name} AND (state <> 'dropped' OR {leftovers} AND is_there)
ORDER BY lease DESC;

-- default_partition --
SELECT n.nspname, c.relname FROM pg_partitioned_table p
JOIN pg_class t ON t.oid = p.partrelid JOIN pg_namespace s ON s.oid = t.relnamespace
JOIN pg_class c ON c.oid = p.partdefid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE s.nspname = {schema} AND t.relname = {name};

-- version_times --
SELECT (SELECT min(seen.staged_at) FROM postgres_sync.layer_versions AS seen
        WHERE seen.schema_name = asked.schema_name AND seen.layer_name = asked.layer_name
          AND seen.sha256 = live.sha256), clock_timestamp(), live.published_at
FROM (VALUES ({schema}::text, {name}::text)) AS asked (schema_name, layer_name)
LEFT JOIN postgres_sync.layer_versions AS live
       ON live.current AND live.schema_name = asked.schema_name AND live.layer_name = asked.layer_name;

-- add_staging --
INSERT INTO postgres_sync.layer_versions
    (schema_name, layer_name, lease, version, sha256, release_tag, relation, state, run_id)
VALUES ({schema}, {name}, {lease}, {version}, {sha256}, {release_tag}, {relation}, 'staging', {run_id});

-- judged --
UPDATE postgres_sync.layer_versions
SET state = {state}, rows = {rows}, bytes = {bytes}, extent = {extent}, audits = {audits}
WHERE schema_name = {schema} AND layer_name = {name} AND lease = {lease}
  AND (state <> 'dropped' OR to_regclass(format('%I.%I', 'flux_versions', relation)) IS NOT NULL);

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
