-- How audits count the rows that break a rule.
-- has_unusual_collation: one that is not the database's own, or that of citext, whose own operators ignore case.

-- count_offenders --
WITH bad AS ({bad}) SELECT (SELECT count(*) FROM bad),
    ARRAY(SELECT concat_ws(': ', coalesce(key, '(no key)'), why) FROM bad LIMIT {limit});

-- has_unusual_collation --
SELECT bool_or(attcollation NOT IN (0, 'pg_catalog."default"'::regcollation) OR typname = 'citext')
FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid
WHERE (attrelid = to_regclass((%(there)s::text[])[1]) AND attname = (%(there)s::text[])[2])
   OR (attrelid = to_regclass((%(here)s::text[])[1]) AND attname = (%(here)s::text[])[2]);

-- earlier_versions --
-- Other loads of the version that is judged do not count, nor does a version that an older one replaced.
SELECT rows, format('version %s of release %s', left(version, 12), release_tag) FROM (
    SELECT DISTINCT ON (version) version, release_tag, rows, published_at
    FROM postgres_sync.layer_versions AS earlier
    WHERE schema_name = {schema} AND layer_name = {name} AND published_at IS NOT NULL AND rows IS NOT NULL
      AND version NOT IN (
          SELECT judged.version FROM postgres_sync.layer_versions AS judged
          WHERE judged.schema_name = {schema} AND judged.layer_name = {name}
            AND ({live} AND judged.current OR {relation} = format('"flux_versions"."%s"', judged.relation)))
      AND NOT EXISTS (
          SELECT FROM postgres_sync.layer_versions AS older
          WHERE older.schema_name = {schema} AND older.layer_name = {name}
            AND older.lease < earlier.lease AND older.published_at > earlier.published_at)
    ORDER BY version, published_at DESC) AS published
ORDER BY published_at DESC LIMIT 5;
