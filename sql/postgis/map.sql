-- What `make map` asks besides the state of the tables.

-- bounds --
-- As the statistics know them, without reading a row.
SELECT ST_XMin(whole), ST_YMin(whole), ST_XMax(whole), ST_YMax(whole) FROM (
    SELECT ST_Extent(ST_EstimatedExtent(f_table_schema, f_table_name, f_geometry_column)::geometry) AS whole
    FROM geometry_columns
    WHERE f_table_schema = %(schema)s AND f_table_name = ANY (%(tables)s) AND srid = 4326) AS extent;

-- views --
-- Those that stand, each with the kind and name of the column that is drawn, where it has one.
SELECT DISTINCT ON (relname) relname, type, f_geometry_column::text
FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace
LEFT JOIN geometry_columns ON f_table_schema = nspname AND f_table_name = relname
WHERE nspname = %(schema)s AND relname = ANY (%(names)s) AND relkind = 'v'
ORDER BY relname, f_geometry_column <> 'geom';

-- schemas --
SELECT quote_ident(%s) UNION SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'postgis';
