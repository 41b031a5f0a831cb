-- Computing layers and views from others.

-- begin --
-- The locks before the first snapshot: which version a table has is no part of one.
BEGIN ISOLATION LEVEL REPEATABLE READ;
LOCK TABLE {tables} IN ACCESS SHARE MODE;

-- search_path --
-- Declarations name tables without a schema. Theirs comes first: where PostGIS is there may be tables of the same names.
SELECT set_config('search_path', concat_ws(', ', 'pg_catalog', quote_ident({schema}), quote_ident(nspname), 'pg_temp'),
                  true)
FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace WHERE extname = 'postgis';

-- inputs --
-- The live version of each layer that a computed one reads, in the order of their names.
SELECT live.layer_name, live.version, live.release_tag FROM postgres_sync.layer_versions AS live
WHERE live.current AND live.schema_name = {schema} AND live.layer_name = ANY ({names}) ORDER BY live.layer_name;

-- unwatched --
-- What of the schema this transaction has read besides the inputs: it holds a lock on each.
SELECT DISTINCT quote_ident(relname) FROM pg_locks JOIN pg_class AS c ON c.oid = relation JOIN pg_namespace AS n ON n.oid = relnamespace
WHERE pid = pg_backend_pid() AND locktype = 'relation' AND nspname = {schema} AND relkind IN ('r', 'p', 'm', 'f')
  AND relname <> ALL ({names}) AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e')
ORDER BY 1;

-- extent --
SELECT ST_XMin(box), ST_YMin(box), ST_XMax(box), ST_YMax(box) FROM (SELECT ST_Extent({column}::geometry) FROM {table})
    AS all_rows (box) WHERE box IS NOT NULL;

-- view --
-- What has a view's name, beside the temporary view that was made of its declaration.
SELECT view.oid, relkind::text,
       relkind = 'v' AND pg_get_viewdef(view.oid) = pg_get_viewdef('pg_temp.flux_view'::regclass),
       -- CREATE OR REPLACE keeps the columns that there are, in their order, and adds others behind them.
       NOT EXISTS (SELECT FROM pg_attribute AS old LEFT JOIN pg_attribute AS new
                   ON new.attrelid = 'pg_temp.flux_view'::regclass AND new.attnum = old.attnum
                       AND (new.attname, new.atttypid, new.atttypmod) = (old.attname, old.atttypid, old.atttypmod)
                   WHERE old.attrelid = view.oid AND old.attnum > 0 AND new.attnum IS NULL),
       ARRAY(SELECT DISTINCT ev_class::regclass::text FROM pg_depend JOIN pg_rewrite AS rule ON rule.oid = objid
             WHERE classid = 'pg_rewrite'::regclass AND refclassid = 'pg_class'::regclass AND refobjid = view.oid
               AND ev_class <> refobjid ORDER BY 1),
       ARRAY(SELECT format('GRANT %s ON %I.%I TO %s%s', privilege_type, nspname, relname,
                           CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END,
                           CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
             FROM aclexplode(relacl) WHERE grantee <> relowner),
       coalesce(reloptions, '{{}}')
FROM pg_class AS view JOIN pg_namespace AS place ON place.oid = relnamespace
WHERE nspname = {schema} AND relname = {name};
