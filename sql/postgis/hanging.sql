-- What hangs on a table, each with the statement that makes it again on a new table of the same name.
-- Names that the search_path finds are written without their schema. Whoever makes something again sets the path so that
-- the table's name means the new table: while it is made, and tried, in a schema of its own, later in the old one's place.
-- Phases: lock (what readers take before the table is locked too), before (in the swap, while the old table still has its name), made (on the new table, ahead of the swap), after
-- (in the swap, when the new table has the name), last (then); or stays, refused (then `statement` says why).
-- `trial` tells by an error whether `statement` would succeed, without a lock that readers meet; NULL is not tried.
-- `other` and `other_trial` are for a view whose columns would change their types; of an index, `other` is what it is,
-- of a sequence its column.

-- sources --
-- The table and the materialized views that read it, or one of these, without a view in between; with their schemas.
WITH RECURSIVE source (oid, depth) AS (
    SELECT {oid}::oid, 0
    UNION
    SELECT c.oid, depth + 1 FROM source
    JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
                    AND d.refobjid = source.oid
    JOIN pg_rewrite r ON r.oid = d.objid
    JOIN pg_class c ON c.oid = r.ev_class AND c.relkind = 'm' AND c.oid <> source.oid)
SELECT c.oid, nspname::text FROM (SELECT oid, max(depth) AS depth FROM source GROUP BY oid) AS found
JOIN pg_class c USING (oid) JOIN pg_namespace n ON n.oid = relnamespace ORDER BY depth, oid;

-- locked --
-- All that the swap locks besides the new table: the table, what reads it, and tables with policies or foreign keys about it.
SELECT {oid}::oid UNION SELECT unnest({sources})
UNION SELECT ev_class FROM pg_depend d JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = ANY ({sources})
UNION SELECT polrelid FROM pg_depend d JOIN pg_policy p ON d.classid = 'pg_policy'::regclass AND p.oid = d.objid
WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = ANY ({sources})
UNION SELECT conrelid FROM pg_constraint WHERE confrelid = {oid} AND contype = 'f';

-- use_path --
-- Bodies of functions that are texts may name the schema of the old table: they are read when they are called.
SELECT set_config('search_path', {path}, true), set_config('check_function_bodies', 'off', true);

-- parts --
WITH t AS (
    SELECT c.*, quote_ident(relname) AS name, format('%I.%I', nspname, relname) AS title, nspname
    FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE c.oid = {oid}),
-- Whom this user cannot act for, neither change what they own nor give them anything, and how it could. Until PostgreSQL 15
-- a membership allowed the latter; since then each may be granted without the other.
others AS (
    SELECT oid AS other,
           CASE WHEN NOT pg_has_role(oid, 'MEMBER') THEN format('GRANT %s TO %I', oid::regrole, current_user)
                WHEN of_16 THEN format('GRANT %s TO %I WITH INHERIT TRUE, SET TRUE', oid::regrole, current_user)
                ELSE format('ALTER ROLE %I INHERIT', current_user) END AS joining
    FROM pg_roles, LATERAL (SELECT current_setting('server_version_num')::int >= 160000) AS server (of_16)
    WHERE NOT (pg_has_role(oid, 'USAGE') AND pg_has_role(oid, CASE WHEN of_16 THEN 'SET' ELSE 'MEMBER' END))),
-- The rules (of views, too) and functions that read a source by its number, or use the type of its rows.
readers AS (
    SELECT DISTINCT d.classid, d.objid, d.refclassid = 'pg_type'::regclass AS by_type FROM pg_depend d
    WHERE d.classid IN ('pg_rewrite'::regclass, 'pg_proc'::regclass)
      AND ((d.refclassid = 'pg_class'::regclass AND d.refobjid = ANY ({sources}))
        OR (d.refclassid = 'pg_type'::regclass AND d.refobjid IN (
            SELECT unnest(ARRAY[y.oid, y.typarray]) FROM pg_type y WHERE y.typrelid = ANY ({sources}))))),
rules AS (
    SELECT DISTINCT r.oid, r.rulename, r.ev_class, r.ev_enabled, v.relkind, v.relname, v.relowner,
           format('%I.%I', n.nspname, v.relname) AS title,
           concat(quote_ident(nullif(n.nspname, t.nspname)) || '.', quote_ident(v.relname)) AS shown,
           v.reloptions, v.relispopulated, v.relacl, n.nspname, v.relnamespace
    FROM readers JOIN pg_rewrite r ON readers.classid = 'pg_rewrite'::regclass AND r.oid = readers.objid
    JOIN pg_class v ON v.oid = r.ev_class JOIN pg_namespace n ON n.oid = v.relnamespace, t WHERE v.oid <> {oid}),
