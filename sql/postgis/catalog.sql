-- What PostgreSQL's catalogs hold of a table.
-- indexes.body: the definition from USING on names access method, columns, operator classes, options and predicate, and
-- no table.

-- find --
SELECT c.oid, c.relkind::text AS kind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s;

-- columns --
SELECT attname AS name, format_type(atttypid, atttypmod) AS type, attnotnull AS not_null,
       attgenerated <> '' AS generated, atthasdef OR attidentity <> '' AS filled,
       CASE WHEN attcollation <> typcollation THEN attcollation::regcollation::text END AS collation,
       coalesce(NOT collisdeterministic, false) AS folds, col_description(attrelid, attnum) AS comment
FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid LEFT JOIN pg_collation ON pg_collation.oid = attcollation
WHERE attrelid = {oid} AND attnum > 0 AND NOT attisdropped ORDER BY attnum;

-- indexes --
SELECT c.relname AS name, i.indisunique AS is_unique, i.indisprimary AS is_primary, i.indisvalid AS valid,
       substr(pg_get_indexdef(i.indexrelid), strpos(pg_get_indexdef(i.indexrelid), ' USING ' || am.amname) + 7) AS body,
       am.amname AS method, con.oid IS NOT NULL AS is_constraint,
       ARRAY(SELECT DISTINCT a.attname::text FROM pg_depend d
             JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
             WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid
               AND (d.classid, d.objid) IN (('pg_class'::regclass, i.indexrelid), ('pg_constraint'::regclass, con.oid))
       ) AS columns
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am am ON am.oid = c.relam
LEFT JOIN pg_constraint con ON con.conindid = i.indexrelid AND con.conrelid = i.indrelid AND con.contype IN ('p', 'u')
WHERE i.indrelid = {oid} ORDER BY c.relname;

-- constraints --
SELECT conname AS name, pg_get_constraintdef(oid) AS definition,
       ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = conrelid AND attnum = ANY (conkey)) AS columns
FROM pg_constraint WHERE conrelid = {oid} AND contype IN ('c', 'f') ORDER BY conname;

-- inbound_keys --
SELECT conrelid::regclass::text || ' (' || conname || ')'
FROM pg_constraint WHERE confrelid = %s AND contype = 'f' AND conparentid = 0 ORDER BY 1;

-- dependent_views --
SELECT DISTINCT v.oid::regclass::text
FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid JOIN pg_class v ON v.oid = r.ev_class
WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = %s AND v.oid <> %s
  AND d.refobjsubid IN (SELECT attnum FROM pg_attribute WHERE attrelid = %s AND attname = ANY (%s))
ORDER BY 1;

-- heirs --
SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s ORDER BY 1;

-- parents --
SELECT inhparent::regclass::text FROM pg_inherits WHERE inhrelid = %s ORDER BY 1;

-- primary_key --
SELECT attname FROM pg_constraint, unnest(conkey) WITH ORDINALITY AS k (num, place)
JOIN pg_attribute ON attrelid = %(oid)s AND attnum = k.num
WHERE conrelid = %(oid)s AND contype = 'p' ORDER BY place;

-- relation_of --
SELECT oid, relkind::text AS kind FROM pg_class WHERE oid = {oid};

-- oid_of --
(SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = {schema} AND c.relname = {name});
