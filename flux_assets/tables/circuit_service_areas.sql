WITH asset AS (
    SELECT circuit_id, asset_type, geom, connected_customers, substation_name,
           substring(voltage FROM '[0-9]+(?:\.[0-9]+)?')::double precision AS voltage_kv
    FROM grid_assets_cache WHERE circuit_id IS NOT NULL AND geom IS NOT NULL
), circuit AS (
    SELECT circuit_id, ST_ConvexHull(ST_Collect(geom)) AS hull, count(*) AS asset_count,
           count(*) FILTER (WHERE asset_type = 'transformer') AS transformer_count,
           sum(connected_customers) FILTER (WHERE asset_type = 'transformer') AS customer_count,
           mode() WITHIN GROUP (ORDER BY substation_name) AS substation_name,
           mode() WITHIN GROUP (ORDER BY voltage_kv) AS voltage_level_kv
    FROM asset GROUP BY circuit_id HAVING count(*) >= 3
), metered AS (
    SELECT circuit_id, count(*) AS meter_count FROM meter_locations_enhanced GROUP BY circuit_id
), feeding AS (
    SELECT substation_name, min(substation_id) AS substation_id FROM substations GROUP BY substation_name
)
SELECT circuit_id, circuit_id AS area_id, concat_ws(' ', circuit_id, '(' || substation_name || ')') AS circuit_name,
       substation_id, voltage_level_kv, transformer_count, coalesce(meter_count, 0) AS meter_count,
       coalesce(customer_count, meter_count, 0) AS customer_count, asset_count,
       ST_Area(hull::geography) / 1e6 AS area_sq_km, hull AS geom, ST_Envelope(hull) AS bounds_geom,
       centre AS centroid_geom, ST_Y(centre) AS centroid_lat, ST_X(centre) AS centroid_lon,
       ST_Y(centre) AS center_latitude, ST_X(centre) AS center_longitude,
       ST_YMin(hull) AS min_lat, ST_YMax(hull) AS max_lat, ST_XMin(hull) AS min_lon, ST_XMax(hull) AS max_lon
FROM circuit CROSS JOIN LATERAL ST_Centroid(hull) AS centre
LEFT JOIN metered USING (circuit_id) LEFT JOIN feeding USING (substation_name)
-- The hull of assets in one line is that line, which has no area.
WHERE ST_Dimension(hull) = 2;