views AS (
    SELECT rules.*, rtrim(pg_get_viewdef(ev_class), ';') AS body,
           coalesce(' WITH (' || array_to_string(reloptions, ', ') || ')', '') AS options,
           (SELECT string_agg(format('q.%1$I::%2$s AS %1$I', attname, format_type(atttypid, atttypmod)), ', ' ORDER BY attnum)
            FROM pg_attribute WHERE attrelid = ev_class AND attnum > 0 AND NOT attisdropped) AS casts,
           (SELECT string_agg(format('NULL::%2$s AS %1$I', attname, format_type(atttypid, atttypmod)), ', ' ORDER BY attnum)
            FROM pg_attribute WHERE attrelid = ev_class AND attnum > 0 AND NOT attisdropped) AS nulls,
           format('flux_versions.tried_%s', ev_class) AS tried
    FROM rules WHERE rulename = '_RETURN' AND relkind = 'v'),
functions AS (
    SELECT p.*, p.oid::regprocedure::text AS shown, format('%s.%I', p.pronamespace::regnamespace, p.proname) AS quoted,
           (SELECT string_agg(format('%s.%I', y.typnamespace::regnamespace, y.typname), ', ' ORDER BY place)
            FROM unnest(p.proargtypes) WITH ORDINALITY AS a (type, place) JOIN pg_type y ON y.oid = a.type) AS arguments, pg_get_functiondef(p.oid) AS body,
           EXISTS (SELECT FROM pg_type y WHERE y.typrelid = ANY ({sources})
                   AND (ARRAY[y.oid, y.typarray] && (p.proargtypes::oid[] || coalesce(p.proallargtypes, '{{}}')
                                                     || p.prorettype))) AS in_signature
    FROM readers JOIN pg_proc p ON readers.classid = 'pg_proc'::regclass AND p.oid = readers.objid
    WHERE p.prokind IN ('f', 'p') GROUP BY p.oid, p.*),
-- In the order in which they read each other, as a fraction.
made_views AS (
    SELECT rules.*, array_position({sources}, ev_class) / 1000.0 AS depth FROM rules WHERE relkind = 'm' AND rulename = '_RETURN'),
rights AS (
    SELECT of.oid, of.place, string_agg(privilege_type || coalesce(' (' || quote_ident(attname) || ')', ''), ', ') AS what,
           CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END AS whom,
           CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END AS option
    FROM (SELECT oid, relacl AS acl, relowner, NULL::name AS attname, 0 AS place FROM t
          UNION ALL SELECT t.oid, attacl, relowner, attname, 0 FROM t JOIN pg_attribute ON attrelid = t.oid
          WHERE attnum > 0 AND NOT attisdropped
          UNION ALL SELECT ev_class, relacl, relowner, NULL, 1 FROM made_views
          UNION ALL SELECT ev_class, attacl, relowner, attname, 1 FROM made_views
          JOIN pg_attribute ON attrelid = ev_class WHERE attnum > 0 AND NOT attisdropped) AS of, aclexplode(acl) AS one
    WHERE grantee <> relowner GROUP BY of.oid, of.place, attname, grantee, is_grantable)
