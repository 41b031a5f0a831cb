SELECT line_id AS power_line_id, line_type AS class,
       coalesce(line_length_m, ST_Length(geom::geography)) AS length_meters,
       coalesce(centroid_lon, ST_X(ST_Centroid(geom))) AS centroid_lon,
       coalesce(centroid_lat, ST_Y(ST_Centroid(geom))) AS centroid_lat, geom
FROM grid_power_lines;
