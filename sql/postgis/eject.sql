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

-- identities --
-- For PostgreSQL from 17 on: there a partition has the identity columns of its table, and loses them when it is detached: what gives
-- them back, going on where they are.
SELECT format('ALTER TABLE %I.%I ALTER COLUMN %I ADD GENERATED %s AS IDENTITY (START WITH %s INCREMENT BY %s MINVALUE %s'
              ' MAXVALUE %s CACHE %s%s)', {schema}, {name}, attname, CASE attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END,
              coalesce(pg_sequence_last_value(seqrelid) + seqincrement, seqstart), seqincrement, seqmin, seqmax, seqcache,
              CASE WHEN seqcycle THEN ' CYCLE' ELSE '' END)
FROM pg_attribute
JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = attrelid AND d.refobjsubid = attnum
                AND d.classid = 'pg_class'::regclass AND d.deptype = 'i'
JOIN pg_sequence ON seqrelid = d.objid
WHERE attrelid = to_regclass(format('%I.%I', {schema}, {going})) AND attidentity <> '' AND NOT attisdropped;