SELECT kind, name, phase, statement, trial, other, other_trial FROM (

-- What cannot come along.
SELECT 0.0 AS place, 'owner' AS kind, relowner::regrole::text AS name, 'refused' AS phase,
       format('user %1$I cannot act for it, and only the owner can rename the table (%2$s, or ALTER TABLE %3$s OWNER TO %1$I)',
              current_user, joining, title) AS statement,
       NULL AS trial, NULL AS other, NULL AS other_trial
FROM t JOIN others ON other = relowner
UNION ALL SELECT 0, 'owner', relowner::regrole::text, 'refused',
       format('it may not create tables in schema %I (GRANT CREATE ON SCHEMA %1$I TO %s)', nspname, relowner::regrole),
       NULL, NULL, NULL
FROM t WHERE pg_get_userbyid(relowner) <> current_user AND relowner NOT IN (SELECT other FROM others)
         AND NOT has_schema_privilege(relowner, relnamespace, 'CREATE') AND NOT current_setting('is_superuser')::bool
UNION ALL SELECT 0, 'inheritance', other.oid::regclass::text, 'refused',
       CASE WHEN inhparent = t.oid THEN format('it inherits from the table (ALTER TABLE %s NO INHERIT %s)', other.oid::regclass, title)
            WHEN t.relispartition THEN format('the table is a partition of it (ALTER TABLE %s DETACH PARTITION %s)',
                                              other.oid::regclass, title)
            ELSE format('the table inherits from it (ALTER TABLE %s NO INHERIT %s)', title, other.oid::regclass) END, NULL, NULL, NULL
FROM t JOIN pg_inherits ON t.oid IN (inhparent, inhrelid) AND t.relkind = 'r'
JOIN pg_class other ON other.oid = CASE WHEN inhparent = t.oid THEN inhrelid ELSE inhparent END
UNION ALL SELECT 0, 'inbound foreign key', format('%I of %s', conname, shown), 'refused',
       'it would stay with the old table (--drop-foreign-keys drops it; the check dropped_keys then counts the rows that lead nowhere)',
       NULL, format('ALTER TABLE %s DROP CONSTRAINT %I; INSERT INTO postgres_sync.dropped_keys VALUES (%L, %L, %L, %L, %L, %L, %L)',
                    referring, conname, nspname, relname, referring, conname,
                    ARRAY(SELECT attname FROM unnest(conkey) WITH ORDINALITY AS k (num, place) JOIN pg_attribute
                          ON attrelid = conrelid AND attnum = num ORDER BY place),
                    ARRAY(SELECT attname FROM unnest(confkey) WITH ORDINALITY AS k (num, place) JOIN pg_attribute
                          ON attrelid = confrelid AND attnum = num ORDER BY place), pg_get_constraintdef(pg_constraint.oid)),
       format('LOCK TABLE ONLY %s', referring)
FROM t JOIN pg_constraint ON confrelid = t.oid AND contype = 'f' AND conparentid = 0, LATERAL (
    SELECT format('%I.%I', n.nspname, c.relname), concat(quote_ident(nullif(n.nspname, t.nspname)) || '.', quote_ident(c.relname))
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = conrelid) AS other (referring, shown)
UNION ALL SELECT DISTINCT 0, 'security label', provider, 'refused', 'only its provider can set it again', NULL, NULL, NULL
FROM t JOIN pg_seclabel ON classoid = 'pg_class'::regclass AND objoid = t.oid
UNION ALL SELECT 0, 'FORCE ROW LEVEL SECURITY', '', 'refused',
       format('the policies would hold for user %1$s itself and hide rows from it (ALTER ROLE %1$s BYPASSRLS, or ALTER TABLE %2$s'
              ' NO FORCE ROW LEVEL SECURITY)', quote_ident(current_user), title), NULL, NULL, NULL
FROM t WHERE relrowsecurity AND row_security_active(t.oid)
UNION ALL SELECT 0, 'subscription', quote_ident(subname), 'refused', 'its worker writes into the old table', NULL, NULL, NULL
FROM t JOIN pg_subscription_rel ON srrelid = t.oid JOIN pg_subscription s ON s.oid = srsubid
UNION ALL SELECT 0, 'column of its row type', format('%s.%I', a.attrelid::regclass, a.attname), 'refused',
       'its values are rows of the old table', NULL, NULL, NULL
FROM pg_type y JOIN pg_attribute a ON a.atttypid IN (y.oid, y.typarray) AND NOT a.attisdropped
JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p', 'c') WHERE y.typrelid = ANY ({sources})
UNION ALL SELECT DISTINCT 0, 'dependent', pg_describe_object(d.classid, d.objid, d.objsubid), 'refused',
       'nobody knows how to move it', NULL, NULL, NULL
FROM pg_depend d
-- Of kinds that come along, or are a part of the table: what is part of another table, of a domain or an aggregate.
LEFT JOIN pg_constraint con ON d.classid = 'pg_constraint'::regclass AND con.oid = d.objid
                           AND conrelid <> ALL ({sources}) AND confrelid <> ALL ({sources})
LEFT JOIN pg_trigger g ON d.classid = 'pg_trigger'::regclass AND g.oid = d.objid AND NOT tgisinternal AND tgrelid <> ALL ({sources})
LEFT JOIN pg_attrdef def ON d.classid = 'pg_attrdef'::regclass AND def.oid = d.objid AND adrelid <> ALL ({sources})
LEFT JOIN pg_statistic_ext s ON d.classid = 'pg_statistic_ext'::regclass AND s.oid = d.objid AND stxrelid <> ALL ({sources})
LEFT JOIN pg_index ON d.classid = 'pg_class'::regclass AND indexrelid = d.objid AND indrelid <> ALL ({sources})
LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid AND prokind NOT IN ('f', 'p')
WHERE ((d.refclassid = 'pg_class'::regclass AND d.refobjid = ANY ({sources}))
    OR (d.refclassid = 'pg_type'::regclass AND d.refobjid IN (SELECT unnest(ARRAY[y.oid, y.typarray]) FROM pg_type y
                                                              WHERE y.typrelid = ANY ({sources}))))
  AND ((d.deptype = 'n' AND d.classid NOT IN (
        'pg_rewrite'::regclass, 'pg_proc'::regclass, 'pg_class'::regclass, 'pg_constraint'::regclass, 'pg_trigger'::regclass,
        'pg_policy'::regclass, 'pg_attrdef'::regclass, 'pg_statistic_ext'::regclass, 'pg_publication_rel'::regclass))
    OR coalesce(con.oid, g.oid, def.oid, s.oid, indexrelid, p.oid) IS NOT NULL)

-- Columns, and what a new table is made with.
UNION ALL SELECT 10, 'owner', relowner::regrole::text, 'after', format('ALTER TABLE %s OWNER TO %s', name, relowner::regrole),
       NULL, NULL, NULL
FROM t WHERE pg_get_userbyid(relowner) <> current_user
UNION ALL SELECT 20, 'generated column', quote_ident(attname), 'column',
       format('ADD COLUMN %I %s GENERATED ALWAYS AS (%s) STORED', attname, format_type(atttypid, atttypmod),
              pg_get_expr(adbin, adrelid)),
       format('ALTER TABLE %s ADD COLUMN %I %s GENERATED ALWAYS AS (%s) STORED', name, attname, format_type(atttypid, atttypmod),
              pg_get_expr(adbin, adrelid)), NULL, NULL
FROM t JOIN pg_attribute ON attrelid = t.oid JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attgenerated <> '' AND NOT attisdropped
UNION ALL SELECT 20, 'NOT NULL', 'of ' || quote_ident(attname), 'column', format('ALTER COLUMN %I SET NOT NULL', attname),
       format('ALTER TABLE %s ALTER COLUMN %I SET NOT NULL', name, attname), NULL, NULL
FROM t JOIN pg_attribute ON attrelid = t.oid WHERE attnotnull AND attnum > 0 AND NOT attisdropped
UNION ALL SELECT 21, 'default of column', quote_ident(attname), 'after',
       format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT %s', name, attname, pg_get_expr(adbin, adrelid)), '', NULL, NULL
FROM t JOIN pg_attribute ON attrelid = t.oid JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attgenerated = '' AND NOT attisdropped
UNION ALL SELECT 22, 'sequence', seq.oid::regclass::text, 'after',
       format('ALTER SEQUENCE %s OWNED BY %s.%I', seq.oid::regclass, name, attname), NULL, attname, NULL
FROM t JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = t.oid AND d.classid = 'pg_class'::regclass
                       AND d.deptype = 'a' AND d.refobjsubid > 0
JOIN pg_class seq ON seq.oid = d.objid AND seq.relkind = 'S'
JOIN pg_attribute ON attrelid = t.oid AND attnum = d.refobjsubid
UNION ALL SELECT 23, 'identity of column', quote_ident(attname), 'after',
       format('ALTER TABLE %s ALTER COLUMN %I ADD GENERATED %s AS IDENTITY (START WITH %s INCREMENT BY %s MINVALUE %s MAXVALUE %s'
              ' CACHE %s%s)', name, attname, CASE attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END,
              coalesce(pg_sequence_last_value(seqrelid) + seqincrement, seqstart), seqincrement, seqmin, seqmax, seqcache,
              CASE WHEN seqcycle THEN ' CYCLE' ELSE '' END), '', NULL, NULL
FROM t JOIN pg_attribute ON attrelid = t.oid AND attidentity <> '' AND NOT attisdropped
JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = t.oid AND d.refobjsubid = attnum
                AND d.classid = 'pg_class'::regclass AND d.deptype = 'i'
JOIN pg_sequence ON seqrelid = d.objid
UNION ALL SELECT 30, 'constraint', format('%I (%s)', conname, pg_get_constraintdef(con.oid)), 'made',
       format('ALTER TABLE %s ADD CONSTRAINT %I %s', name, conname,
              regexp_replace(pg_get_constraintdef(con.oid), ' NOT VALID$', '')), '', NULL, NULL
FROM t JOIN pg_constraint con ON conrelid = t.oid AND contype IN ('c', 'f', 'u', 'x') AND conparentid = 0
                             AND confrelid <> t.oid
UNION ALL SELECT 31, 'index', i.indexrelid::regclass::text,
       CASE WHEN am.amname = 'gist' AND 0 <> ANY (i.indkey::int[]) THEN 'stays' ELSE 'made' END,
       CASE WHEN am.amname = 'gist' AND 0 <> ANY (i.indkey::int[])
            THEN 'each version has those that the layer declares: one on the table itself breaks ST_EstimatedExtent'
            ELSE format('CREATE %sINDEX ON %s USING %s', CASE WHEN indisunique THEN 'UNIQUE ' ELSE '' END, name,
                        substr(definition, position(' USING ' || am.amname IN definition) + 7)) END,
       CASE WHEN am.amname <> 'gist' OR 0 = ALL (i.indkey::int[]) THEN '' END,
       indisunique || substr(definition, position(' USING ' || am.amname IN definition) + 7), NULL
FROM t JOIN pg_index i ON i.indrelid = t.oid AND NOT i.indisprimary JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_am am ON am.oid = c.relam, pg_get_indexdef(i.indexrelid) AS definition
WHERE NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = i.indexrelid AND contype IN ('u', 'x'))
UNION ALL SELECT 32, 'primary key', format('%I (%s)', conname, pg_get_constraintdef(con.oid)), 'key',
       pg_get_constraintdef(con.oid), NULL, NULL, NULL
