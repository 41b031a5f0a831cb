SELECT asset_id, asset_name, asset_type, latitude, longitude,
       CASE WHEN asset_type = 'substation' THEN asset_id END AS substation_id, circuit_id, health_score, load_percent
FROM grid_assets_cache;
