SELECT building_id, building_name, building_type, height_meters, num_floors, ST_X(centre) AS longitude,
       ST_Y(centre) AS latitude, geom
FROM building_footprints CROSS JOIN LATERAL ST_Centroid(geom) AS centre
WHERE geom IS NOT NULL;