FROM t JOIN pg_constraint con ON conrelid = t.oid AND contype = 'p'
UNION ALL SELECT 33, 'setting', option, 'setting', format('ALTER TABLE %s SET (%s)', name, option), NULL, NULL, NULL
FROM t, unnest(t.reloptions) AS option
UNION ALL SELECT 33, 'setting', format('of column %I (%s)', attname, concat_ws(', ', 'STATISTICS ' || nullif(attstattarget, -1), options)),
       'stays', 'new rows are analysed by the settings of the server', NULL, NULL, NULL
FROM t JOIN pg_attribute ON attrelid = t.oid, LATERAL (
    -- Some servers note options of their own there.
    SELECT string_agg(option, ', ') AS options FROM unnest(attoptions) AS option WHERE option LIKE 'n\_distinct%%') AS named
WHERE attnum > 0 AND NOT attisdropped AND (attstattarget >= 0 OR options IS NOT NULL)
UNION ALL SELECT 33, 'tablespace', quote_ident(spcname), 'stays', 'the new table is made in the default one', NULL, NULL, NULL
FROM t JOIN pg_tablespace s ON s.oid = t.reltablespace
UNION ALL SELECT 33, 'setting', 'CLUSTER ON ' || indexrelid::regclass, 'stays', 'the new table is in no order', NULL, NULL, NULL
FROM t JOIN pg_index ON indrelid = t.oid AND indisclustered
UNION ALL SELECT 34, 'setting', 'REPLICA IDENTITY ' || word, CASE word WHEN 'USING INDEX' THEN 'stays' ELSE 'after' END,
       CASE word WHEN 'USING INDEX' THEN 'the new table has other indexes'
            ELSE format('ALTER TABLE %s REPLICA IDENTITY %s', name, word) END,
       CASE WHEN word <> 'USING INDEX' THEN '' END, NULL, NULL
