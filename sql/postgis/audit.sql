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
