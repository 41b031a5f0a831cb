-- What a target database has of what is needed.

-- installed --
SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'postgis'),
       EXISTS (SELECT FROM pg_namespace WHERE nspname = {schema}),
       (SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = 'postgres_sync');
