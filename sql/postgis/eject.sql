-- A layer becomes a plain table: the version takes the public table's place, and its name.

-- keys_to_restore --
-- Foreign keys that were dropped when the layer took a table over: its rows are not read for them.
SELECT format('ALTER TABLE %s ADD CONSTRAINT %I %s%s', referring, constraint_name, definition,
              CASE WHEN definition LIKE '%NOT VALID' THEN '' ELSE ' NOT VALID' END),
       format('LOCK TABLE ONLY %s', referring), format('%s (%s)', constraint_name, referring)
FROM postgres_sync.dropped_keys
WHERE schema_name = {schema} AND layer_name = {name} AND to_regclass(referring) IS NOT NULL ORDER BY 1;

-- forget_keys --
DELETE FROM postgres_sync.dropped_keys WHERE schema_name = {schema} AND layer_name = {name};

-- discard_views --
-- Materialized views that were made on a version and never got to their place.
DO $$
DECLARE
    left_over regclass;
BEGIN
    FOR left_over IN SELECT DISTINCT ev_class::regclass FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid
                     JOIN pg_class c ON c.oid = ev_class AND c.relkind = 'm' AND relnamespace = 'flux_versions'::regnamespace
                     WHERE d.classid = 'pg_rewrite'::regclass AND refclassid = 'pg_class'::regclass
                       AND refobjid = to_regclass(format('flux_versions.%I', {relation})) LOOP
        EXECUTE format('DROP MATERIALIZED VIEW %s CASCADE', left_over);
    END LOOP;
END
$$;