FROM t, LATERAL (SELECT CASE relreplident WHEN 'f' THEN 'FULL' WHEN 'n' THEN 'NOTHING' ELSE 'USING INDEX' END) AS said (word)
WHERE relreplident <> 'd'

-- Who may do what with the rows, and what happens when they do.
UNION ALL SELECT 40, 'right', format('%s for %s%s', what, whom, option), 'after',
       format('GRANT %s ON %s TO %s%s', what, name, whom, option), '', NULL, NULL
FROM rights JOIN t USING (oid)
UNION ALL SELECT 41, 'row-level security', 'enabled', 'after', format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', name), '', NULL, NULL
FROM t WHERE relrowsecurity
UNION ALL SELECT 41, 'row-level security', 'forced', 'after', format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', name), '', NULL, NULL
FROM t WHERE relforcerowsecurity
UNION ALL SELECT 42, 'policy', quote_ident(polname), 'after',
       format('CREATE POLICY %I ON %s AS %s FOR %s TO %s%s%s', polname, name,
              CASE WHEN polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
              CASE polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
              (SELECT string_agg(CASE role WHEN 0 THEN 'PUBLIC' ELSE role::regrole::text END, ', ') FROM unnest(polroles) AS role),
              ' USING (' || pg_get_expr(polqual, polrelid) || ')', ' WITH CHECK (' || pg_get_expr(polwithcheck, polrelid) || ')'),
       '', NULL, NULL
