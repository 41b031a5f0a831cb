-- The views that show synced tables under further names. Their rights are those of who asks, so PUBLIC may use them.

-- try --
-- What PostgreSQL makes of the declared query is compared with what it made of the view that stands.
CREATE TEMP VIEW flux_wanted AS {wanted};

-- is_kept --
SELECT coalesce(bool_and(
    pg_get_viewdef(v.oid) = pg_get_viewdef('pg_temp.flux_wanted'::regclass)
    AND coalesce(v.reloptions, '{{}}') @> '{{security_invoker=true}}'
    AND has_schema_privilege('public', n.oid, 'USAGE') AND has_table_privilege('public', v.oid, 'SELECT')), false)
FROM pg_class AS v JOIN pg_namespace AS n ON n.oid = v.relnamespace
WHERE n.nspname = {of_schema} AND v.relname = {of_view} AND v.relkind = 'v';

-- forget --
DROP VIEW pg_temp.flux_wanted;

-- make --
CREATE SCHEMA IF NOT EXISTS {schema};
GRANT USAGE ON SCHEMA {schema} TO PUBLIC;
DROP VIEW IF EXISTS {view};
CREATE VIEW {view} WITH (security_invoker = true) AS {wanted};
COMMENT ON VIEW {view} IS {comment};
GRANT SELECT ON {view} TO PUBLIC;
