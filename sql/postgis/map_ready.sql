-- What map tools find of a table.

-- registered_type --
SELECT lower(format('%%s(%%s,%%s)', kind, type, srid)) FROM (
    SELECT 'geometry', type, srid, f_table_schema, f_table_name, f_geometry_column FROM geometry_columns
    UNION ALL
    SELECT 'geography', type, srid, f_table_schema, f_table_name, f_geography_column FROM geography_columns
) AS listed (kind, type, srid, schema_name, table_name, column_name)
WHERE schema_name = %s AND table_name = %s AND column_name = %s;

-- tables_with_rows --
SELECT relid::oid FROM pg_partition_tree(%(oid)s) WHERE isleaf
UNION SELECT oid FROM pg_class WHERE oid = %(oid)s AND relkind <> 'p';

-- without_statistics --
SELECT n.nspname || '.' || c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.oid = ANY (%s::oid[]) AND NOT EXISTS (
    SELECT FROM pg_stats WHERE schemaname = n.nspname AND tablename = c.relname AND attname = %s) ORDER BY 1;

-- any_place --
SELECT ST_X({shape}), ST_Y({shape}) FROM {table}
WHERE {column} IS NOT NULL AND NOT ST_IsEmpty({column}::geometry) LIMIT 1;

-- examples_of_kinds --
SELECT kinds, min(key) FROM (SELECT {kinds} AS kinds, {key} AS key FROM {table} AS t WHERE {some}{one}) AS all_rows
GROUP BY kinds ORDER BY kinds;

-- as_tile --
SELECT ST_AsMVTGeom(moved, ST_Expand(ST_Envelope(moved), 1)::box2d) IS NOT NULL
FROM (SELECT ST_Transform({shape}, 3857) AS moved FROM {table} AS t WHERE {same} LIMIT 1) AS one;

-- as_geojson --
SELECT ST_AsGeoJSON({shape}) IS NOT NULL FROM {table} AS t WHERE {same} LIMIT 1;