FROM t JOIN pg_policy ON polrelid = t.oid
UNION ALL SELECT 43, 'trigger', quote_ident(tgname), 'after',
       pg_get_triggerdef(g.oid, true) || CASE tgenabled WHEN 'O' THEN ''
           ELSE format('; ALTER TABLE %s %s TRIGGER %I', name,
                       CASE tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE ALWAYS' END, tgname) END,
       '', NULL, NULL
FROM t JOIN pg_trigger g ON tgrelid = t.oid AND NOT tgisinternal AND tgparentid = 0
UNION ALL SELECT 44, 'rule', quote_ident(rulename), 'after',
       rtrim(pg_get_ruledef(r.oid, true), ';') || CASE ev_enabled WHEN 'O' THEN ''
           ELSE format('; ALTER TABLE %s %s RULE %I', name,
                       CASE ev_enabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE ALWAYS' END, rulename) END,
       '', NULL, NULL
FROM t JOIN pg_rewrite r ON ev_class = t.oid
UNION ALL SELECT 45, 'statistics object', format('%s.%I', stxnamespace::regnamespace, stxname), 'before',
       format('ALTER STATISTICS %s.%I RENAME TO %I', stxnamespace::regnamespace, stxname,
              CASE WHEN octet_length(stxname || {suffix}) < 64 AND NOT EXISTS (
                       SELECT FROM pg_statistic_ext AS other
                       WHERE (other.stxname, other.stxnamespace) = (s.stxname || {suffix}, s.stxnamespace))
                   THEN stxname || {suffix} ELSE 'statistics_' || s.oid || {suffix} END), '', NULL, NULL
FROM pg_statistic_ext AS s WHERE stxrelid = {oid}
UNION ALL SELECT 45, 'statistics object', format('%s.%I', stxnamespace::regnamespace, stxname), 'after',
       pg_get_statisticsobjdef(oid) || CASE WHEN stxstattarget >= 0
           THEN format('; ALTER STATISTICS %s.%I SET STATISTICS %s', stxnamespace::regnamespace, stxname, stxstattarget) ELSE '' END,
       '', NULL, NULL
FROM pg_statistic_ext WHERE stxrelid = {oid}
UNION ALL SELECT 46, 'publication', quote_ident(pubname), 'before', format('ALTER PUBLICATION %I DROP TABLE %s', pubname, title),
       '', NULL, NULL
FROM t JOIN pg_publication_rel ON prrelid = t.oid JOIN pg_publication p ON p.oid = prpubid
UNION ALL SELECT 46, 'publication', quote_ident(pubname), 'after',
       format('ALTER PUBLICATION %I ADD TABLE %s%s%s', pubname, name,
              ' (' || (SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute
                       WHERE attrelid = t.oid AND attnum = ANY (prattrs::int2[])) || ')',
              ' WHERE (' || pg_get_expr(prqual, prrelid) || ')'), '', NULL, NULL
FROM t JOIN pg_publication_rel ON prrelid = t.oid JOIN pg_publication p ON p.oid = prpubid

-- What reads it. A new table in the place of a materialized view has been filled by then.
UNION ALL SELECT 50, 'materialized view', shown, 'refused', 'the table, or another one that reads it, has the same name in another schema',
       NULL, NULL, NULL
FROM made_views AS m WHERE relname IN (SELECT relname FROM t UNION ALL SELECT relname FROM made_views AS o WHERE o.ev_class <> m.ev_class)
UNION ALL SELECT 50 + depth, 'materialized view', shown, 'made',
       format('CREATE MATERIALIZED VIEW flux_versions.%I%s AS %s WITH NO DATA', relname,
              coalesce(' WITH (' || array_to_string(reloptions, ', ') || ')', ''), rtrim(pg_get_viewdef(ev_class), ';')),
       '', CASE WHEN NOT EXISTS (SELECT FROM pg_index WHERE indrelid = ev_class AND indisunique AND indpred IS NULL AND indexprs IS NULL)
                THEN format('its readers wait while that is done, unless it gets a unique index (CREATE UNIQUE INDEX ON %s …)', title) END, NULL
FROM made_views
UNION ALL SELECT 51 + depth, 'materialized view', shown, 'made', format('REFRESH MATERIALIZED VIEW flux_versions.%I', relname), NULL, NULL, NULL
FROM made_views WHERE relispopulated
UNION ALL SELECT 52 + depth, 'materialized view', shown, 'made',
       format('CREATE %sINDEX %I ON flux_versions.%I USING %s', CASE WHEN indisunique THEN 'UNIQUE ' ELSE '' END, c.relname, m.relname,
              substr(definition, position(' USING ' || amname IN definition) + 7))
       || coalesce(format('; COMMENT ON INDEX flux_versions.%I IS %L', c.relname, obj_description(c.oid, 'pg_class')), ''), '', NULL, NULL
FROM made_views m JOIN pg_index ON indrelid = ev_class JOIN pg_class c ON c.oid = indexrelid JOIN pg_am am ON am.oid = c.relam,
     pg_get_indexdef(indexrelid) AS definition
UNION ALL SELECT 53 + depth, 'materialized view', shown, 'lock', format('ALTER TABLE %s OWNER TO %s', title, relowner::regrole), NULL, NULL, NULL
FROM made_views
UNION ALL SELECT 54 + depth, 'materialized view', shown, 'before',
       format('ALTER INDEX %I.%I RENAME TO before_flux_%s', m.nspname, c.relname, c.oid), NULL, NULL, NULL
FROM made_views m JOIN pg_index ON indrelid = ev_class JOIN pg_class c ON c.oid = indexrelid
UNION ALL SELECT 55 + depth, 'materialized view', shown, 'after',
       format('ALTER MATERIALIZED VIEW %s RENAME TO before_flux_%s; ALTER MATERIALIZED VIEW flux_versions.%I SET SCHEMA %I', title,
              ev_class, relname, nspname), NULL, NULL, NULL
FROM made_views
UNION ALL SELECT 56 + depth, 'materialized view', shown, 'after', format('ALTER MATERIALIZED VIEW %s OWNER TO %s', title, relowner::regrole),
       NULL, NULL, NULL
FROM made_views WHERE pg_get_userbyid(relowner) <> current_user
UNION ALL SELECT 57 + depth, 'materialized view', shown, 'after', format('GRANT %s ON %s TO %s%s', what, title, whom, option), NULL, NULL, NULL
FROM made_views JOIN rights ON rights.oid = ev_class
UNION ALL SELECT 58 + depth, 'materialized view', shown, 'after',
       CASE objsubid WHEN 0 THEN format('COMMENT ON MATERIALIZED VIEW %s IS %L', title, description)
            ELSE format('COMMENT ON COLUMN %s.%I IS %L', title, attname, description) END, NULL, NULL, NULL
FROM made_views JOIN pg_description ON classoid = 'pg_class'::regclass AND objoid = ev_class
LEFT JOIN pg_attribute ON attrelid = ev_class AND attnum = objsubid AND objsubid > 0
UNION ALL SELECT 60 - depth, 'materialized view', shown, 'last', format('DROP MATERIALIZED VIEW %I.before_flux_%s', nspname, ev_class),
       NULL, NULL, NULL
FROM made_views
UNION ALL SELECT 60.5, 'materialized view', shown, 'last',
       pg_get_statisticsobjdef(s.oid) || coalesce(format('; COMMENT ON STATISTICS %s.%I IS %L', stxnamespace::regnamespace, stxname,
                                                         obj_description(s.oid, 'pg_statistic_ext')), ''), NULL, NULL, NULL
FROM made_views JOIN pg_statistic_ext s ON stxrelid = ev_class
UNION ALL SELECT 60, 'function', shown, 'refused', format('it belongs to %s, whom user %I cannot act for (%s)', proowner::regrole,
              current_user, joining),
       NULL, NULL, NULL
FROM functions JOIN others ON other = proowner
UNION ALL SELECT 61, 'function', shown, 'before', format('DROP ROUTINE %s(%s)', quoted, arguments), '',
       (SELECT string_agg(attname, ', ' ORDER BY attnum) FROM t JOIN pg_attribute ON attrelid = t.oid WHERE attnum > 0 AND NOT attisdropped), NULL
FROM functions WHERE in_signature
UNION ALL SELECT 62, 'function', shown, 'after', body, '', NULL, NULL FROM functions
UNION ALL SELECT 63, 'function', shown, 'after', format('ALTER ROUTINE %s OWNER TO %s', shown, proowner::regrole), NULL, NULL, NULL
FROM functions WHERE in_signature AND pg_get_userbyid(proowner) <> current_user
UNION ALL SELECT 64, 'function', shown, 'after',
       format('REVOKE ALL ON ROUTINE %s FROM PUBLIC', shown), '', NULL, NULL
FROM functions WHERE in_signature AND proacl IS NOT NULL
UNION ALL SELECT 65, 'function', shown, 'after',
       format('GRANT EXECUTE ON ROUTINE %s TO %s%s', shown, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END,
              CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END), '', NULL, NULL
FROM functions, aclexplode(proacl) WHERE in_signature AND grantee <> proowner
UNION ALL SELECT 66, 'function', shown, 'after', format('COMMENT ON ROUTINE %s IS %L', shown, description), '', NULL, NULL
FROM functions JOIN pg_description ON classoid = 'pg_proc'::regclass AND objoid = functions.oid WHERE in_signature
UNION ALL SELECT 67, CASE relkind WHEN 'm' THEN 'materialized view' WHEN 'v' THEN 'view' ELSE 'table' END, shown, 'refused',
       format('it belongs to %s, whom user %I cannot act for (%s)', relowner::regrole, current_user, joining),
       NULL, NULL, NULL
FROM rules JOIN others ON other = relowner
UNION ALL SELECT 67, CASE relkind WHEN 'm' THEN 'materialized view' ELSE 'view' END, shown, 'refused',
       format('user %s may not create in schema %I (GRANT CREATE ON SCHEMA %2$I TO %1$s)', quote_ident(current_user), nspname), NULL, NULL, NULL
FROM rules WHERE rulename = '_RETURN' AND NOT has_schema_privilege(relnamespace, 'CREATE')
UNION ALL SELECT 67, 'materialized view', shown, 'refused',
       format('its owner may not create in schema %I (GRANT CREATE ON SCHEMA %1$I TO %s)', nspname, relowner::regrole), NULL, NULL, NULL
FROM made_views WHERE NOT has_schema_privilege(relowner, relnamespace, 'CREATE') AND NOT current_setting('is_superuser')::bool
UNION ALL SELECT 68, 'view', shown, 'lock', format('ALTER TABLE %s OWNER TO %s', title, relowner::regrole), NULL, NULL, NULL FROM views
UNION ALL SELECT 69, 'view', shown, 'after', format('CREATE OR REPLACE VIEW %s%s AS %s', title, options, body),
       format('CREATE VIEW %s AS SELECT %s; CREATE OR REPLACE VIEW %s%s AS %s', tried, nulls, tried, options, body),
       format('CREATE OR REPLACE VIEW %s%s AS SELECT %s FROM (%s) AS q', title, options, casts, body),
       format('CREATE VIEW %s AS SELECT %s; CREATE OR REPLACE VIEW %s%s AS SELECT %s FROM (%s) AS q', tried, nulls, tried, options,
              casts, body)
FROM views
UNION ALL SELECT 67, 'view', shown, 'refused', format('its column %I holds whole rows of the old table', attname), NULL, NULL, NULL
FROM views JOIN pg_attribute ON attrelid = ev_class AND attnum > 0 AND NOT attisdropped
JOIN pg_type y ON y.typrelid = ANY ({sources}) AND atttypid IN (y.oid, y.typarray)
UNION ALL SELECT 70, 'rule', format('%I of %s', rulename, shown), 'after',
       regexp_replace(rtrim(pg_get_ruledef(oid), ';'), '^CREATE RULE', 'CREATE OR REPLACE RULE'), NULL, NULL, NULL
FROM rules WHERE rulename <> '_RETURN'
UNION ALL SELECT 71, 'policy', format('%I of %s', polname, polrelid::regclass),
       CASE WHEN joining IS NOT NULL THEN 'refused' ELSE phase END,
       CASE WHEN joining IS NOT NULL THEN format('its table belongs to %s, whom user %I cannot act for (%s)',
                                                 relowner::regrole, current_user, joining)
            WHEN phase = 'lock' THEN format('LOCK TABLE ONLY %s', title)
            ELSE format('ALTER POLICY %I ON %s%s', polname, title, terms) END,
       CASE phase WHEN 'after' THEN format('CREATE TEMP TABLE %I (LIKE %s); CREATE POLICY %I ON pg_temp.%I FOR %s%s; DROP TABLE pg_temp.%1$I',
                                           relname, title, polname, relname, command, terms) END, NULL, NULL
FROM (SELECT DISTINCT p.*, c.relname, c.relowner, format('%I.%I', nspname, relname) AS title,
             CASE polcmd WHEN 'a' THEN 'INSERT' ELSE 'ALL' END AS command,
             concat(' USING (' || pg_get_expr(polqual, polrelid) || ')', ' WITH CHECK (' || pg_get_expr(polwithcheck, polrelid) || ')') AS terms
      FROM pg_depend d JOIN pg_policy p ON d.classid = 'pg_policy'::regclass AND p.oid = d.objid JOIN pg_class c ON c.oid = polrelid
      JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = ANY ({sources}) AND polrelid <> {oid}) AS p
     LEFT JOIN others ON other = relowner, (VALUES ('lock'), ('after')) AS step (phase)

-- Comments.
UNION ALL SELECT 80, 'comment', CASE objsubid WHEN 0 THEN 'of the table' ELSE format('of column %I', attname) END, 'comment',
       CASE objsubid WHEN 0 THEN format('COMMENT ON TABLE %s IS %L', name, description)
            ELSE format('COMMENT ON COLUMN %s.%I IS %L', name, attname, description) END, NULL, NULL, NULL
FROM t JOIN pg_description ON classoid = 'pg_class'::regclass AND objoid = t.oid
LEFT JOIN pg_attribute ON attrelid = t.oid AND attnum = objsubid AND objsubid > 0
UNION ALL SELECT 81, 'comment', format('of %s %I', word, named), 'after', format('COMMENT ON %s %I ON %s IS %L', word, named, name, description),
       '', NULL, NULL
FROM t JOIN (SELECT 'pg_trigger'::regclass AS class, oid, tgrelid AS on_table, tgname AS named, 'TRIGGER' AS word FROM pg_trigger
             WHERE tgparentid = 0
             UNION ALL SELECT 'pg_policy'::regclass, oid, polrelid, polname, 'POLICY' FROM pg_policy
             UNION ALL SELECT 'pg_rewrite'::regclass, oid, ev_class, rulename, 'RULE' FROM pg_rewrite
             UNION ALL SELECT 'pg_constraint'::regclass, oid, conrelid, conname, 'CONSTRAINT' FROM pg_constraint
             WHERE contype IN ('c', 'f') AND conparentid = 0) AS part
       ON on_table = t.oid JOIN pg_description d ON d.classoid = class AND d.objoid = part.oid
UNION ALL SELECT 81, 'comment', format('of STATISTICS %I', stxname), 'after',
       format('COMMENT ON STATISTICS %s.%I IS %L', stxnamespace::regnamespace, stxname, description), '', NULL, NULL
FROM pg_statistic_ext JOIN pg_description ON classoid = 'pg_statistic_ext'::regclass AND objoid = oid WHERE stxrelid = {oid}
) AS found
ORDER BY place, name, phase DESC, statement;

-- digest --
-- Of which transactions wrote what the catalogs say of the table: it is asked under the lock, where no time may be lost.
SELECT md5(string_agg(concat_ws(' ', class, object, written), E'\n' ORDER BY class, object, written)) FROM (
    SELECT 1 AS class, oid::text AS object, xmin::text AS written FROM pg_class WHERE oid = {oid}
    UNION ALL SELECT 2, attnum::text, xmin::text FROM pg_attribute WHERE attrelid = {oid} AND attnum > 0
    UNION ALL SELECT 3, oid::text, xmin::text FROM pg_policy WHERE polrelid = {oid}
    UNION ALL SELECT 4, oid::text, xmin::text FROM pg_trigger WHERE tgrelid = {oid}
    UNION ALL SELECT 5, concat(classid, ' ', objid), concat(deptype, (SELECT xmin FROM pg_rewrite
        WHERE classid = 'pg_rewrite'::regclass AND pg_rewrite.oid = objid))
    FROM pg_depend WHERE (refclassid, refobjid) IN (SELECT 'pg_class'::regclass, unnest({sources}) UNION ALL
        SELECT 'pg_type'::regclass, unnest(ARRAY[oid, typarray]) FROM pg_type WHERE typrelid = ANY ({sources}))
) AS known;

-- unchanged --
DO $unchanged$
BEGIN
    IF ({digesting}) <> {digest} THEN
        RAISE EXCEPTION USING ERRCODE = 'FX002', MESSAGE = 'what hangs on the table has changed';
    END IF;
END
$unchanged$;
