-- Audits of columns and keys.

-- columns --
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
WHERE attrelid = {}::regclass AND attnum > 0 ORDER BY attnum;

-- repeated_values --
SELECT {named}, count(*) AS times FROM {rows} AS t WHERE num_nulls({key}) = 0 GROUP BY {places} HAVING count(*) > 1;

-- count_repeated --
WITH doubled AS (SELECT concat_ws(' ', {key}) AS value, times FROM ({repeated}) AS grouped)
SELECT (SELECT count(*) FROM doubled),
       ARRAY(SELECT {named} || value || ', ' || times || ' times' FROM doubled
             ORDER BY times DESC, value LIMIT {limit});
