-- What reads a table or stands on it, to be told when it stays with a table that gave way or with a version that goes.

-- readers --
-- Whatever a view, rule or function reads it has by the table's number, also where it names no column of it.
SELECT DISTINCT CASE WHEN r.rulename <> '_RETURN' THEN 'rule' WHEN v.relkind = 'm' THEN 'materialized view'
                     ELSE 'view' END AS kind,
       CASE WHEN r.rulename <> '_RETURN' THEN format('%%I of %%s', r.rulename, v.oid::regclass)
            ELSE v.oid::regclass::text END AS name, NULL AS twin
FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid JOIN pg_class v ON v.oid = r.ev_class
WHERE d.classid = 'pg_rewrite'::regclass AND v.oid <> %(oid)s
  AND ((d.refclassid, d.refobjid) = ('pg_class'::regclass, %(oid)s::oid)
    OR (d.refclassid, d.refobjid) IN (SELECT 'pg_type'::regclass, reltype FROM pg_class WHERE oid = %(oid)s))
UNION
SELECT 'function', d.objid::regprocedure::text, NULL FROM pg_depend d
WHERE d.classid = 'pg_proc'::regclass
  AND ((d.refclassid, d.refobjid) = ('pg_class'::regclass, %(oid)s::oid)
    OR (d.refclassid, d.refobjid) IN (SELECT 'pg_type'::regclass, reltype FROM pg_class WHERE oid = %(oid)s))
UNION
SELECT 'column of its row type', format('%%s.%%I', a.attrelid::regclass, a.attname), NULL
FROM pg_class own JOIN pg_type t ON t.oid = own.reltype
JOIN pg_depend d ON d.refclassid = 'pg_type'::regclass AND d.refobjid IN (t.oid, t.typarray)
                AND d.classid = 'pg_class'::regclass AND d.objsubid > 0
JOIN pg_attribute a ON (a.attrelid, a.attnum) = (d.objid, d.objsubid)
JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p', 'c')
WHERE own.oid = %(oid)s
UNION
SELECT 'foreign key', format('%%I of %%s', conname, conrelid::regclass), NULL
FROM pg_constraint WHERE confrelid = %(oid)s AND contype = 'f' AND conparentid = 0 AND conrelid <> %(oid)s;

-- parts --
-- As text: a twin of type name would be cut off after 63 characters.
SELECT 'trigger' AS kind, quote_ident(tgname) AS name, tgname::text AS twin
FROM pg_trigger WHERE tgrelid = %(oid)s AND NOT tgisinternal AND tgparentid = 0
UNION ALL SELECT 'rule', quote_ident(rulename), rulename
FROM pg_rewrite WHERE ev_class = %(oid)s AND rulename <> '_RETURN'
UNION ALL SELECT 'policy', quote_ident(polname), polname FROM pg_policy WHERE polrelid = %(oid)s
UNION ALL SELECT 'publication', quote_ident(pubname), pubname
FROM pg_publication_rel JOIN pg_publication p ON p.oid = prpubid WHERE prrelid = %(oid)s
UNION ALL SELECT 'subscription', quote_ident(subname), subname
FROM pg_subscription_rel JOIN pg_subscription s ON s.oid = srsubid WHERE srrelid = %(oid)s
UNION ALL SELECT 'statistics object', format('%%s.%%I', stxnamespace::regnamespace, stxname),
                 concat_ws(' ', stxkind::text, pg_get_statisticsobjdef_columns(oid))
FROM pg_statistic_ext WHERE stxrelid = %(oid)s
UNION ALL SELECT CASE contype WHEN 'f' THEN 'foreign key' ELSE 'constraint' END,
                 format('%%I (%%s)', conname, pg_get_constraintdef(oid)),
                 replace(pg_get_constraintdef(oid), ' NOT VALID', '')
FROM pg_constraint WHERE conrelid = %(oid)s AND contype IN ('c', 'f', 'u', 'x') AND conparentid = 0
UNION ALL SELECT 'index', i.indexrelid::regclass::text,
                 i.indisunique || split_part(pg_get_indexdef(i.indexrelid), ' USING ', 2)
FROM pg_index i WHERE i.indrelid = %(oid)s AND NOT i.indisprimary
  AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = i.indexrelid AND contype IN ('u', 'x'))
UNION ALL SELECT CASE WHEN attidentity <> '' THEN 'identity of column'
                      WHEN attgenerated <> '' THEN 'expression of column' ELSE 'default of column' END,
                 quote_ident(attname),
                 concat_ws(' ', attname, attidentity, pg_get_expr(adbin, adrelid))
FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attrelid = %(oid)s AND attnum > 0 AND NOT attisdropped AND (attidentity <> '' OR adbin IS NOT NULL)
UNION ALL SELECT 'setting', option, option FROM pg_class, unnest(reloptions) AS option WHERE oid = %(oid)s
UNION ALL SELECT 'tablespace', quote_ident(spcname), spcname
FROM pg_class c JOIN pg_tablespace t ON t.oid = c.reltablespace WHERE c.oid = %(oid)s
UNION ALL SELECT 'setting', 'REPLICA IDENTITY ' || word, word
FROM pg_class, LATERAL (
    SELECT CASE relreplident WHEN 'f' THEN 'FULL' WHEN 'n' THEN 'NOTHING' ELSE 'USING INDEX' END) AS said (word)
WHERE oid = %(oid)s AND relreplident <> 'd'
UNION ALL SELECT 'setting', 'CLUSTER ON ' || indexrelid::regclass, 'CLUSTER' FROM pg_index
WHERE indrelid = %(oid)s AND indisclustered;
