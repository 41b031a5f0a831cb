-- swapped_out --
SELECT (SELECT ARRAY[own.nspname::text, going.relname::text] FROM pg_class going
        JOIN pg_namespace own ON own.oid = going.relnamespace WHERE going.oid = partdefid),
       -- Changing a table locks those too that its own foreign keys point at.
       ARRAY(SELECT c.oid UNION SELECT partdefid WHERE partdefid <> 0
             UNION SELECT confrelid FROM pg_constraint WHERE contype = 'f' AND conrelid IN (c.oid, partdefid))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_partitioned_table ON partrelid = c.oid
WHERE n.nspname = {schema} AND c.relname = {name};
