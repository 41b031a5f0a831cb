SELECT power_line_id, class, length_meters, centroid_lon, centroid_lat,
       ST_SimplifyPreserveTopology(geom, 0.01)::geometry(LineString, 4326) AS geom
FROM power_lines_spatial WHERE length_meters > 1000;
