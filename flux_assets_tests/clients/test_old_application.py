"""The old application's queries on the sample city: the role of map applications, and answers that are computed apart.

What is near is computed in a projection from the point that keeps distances, by shapely; what is in a frame from
the release's files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import psycopg
import pytest
import shapely
from pyproj import Transformer

from flux_assets.layers.context import LoadOptions
from flux_assets.layers.load import load_layer
from flux_assets.layers.views import make_view
from flux_assets.postgis.session import Target
from flux_assets.release.release import Release
from flux_assets.sync.result import SyncOptions
from flux_assets.sync.setup import set_up_tables
from flux_assets.tables import catalogue, declarations, dynamic_tables, static_tables, views
from flux_assets_tests import sample_cities
from flux_assets_tests.clients.old_queries import FRAMES, LISTS, PATH, RADII, WHERE
from flux_assets_tests.conftest import PREPARED, fresh_database

OUTAGES = """
INSERT INTO outage_restoration_tracker (outage_id, circuit_id, status, customers_affected, cause_category, start_time)
SELECT 'O' || n, (SELECT min(circuit_id) FROM circuit_service_areas),
       (ARRAY['ACTIVE', 'ASSIGNED', 'RESTORED'])[n], n, 'ANIMAL', '2026-01-01' FROM generate_series(1, 3) AS n"""
ORDERS = """
INSERT INTO work_orders (work_order_id, work_order_type, scheduled_start, cost_usd)
VALUES ('W1', 'INSPECTION', '2026-01-01', 5), ('W2', 'REPAIR', '2026-01-02', NULL)"""
# By query the layer in whose file the answer is, and its key.
IN_FRAME = {
    "buildings": ("building_footprints", "building_id"),
    "power lines": ("grid_power_lines", "line_id"),
    "trees": ("vegetation_risk", "tree_id"),
    "assets": ("grid_assets_cache", "asset_id"),
    "meters": ("meter_locations_enhanced", "meter_id"),
    "water": ("osm_water", "id"),
}
NEAR = {
    "buildings near": ("building_footprints", "building_id"),
    "customers near": ("customers_spatial", "customer_id"),
    "meters near": ("meter_locations_enhanced", "meter_id"),
    "trees near": ("vegetation_risk", "tree_id"),
    "power lines near": ("grid_power_lines", "line_id"),
}


@pytest.fixture(scope="module")
def application(cluster) -> Iterator[psycopg.Connection]:
    """A session as the old application has one, in a database with the whole city and a few outages."""
    with fresh_database(cluster, PREPARED) as database:
        target, folder = Target(conninfo=cluster.conninfo(database)), sample_cities.folder()
        target = replace(target, declared=declarations())
        release = Release(str(folder), "city", folder / ".cache")
        for table in (*static_tables(), *catalogue().computed):
            load_layer(table, release, target, LoadOptions(), lambda _: None)
        for view in views():
            make_view(view, target, LoadOptions(), lambda _: None)
        set_up_tables(dynamic_tables(), target, SyncOptions(), lambda _: None)
        with psycopg.connect(target.conninfo, autocommit=True) as session:
            session.execute(OUTAGES)
            session.execute(ORDERS)
            session.execute("SET ROLE flux_reader")
            session.execute(f"SET search_path = {PATH}")
            yield session


def answer(application: psycopg.Connection, query: str) -> list[tuple]:
    return application.execute(query, WHERE).fetchall()


def in_frame(layer: str, key: str, wider: float = 0) -> set[str]:
    """The rows of the release whose rectangle meets the frame's, or one that is wider by so many degrees."""
    frame = [WHERE[side] for side in ("west", "south", "east", "north")]
    met = shapely.intersects(
        shapely.envelope(sample_cities.geometries(layer)), shapely.box(*frame).buffer(wider, join_style="mitre")
    )
    return {str(name) for name in np.array(sample_cities.column(layer, key))[met]}


