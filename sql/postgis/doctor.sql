-- What `flux-assets doctor` asks the target database.

-- server_versions --
SELECT current_setting('server_version'), postgis_lib_version(),
       ST_IsValid(ST_SetSRID(ST_MakePoint(0, 0), 4326)), (SELECT count(*) FROM spatial_ref_sys WHERE srid = 4326);

-- postgis_schema --
SELECT extnamespace::regnamespace::text, has_schema_privilege(extnamespace, 'USAGE') FROM pg_extension
WHERE extname = 'postgis';

-- role_of_service --
SELECT rolname FROM pg_roles WHERE rolname = ANY (%s) ORDER BY rolname;

-- limits --
SELECT role.rolconnlimit, database.datconnlimit,
       current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,
       pg_size_bytes(nullif(current_setting('temp_file_limit'), '-1'))
FROM pg_roles AS role, pg_database AS database
WHERE role.rolname = current_user AND database.datname = current_database();

-- synchronous_standbys --
-- Any user may count the senders, and see nothing else of them.
SELECT current_setting('synchronous_standby_names'), current_setting('synchronous_commit'),
       (SELECT count(*) FROM pg_stat_replication);

-- rights_on_schemas --
SELECT has_database_privilege(current_database(), 'CREATE'),
       has_database_privilege(current_database(), 'TEMPORARY'), has_schema_privilege(%s, 'CREATE'),
       has_schema_privilege(%s, 'USAGE'), pg_has_role('pg_read_all_stats', 'USAGE');

