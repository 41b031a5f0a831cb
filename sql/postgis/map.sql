-- What `make map` asks besides the state of the tables.

-- bounds --
-- As the statistics know them, without reading a row.
SELECT ST_XMin(whole), ST_YMin(whole), ST_XMax(whole), ST_YMax(whole) FROM (
    SELECT ST_Extent(ST_EstimatedExtent(f_table_schema, f_table_name, f_geometry_column)::geometry) AS whole
    FROM geometry_columns
    WHERE f_table_schema = %(schema)s AND f_table_name = ANY (%(tables)s) AND srid = 4326) AS extent;