def near(layer: str, key: str) -> list[tuple[str, float]]:
    """The rows within reach, the nearest first, with their distance in metres."""
    here = f"+proj=aeqd +lon_0={WHERE['longitude']} +lat_0={WHERE['latitude']} +datum=WGS84"
    flat = Transformer.from_crs(4326, here, always_xy=True)
    shapes = shapely.transform(sample_cities.geometries(layer), lambda xy: np.column_stack(flat.transform(*xy.T)))
    metres = shapely.distance(shapes, shapely.Point(0, 0))
    names = np.array(sample_cities.column(layer, key))
    return [(names[place], metres[place]) for place in np.argsort(metres) if metres[place] <= WHERE["metres"]]


@pytest.mark.parametrize("name", IN_FRAME)
def test_a_frame_has_all_that_is_in_it(application, name):
    rows = answer(application, FRAMES[name])
    found = {str(row[0]) for row in rows}
    assert len(found) == len(rows) > 0
    # PostGIS keeps rectangles in single precision, rounded outwards: of what is beside the frame some is in it.
    assert in_frame(*IN_FRAME[name]) <= found <= in_frame(*IN_FRAME[name], wider=1e-4)


@pytest.mark.parametrize("name", NEAR)
def test_what_is_near_is_the_nearest(application, name):
    found = answer(application, RADII[name])
    expected = near(*NEAR[name])[:100]
    assert len(found) == len(expected)
    assert np.allclose([row[1] for row in found], [metres for _, metres in expected], rtol=1e-3, atol=0.01)
    assert {row[0] for row in found[:-1]} <= {key for key, _ in near(*NEAR[name])}


def test_lines_farther_away_are_those_of_the_frame(application):
    found = {row[0] for row in answer(application, FRAMES["power lines, farther away"])}
    assert set() < found <= in_frame("grid_power_lines", "line_id", wider=1e-4)


def test_service_areas_of_the_frame(application):
    every = application.execute("SELECT circuit_id, min_lon, min_lat, max_lon, max_lat FROM circuit_service_areas")
    expected = {
        circuit for circuit, west, south, east, north in every
        if west <= WHERE["east"] and east >= WHERE["west"] and south <= WHERE["north"] and north >= WHERE["south"]
    }  # fmt: skip
    assert {row[0] for row in answer(application, FRAMES["service areas"])} == expected != set()


def test_outages_and_orders_under_their_old_names(application):
    assert [row[:5] for row in answer(application, FRAMES["open outages"])] == [
        ("O2", *_circuit(application), "ASSIGNED", 2, "ANIMAL"), ("O1", *_circuit(application), "ACTIVE", 1, "ANIMAL"),
    ]  # fmt: skip
    assert [row[:2] for row in answer(application, LISTS["work orders"])] == [("W2", "REPAIR"), ("W1", "INSPECTION")]
    [(circuit, _, outages)] = answer(application, LISTS["circuits and their outages"])
    assert ((circuit,), outages) == (_circuit(application), 2)


def _circuit(application) -> tuple[str]:
    return application.execute("SELECT min(circuit_id) FROM circuit_service_areas").fetchone()


def test_lists_and_figures(application):
    trees = application.execute("SELECT risk_level, nearest_line_id FROM vegetation_risk_computed").fetchall()
    assert dict(answer(application, LISTS["trees by risk"])) == Counter(level for level, _ in trees)
    critical = Counter(line for level, line in trees if level == "critical")
    expected = sorted(critical.items(), key=lambda line: (-line[1], line[0]))[:20]
    assert [(line, count) for line, _, count in answer(application, LISTS["lines at risk"])] == expected
    scores = sorted(float(score) for score in sample_cities.column("grid_assets_cache", "health_score") if score)
    found = [row[2] for row in answer(application, LISTS["worst assets"])]
    assert found == [score for score in scores if score < 50][:100]
    circuits = answer(application, LISTS["circuits"])
    assert len(circuits) == min(50, application.execute("SELECT count(*) FROM circuit_metadata").fetchone()[0])
    assert all(None not in row for row in circuits)


@pytest.mark.parametrize("name", sorted({*FRAMES, *RADII} - {"open outages"}))
def test_what_is_in_a_frame_or_near_is_found_by_an_index(application, name):
    """However large the tables are, none of them is read whole."""
    application.execute("SET enable_seqscan = off")
    try:
        plan = "\n".join(line for (line,) in answer(application, f"EXPLAIN {(FRAMES | RADII)[name]}"))
    finally:
        application.execute("RESET enable_seqscan")
    assert "Index Cond" in plan, plan
