-- What stands in the database of one layer; each is a statement of the round trip that versions.py makes.

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
SELECT count(*) FROM postgres_sync.quarantine JOIN postgres_sync.layer_versions USING (schema_name, layer_name, lease)
WHERE schema_name = {schema} AND layer_name = {name} AND current AND replayed_at IS NULL;
