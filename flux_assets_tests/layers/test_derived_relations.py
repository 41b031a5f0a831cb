"""The derived relations of the sample city: the columns that the application asks for, and what is in them."""

import geopandas as gpd
import numpy as np
import pytest
import shapely

from flux_assets.layers.context import LoadOptions
from flux_assets.layers.load import load_layer
from flux_assets.layers.views import make_view
from flux_assets.postgis.session import Target
from flux_assets.release.release import Release
from flux_assets.tables import catalogue, static_tables, views
from flux_assets_tests import sample_cities
from flux_assets_tests.conftest import PREPARED, fresh_database

COLUMNS = {
    "power_lines_spatial": "power_line_id class length_meters centroid_lon centroid_lat geom",
    "buildings_spatial": "building_id building_name building_type height_meters num_floors longitude latitude geom",
    "grid_assets": "asset_id asset_name asset_type latitude longitude substation_id circuit_id health_score"
    " load_percent",
    "power_lines_lod_overview": "power_line_id class length_meters centroid_lon centroid_lat geom",
    "power_lines_lod_mid": "power_line_id class length_meters centroid_lon centroid_lat geom",
    "vegetation_risk_computed": "tree_id species subtype longitude latitude height_m canopy_radius_m fall_zone_m"
    " distance_to_line_m nearest_line_id nearest_line_class nearest_asset_type nearest_asset_id distance_to_asset_m"
    " risk_score risk_level risk_explanation computed_at geom",
    "circuit_service_areas": "circuit_id area_id circuit_name substation_id voltage_level_kv transformer_count"
    " meter_count customer_count asset_count area_sq_km geom bounds_geom centroid_geom centroid_lat"
    " centroid_lon center_latitude center_longitude min_lat max_lat min_lon max_lon",
    "circuit_metadata": "circuit_id circuit_name substation_id voltage voltage_level_kv transformer_count meter_count"
    " customer_count asset_count area_sq_km avg_latitude avg_longitude",
}
UTM_15N = 32615  # of the sample city


@pytest.fixture(scope="module")
def city(cluster):
    """A database with the sample city, and all that is derived from it."""
    with fresh_database(cluster, PREPARED) as database:
        target, folder = Target(conninfo=cluster.conninfo(database)), sample_cities.folder()
        release = Release(str(folder), "city", folder / ".cache")
        for table in (*static_tables(), *catalogue().computed):
            load_layer(table, release, target, LoadOptions(), lambda _: None)
        for view in views():
            make_view(view, target, LoadOptions(), lambda _: None)
        with target.session("test") as session:
            yield session


def frame(city, query: str, column: str = "geom") -> gpd.GeoDataFrame:
    cursor = city.execute(query)
    names = [each.name for each in cursor.description]
    found = gpd.GeoDataFrame(cursor.fetchall(), columns=names)
    found[column] = shapely.from_wkb([bytes.fromhex(text) for text in found[column]])
    return found.set_geometry(column, crs=4326).to_crs(UTM_15N)


@pytest.mark.parametrize("name", COLUMNS)
def test_it_has_the_columns_that_are_asked_for_and_rows(city, name):
    cursor = city.execute(f"SELECT * FROM {name} LIMIT 1")
    assert {each.name for each in cursor.description} == set(COLUMNS[name].split())
    assert cursor.fetchone() is not None


def test_every_power_line_of_the_grid_is_there(city):
    lines = frame(city, "SELECT power_line_id, length_meters, geom FROM power_lines_spatial")
    assert len(lines) == len(sample_cities.rows("grid_power_lines"))
    assert np.allclose(lines.length, lines["length_meters"], rtol=0.01, atol=1)


def test_the_nearest_line_and_equipment_of_each_tree_are_the_nearest(city):
    trees = frame(
        city,
        "SELECT tree_id, nearest_line_id, distance_to_line_m, distance_to_asset_m, geom FROM vegetation_risk_computed",
    )
    lines = frame(city, "SELECT power_line_id, geom FROM power_lines_spatial")
    equipment = frame(
        city,
        "SELECT ST_SetSRID(ST_MakePoint(longitude, latitude), 4326) AS geom FROM transformers"
        " UNION ALL SELECT geom::geometry FROM substations"
        " UNION ALL SELECT geom FROM grid_assets_cache WHERE asset_type = 'pole'",
    )
    assert len(trees) == len(sample_cities.rows("vegetation_risk"))
    for others, distances in ((lines, "distance_to_line_m"), (equipment, "distance_to_asset_m")):
        nearest = others.sindex.nearest(trees.geometry, return_all=False, return_distance=True)[1]
        assert np.allclose(nearest, trees[distances], rtol=0.005, atol=0.05)


def test_the_level_of_risk_follows_from_height_and_distance(city):
    level = (
        "CASE WHEN distance_to_line_m <= 1.3 * height_m THEN 'critical' WHEN distance_to_line_m <= 2 * height_m"
        " THEN 'warning' WHEN distance_to_line_m <= 50 THEN 'monitor' ELSE 'safe' END"
    )
    wrong = f"count(*) FILTER (WHERE risk_level <> {level} OR fall_zone_m <> 1.3 * height_m)"
    [(trees, wrong)] = city.execute(f"SELECT count(*), {wrong} FROM vegetation_risk_computed").fetchall()
    assert trees > 0
    assert wrong == 0
    assert city.execute("SELECT count(DISTINCT risk_level) FROM vegetation_risk_computed").fetchone()[0] >= 3


def test_a_service_area_holds_the_assets_of_its_circuit_and_counts_them(city):
    areas = frame(
        city, "SELECT circuit_id, asset_count, meter_count, area_sq_km, substation_id, geom FROM circuit_service_areas"
    )
    assets = frame(city, "SELECT circuit_id, asset_type, geom FROM grid_assets_cache WHERE circuit_id IS NOT NULL")
    hulls = assets.dissolve("circuit_id").convex_hull.loc[areas["circuit_id"]].reset_index(drop=True)
    assert np.allclose(areas.area, hulls.area, rtol=0.01)
    assert np.allclose(areas.area / 1e6, areas["area_sq_km"], rtol=0.01)
    assert list(areas["asset_count"]) == list(assets.groupby("circuit_id").size().loc[areas["circuit_id"]])
    meters = assets[assets["asset_type"] == "meter"].groupby("circuit_id").size()
    assert list(areas["meter_count"]) == [meters.get(name, 0) for name in areas["circuit_id"]]
    known = {row["substation_id"] for row in sample_cities.rows("substations")}
    assert set(areas["substation_id"]) <= known


def test_the_simplified_lines_are_long_ones_and_have_fewer_points(city):
    counted = "SELECT count(*), sum(ST_NPoints(geom)) FROM"
    [(every, points)] = city.execute(f"{counted} power_lines_spatial").fetchall()
    [(middle, fewer)] = city.execute(f"{counted} power_lines_lod_mid").fetchall()
    assert middle == every
    assert fewer < points
    assert city.execute("SELECT count(*) FROM power_lines_lod_overview WHERE length_meters <= 1000").fetchone() == (0,)