-- tables_of_others --
SELECT pg_get_userbyid(c.relowner), array_agg(format('%%I.%%I', n.nspname, c.relname) ORDER BY n.nspname, c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT pg_has_role(c.relowner, 'USAGE') AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
  AND (n.nspname IN ('flux_versions', 'postgres_sync') OR (n.nspname = %s AND c.relname = ANY (%s)))
GROUP BY c.relowner ORDER BY 1;

-- unreadable_versions --
SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'flux_versions'::regnamespace AND relkind = 'r'
AND NOT (has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT')) ORDER BY 1;

-- try_table --
CREATE TABLE {0} (id integer, place geometry(Point, 4326)) PARTITION BY LIST (id); DROP TABLE {0};
CREATE TABLE {0} (id integer, place geometry(Point, 4326));
INSERT INTO {0} VALUES (1, ST_SetSRID(ST_MakePoint(0, 0), 4326));
CREATE INDEX ON {0} USING gist (place); COMMENT ON TABLE {0} IS 'tried'; DROP TABLE {0};

-- roles_on_versions --
-- Owners of the schema and members of the owner are loaders; superusers see everything anyway.
SELECT rolname FROM pg_roles AS role, pg_namespace AS versions
WHERE nspname = 'flux_versions' AND has_schema_privilege(role.oid, versions.oid, 'USAGE')
  AND NOT rolsuper AND rolname <> current_user AND NOT pg_has_role(role.oid, nspowner, 'USAGE') AND rolname !~ '^pg_'
  AND NOT pg_has_role(role.oid, 'pg_read_all_data', 'USAGE')
ORDER BY 1;

-- grants_on_versions --
-- geometry_columns shows a table to whoever has a right on it, whatever the schema says.
SELECT schema, role, bool_or(relation = 'quarantine'), count(DISTINCT relation) FROM (
    SELECT relnamespace::regnamespace::text AS schema, relname AS relation, grantee, relowner
    FROM pg_class, aclexplode(relacl)
    UNION ALL
    SELECT relnamespace::regnamespace::text, relname, acl.grantee, relowner
    FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid, aclexplode(attacl) AS acl
) AS given, LATERAL (SELECT CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE grantee::regrole::text END AS role) AS who
WHERE grantee <> relowner AND (schema = 'flux_versions' OR schema = 'postgres_sync' AND relation = 'quarantine')
GROUP BY 1, 2 ORDER BY 1, 2;

-- roles_reading_all --
SELECT rolname FROM pg_roles WHERE pg_has_role(oid, 'pg_read_all_data', 'USAGE') AND NOT rolsuper AND rolname !~ '^pg_'
AND rolname <> current_user ORDER BY 1;

-- versions_granted_to_public --
SELECT EXISTS (SELECT FROM pg_namespace, aclexplode(nspacl) WHERE nspname = 'flux_versions' AND grantee = 0);

-- ledger_revision --
SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = 'postgres_sync';

-- ledger_parts --
SELECT relname::text FROM pg_class WHERE relnamespace = 'postgres_sync'::regnamespace AND relkind IN ('r', 'v')
UNION ALL SELECT proname::text FROM pg_proc WHERE pronamespace = 'postgres_sync'::regnamespace
UNION ALL SELECT relname || '.' || attname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
WHERE relnamespace = 'postgres_sync'::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped;

-- ledger_rights_lacking --
SELECT relname::text, string_agg(wanted, ', ' ORDER BY wanted)
FROM pg_class AS c, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS wanted
WHERE relnamespace = 'postgres_sync'::regnamespace AND (relkind = 'r' OR relkind = 'v' AND wanted = 'SELECT')
  AND NOT has_table_privilege(c.oid, wanted) GROUP BY 1 ORDER BY 1;

-- tables_hiding_rows --
SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND row_security_active(oid)
AND relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname IN ('postgres_sync', 'flux_versions')) ORDER BY 1;

-- ledger_functions_refused --
SELECT oid::regprocedure::text FROM pg_proc
WHERE pronamespace = 'postgres_sync'::regnamespace AND NOT has_function_privilege(oid, 'EXECUTE') ORDER BY 1;

-- rights_on_used_objects --
-- Constraints, defaults, generated columns and indexes use functions and sequences with the rights of who writes the row.
WITH ours AS (
    SELECT c.oid, c.oid::regclass::text AS name FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = %(schema)s AND c.relname = ANY (%(names)s) AND c.relkind IN ('r', 'p')
), makers AS (
    SELECT 'pg_constraint'::regclass AS classid, k.oid, ours.name
    FROM pg_constraint AS k JOIN ours ON conrelid = ours.oid
    UNION ALL SELECT 'pg_attrdef'::regclass, d.oid, ours.name FROM pg_attrdef AS d JOIN ours ON adrelid = ours.oid
    UNION ALL SELECT 'pg_class'::regclass, indexrelid, ours.name FROM pg_index JOIN ours ON indrelid = ours.oid
)
SELECT DISTINCT 'EXECUTE', 'FUNCTION ' || p.oid::regprocedure, makers.name
FROM makers JOIN pg_depend AS d ON (d.classid, d.objid) = (makers.classid, makers.oid)
JOIN pg_proc AS p ON d.refclassid = 'pg_proc'::regclass AND p.oid = d.refobjid
WHERE NOT has_function_privilege(p.oid, 'EXECUTE')
UNION SELECT 'USAGE', 'SEQUENCE ' || s.oid::regclass, makers.name
FROM makers JOIN pg_depend AS d ON (d.classid, d.objid) = (makers.classid, makers.oid)
JOIN pg_class AS s ON d.refclassid = 'pg_class'::regclass AND s.oid = d.refobjid
WHERE CASE WHEN s.relkind = 'S' THEN NOT has_sequence_privilege(s.oid, 'USAGE') END
UNION SELECT 'USAGE', 'TYPE ' || t.oid::regtype, ours.name
FROM ours JOIN pg_attribute AS a ON a.attrelid = ours.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type AS t ON t.oid = a.atttypid WHERE NOT has_type_privilege(t.oid, 'USAGE')
UNION SELECT 'REFERENCES', 'TABLE ' || k.confrelid::regclass, ours.name
FROM pg_constraint AS k JOIN ours ON k.conrelid = ours.oid
WHERE k.contype = 'f' AND NOT has_table_privilege(k.confrelid, 'REFERENCES')
UNION SELECT 'USAGE', 'SCHEMA ' || n.nspname, ours.name
FROM pg_constraint AS k JOIN ours ON k.conrelid = ours.oid JOIN pg_class AS c ON c.oid = k.confrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE k.contype = 'f' AND NOT has_schema_privilege(n.oid, 'USAGE')
ORDER BY 2, 3;

-- table_by_name --
SELECT c.oid, has_table_privilege(c.oid, 'SELECT'), pg_get_userbyid(c.relowner)
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s;

-- gist_indexes_of_table --
SELECT format('%%I.%%I', n.nspname, c.relname), attname
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_am am ON am.oid = c.relam JOIN pg_attribute ON attrelid = i.indrelid AND attnum = i.indkey[0]
WHERE i.indrelid = %s AND am.amname = 'gist' ORDER BY 1;

-- publications --
-- A layer is published by its own name, its schema, its version, or with all tables.
SELECT quote_ident(pubname), puballtables,
       ARRAY(SELECT c.relname::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
             WHERE c.relkind = 'p' AND n.nspname = %(schema)s AND c.relname = ANY (%(names)s)
               AND (puballtables
                 OR EXISTS (SELECT FROM pg_publication_rel
                            WHERE prpubid = p.oid
                              AND (prrelid = c.oid
                                OR prrelid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = c.oid)))
                 OR EXISTS (SELECT FROM pg_publication_namespace WHERE pnpubid = p.oid AND pnnspid = n.oid))
             ORDER BY 1),
       EXISTS (SELECT FROM pg_publication_namespace
               WHERE pnpubid = p.oid AND pnnspid = (SELECT oid FROM pg_namespace WHERE nspname = %(versions)s))
FROM pg_publication AS p ORDER BY 1;

-- versions_of_layer --
SELECT inhrelid FROM pg_inherits WHERE inhparent = %s;

-- has_row_security --
SELECT relrowsecurity FROM pg_class WHERE oid = %s;

-- owner_if_another --
SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = %s AND NOT pg_has_role(relowner, 'USAGE');
