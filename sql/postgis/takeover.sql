-- The new table that takes the name of a plain one: it is made under that name in schema flux_versions, around the version.

-- discard --
-- One that a run left there, with the materialized views on it; versions are detached first and stay.
DO $$
DECLARE
    left_over CONSTANT oid := to_regclass(format('flux_versions.%I', {name}))::oid;
    part regclass;
BEGIN
    FOR part IN SELECT inhrelid FROM pg_inherits WHERE inhparent = left_over LOOP
        EXECUTE format('ALTER TABLE flux_versions.%I DETACH PARTITION %s', {name}, part);
    END LOOP;
    IF left_over IS NOT NULL THEN
        EXECUTE format('DROP TABLE flux_versions.%I CASCADE', {name});
    END IF;
END
$$;

-- free_index_names --
-- Names of its indexes that are taken where it moves to.
DO $$
DECLARE
    own record;
    number int;
BEGIN
    FOR own IN SELECT c.relname, i.indexrelid::regclass AS index FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
               WHERE i.indrelid = to_regclass(format('flux_versions.%I', {name})) LOOP
        number := 0;
        WHILE EXISTS (SELECT FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = {schema}
                      AND relname = left(own.relname, 58) || coalesce(nullif(number, 0)::text, '')) LOOP
            number := number + 1;
        END LOOP;
        IF number > 0 THEN
            EXECUTE format('ALTER INDEX %s RENAME TO %I', own.index, left(own.relname, 58) || number);
        END IF;
    END LOOP;
END
$$;
