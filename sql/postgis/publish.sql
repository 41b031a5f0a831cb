-- swapped_out --
SELECT (SELECT ARRAY[own.nspname::text, going.relname::text] FROM pg_class going
        JOIN pg_namespace own ON own.oid = going.relnamespace WHERE going.oid = partdefid),
       -- Changing a table locks those too that its own foreign keys point at.
       ARRAY(SELECT c.oid UNION SELECT partdefid WHERE partdefid <> 0
             UNION SELECT confrelid FROM pg_constraint WHERE contype = 'f' AND conrelid IN (c.oid, partdefid))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_partitioned_table ON partrelid = c.oid
WHERE n.nspname = {schema} AND c.relname = {name};

-- materialized_views --
-- Those that read one of the tables, by views or each other too, in the order in which they do.
WITH RECURSIVE reader (oid, depth) AS (
    SELECT c.oid, 0 FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
    WHERE nspname = {schema} AND relname = ANY ({names})
    UNION
    SELECT ev_class, depth + 1 FROM reader
    JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND refclassid = 'pg_class'::regclass AND refobjid = reader.oid
    JOIN pg_rewrite r ON r.oid = d.objid WHERE ev_class <> reader.oid AND rulename = '_RETURN')
SELECT c.oid, nspname, relname, pg_has_role(relowner, 'USAGE') AS is_ours,
       EXISTS (SELECT FROM pg_index WHERE indrelid = c.oid AND indisunique AND indisvalid AND indpred IS NULL
               AND indexprs IS NULL) AS has_key
FROM (SELECT oid, max(depth) AS depth FROM reader GROUP BY oid) AS found JOIN pg_class c USING (oid)
JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind = 'm' AND relispopulated ORDER BY depth, 2, 3;
