SELECT circuit_id, circuit_name, substation_id, voltage_level_kv AS voltage, voltage_level_kv, transformer_count,
       meter_count, customer_count, asset_count, area_sq_km, centroid_lat AS avg_latitude, centroid_lon AS avg_longitude
FROM circuit_service_areas;
