"""What the old application asks the database, re-written from what is known of it: a map's frames, clicks and lists.

Its tables are named without a schema, and found along `PATH`. The parameters: a rectangle, a point, a distance.
"""

PATH = "public_compat, public"
WHERE = {
    "west": -95.3975, "south": 29.7525, "east": -95.3825, "north": 29.7675,
    "longitude": -95.39, "latitude": 29.76, "metres": 500,
}  # fmt: skip
_BOX = "ST_MakeEnvelope(%(west)s, %(south)s, %(east)s, %(north)s, 4326)"
_POINT = "ST_SetSRID(ST_MakePoint(%(longitude)s, %(latitude)s), 4326)"
_WITHIN = f"ST_DWithin(geom::geography, {_POINT}::geography, %(metres)s)"
_AWAY = f"ST_Distance(geom::geography, {_POINT}::geography)"

# What a map asks each time that it is moved.
FRAMES = {
    "buildings": "SELECT building_id, building_name, building_type, height_meters, num_floors, longitude, latitude,"
    f" ST_AsGeoJSON(geom) FROM buildings_spatial WHERE geom && {_BOX}"
    " ORDER BY height_meters DESC NULLS LAST LIMIT 5000",
    "power lines": "SELECT power_line_id, class, length_meters, ST_AsGeoJSON(geom) FROM power_lines_spatial"
    f" WHERE geom && {_BOX}",
    "power lines, farther away": "SELECT power_line_id, class, ST_AsGeoJSON(geom) FROM power_lines_lod_mid"
    f" WHERE geom && {_BOX}",
    "trees": "SELECT tree_id, species, risk_level, risk_score, distance_to_line_m, nearest_line_id, longitude, latitude"
    f" FROM vegetation_risk_computed WHERE geom && {_BOX} ORDER BY risk_score DESC LIMIT 2000",
    "assets": "SELECT asset_id, asset_name, asset_type, latitude, longitude, circuit_id, health_score, load_percent"
    " FROM grid_assets_cache WHERE geom && " + _BOX + " LIMIT 5000",
    "meters": f"SELECT meter_id, transformer_id, circuit_id FROM meter_locations_enhanced WHERE geom && {_BOX}",
    "water": f"SELECT id, name, water_type, ST_AsGeoJSON(geom) FROM osm_water WHERE geom && {_BOX}",
    "service areas": "SELECT circuit_id, circuit_name, customer_count, area_sq_km, ST_AsGeoJSON(bounds_geom)"
    f" FROM circuit_service_areas WHERE geom && {_BOX}",
    "open outages": "SELECT outage_id, circuit_id, restoration_status, affected_customers_count, outage_cause,"
    " outage_center_lat, outage_center_lon, outage_start_timestamp, estimated_restoration_time"
    " FROM outage_restoration_tracker WHERE restoration_status IN ('ACTIVE', 'ASSIGNED', 'IN_PROGRESS')"
    " ORDER BY affected_customers_count DESC LIMIT 1000",
}
# What a click on the map asks.
RADII = {
    f"{what} near": f"SELECT {key}, {_AWAY} AS metres FROM {table} WHERE {_WITHIN} ORDER BY 2 LIMIT 100"
    for what, key, table in (
        ("buildings", "building_id", "building_footprints"),
        ("customers", "customer_id", "customers_spatial"),
        ("meters", "meter_id", "meter_locations_enhanced"),
        ("trees", "tree_id", "vegetation_risk"),
        ("power lines", "power_line_id", "power_lines_spatial"),
    )
}
# What its lists and figures ask.
LISTS = {
    "circuits": "SELECT circuit_id, circuit_name, substation_id, voltage, customer_count, avg_latitude, avg_longitude"
    " FROM circuit_metadata ORDER BY customer_count DESC LIMIT 50",
    "worst assets": "SELECT asset_id, asset_type, health_score, load_percent FROM grid_assets"
    " WHERE health_score < 50 ORDER BY health_score LIMIT 100",
    "trees by risk": "SELECT risk_level, count(*) FROM vegetation_risk_computed GROUP BY risk_level",
    "lines at risk": "SELECT l.power_line_id, l.class, count(*) AS trees FROM vegetation_risk_computed AS t"
    " JOIN power_lines_spatial AS l ON l.power_line_id = t.nearest_line_id WHERE t.risk_level = 'critical'"
    " GROUP BY 1, 2 ORDER BY trees DESC, 1 LIMIT 20",
    "circuits and their outages": "SELECT s.circuit_id, s.circuit_name, count(o.outage_id) AS outages"
    " FROM circuit_service_areas AS s JOIN outage_restoration_tracker AS o USING (circuit_id)"
    " WHERE o.restoration_status IN ('ACTIVE', 'ASSIGNED', 'IN_PROGRESS') GROUP BY 1, 2 ORDER BY outages DESC, 1",
    "work orders": "SELECT work_order_id, work_type, work_order_date, asset_id, cost_usd FROM work_orders"
    " ORDER BY work_order_date DESC LIMIT 100",
}
