-- Distances are of the spheroid, in metres; the nearest is found by an index on geography, which counts in metres too.
CREATE TEMP TABLE line AS
SELECT power_line_id, class, geom::geography AS place FROM power_lines_spatial WHERE geom IS NOT NULL;
CREATE INDEX ON line USING gist (place);

CREATE TEMP TABLE equipment AS
SELECT 'transformer' AS kind, transformer_id::text AS id,
       ST_SetSRID(ST_MakePoint(longitude, latitude), 4326)::geography AS place
FROM transformers WHERE longitude IS NOT NULL AND latitude IS NOT NULL
UNION ALL
SELECT 'substation', substation_id::text, geom FROM substations WHERE geom IS NOT NULL
UNION ALL
SELECT 'pole', asset_id::text, geom::geography FROM grid_assets_cache WHERE asset_type = 'pole' AND geom IS NOT NULL;
CREATE INDEX ON equipment USING gist (place);
ANALYZE line, equipment;

-- rows --
WITH tree AS (
    SELECT tree_id, class, subtype, height_m, canopy_radius_m, longitude, latitude,
           coalesce(geom, ST_SetSRID(ST_MakePoint(longitude, latitude), 4326)) AS geom
    FROM vegetation_risk
), measured AS (
    SELECT tree.*, 1.3 * height_m AS fall_zone_m, nearest_line.*, nearest_asset.*
    FROM tree
    LEFT JOIN LATERAL (
        SELECT power_line_id AS nearest_line_id, line.class AS nearest_line_class,
               ST_Distance(place, tree.geom::geography) AS distance_to_line_m
        FROM line ORDER BY place <-> tree.geom::geography LIMIT 1) AS nearest_line ON true
    LEFT JOIN LATERAL (
        SELECT kind AS nearest_asset_type, id AS nearest_asset_id,
               ST_Distance(place, tree.geom::geography) AS distance_to_asset_m
        FROM equipment ORDER BY place <-> tree.geom::geography LIMIT 1) AS nearest_asset ON true
    WHERE tree.geom IS NOT NULL
), judged AS (
    SELECT *, CASE WHEN distance_to_line_m IS NULL THEN NULL
                   WHEN distance_to_line_m <= fall_zone_m THEN 'critical'
                   WHEN distance_to_line_m <= 2 * height_m THEN 'warning'
                   WHEN distance_to_line_m <= 50 THEN 'monitor'
                   ELSE 'safe' END AS risk_level
    FROM measured
)
SELECT tree_id, class AS species, subtype, ST_X(geom) AS longitude, ST_Y(geom) AS latitude, height_m, canopy_radius_m,
       fall_zone_m, distance_to_line_m, nearest_line_id, nearest_line_class, nearest_asset_type, nearest_asset_id,
       distance_to_asset_m,
       greatest(0, 1 - distance_to_line_m / greatest(50, 2 * height_m)) AS risk_score, risk_level,
       CASE risk_level
           WHEN 'critical' THEN format('%s m tall and %s m from line %s: it would hit the line when it falls.',
                                       round(height_m::numeric, 1), round(distance_to_line_m::numeric, 1), nearest_line_id)
           WHEN 'warning' THEN format('%s m tall and %s m from line %s: within twice its height.',
                                      round(height_m::numeric, 1), round(distance_to_line_m::numeric, 1), nearest_line_id)
           WHEN 'monitor' THEN format('%s m from line %s: within 50 m.', round(distance_to_line_m::numeric, 1),
                                      nearest_line_id)
           WHEN 'safe' THEN format('%s m from the nearest line, %s.', round(distance_to_line_m::numeric, 1),
                                   nearest_line_id)
           ELSE 'There is no power line.' END AS risk_explanation,
       now() AT TIME ZONE 'UTC' AS computed_at, geom
FROM judged;
