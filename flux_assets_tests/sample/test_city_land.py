"""Buildings and water of the sample city: valid shapes that keep off each other and make a city."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import shapely
from pyproj import Geod

from flux_assets.sample.city import csv_text
from flux_assets_tests.sample_cities import column, geometries, numbers, rows

EARTH = Geod(ellps="WGS84")
HEADS = {
    "building_footprints": {"0103000020E6100000"},
    "osm_water": {"0103000020E6100000", "0106000020E6100000"},
    "grid_power_lines": {"0102000020E6100000"},
    "vegetation_risk": {"0101000020E6100000"},
    "substations": {"0101000020E6100000"},
    "customers_spatial": {"0101000020E6100000"},
    "meter_locations_enhanced": {"0101000020E6100000"},
    "grid_assets_cache": {"0101000020E6100000"},
}


def shared_area(shapes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The share of its own area that each of `shapes` loses to the others at its place."""
    first, second = shapely.STRtree(others).query(shapes, predicate="intersects")
    keep = shapes[first] != others[second]
    lost = shapely.area(shapely.intersection(shapes[first[keep]], others[second[keep]]))
    return lost / shapely.area(shapes[first[keep]])


@pytest.mark.parametrize("layer", HEADS)
def test_geometry_is_upper_case_ewkb_in_4326_and_valid(layer: str) -> None:
    texts = column(layer, "geom")
    assert {text[:18] for text in texts} == HEADS[layer]
    assert not [text for text in texts if text != text.upper()]
    assert shapely.is_valid(geometries(layer)).all()
    assert set(shapely.get_srid(geometries(layer))) == {4326}
    west, south, east, north = shapely.total_bounds(geometries(layer))
    assert -96 < west < east < -94.9
    assert 29.4 < south < north < 30.2


def test_buildings_have_all_outlines() -> None:
    """Rectangles, L and U shapes, and courtyards as holes, in shares that look like a city."""
    corners = shapely.get_num_points(shapely.get_exterior_ring(geometries("building_footprints"))) - 1
    courts = shapely.get_num_interior_rings(geometries("building_footprints")) == 1
    assert set(corners[~courts]) == {4, 6, 8}
    assert 0.45 < (corners[~courts] == 4).mean() < 0.8
    assert (corners == 6).mean() > 0.1
    assert (corners == 8).mean() > 0.02
    assert 0.002 < courts.mean() < 0.1
    assert set(corners[courts]) == {4}


def test_rings_run_as_they_should() -> None:
    shapes = geometries("building_footprints")
    assert shapely.is_ccw(shapely.get_exterior_ring(shapes)).all()
    holes = shapely.get_interior_ring(shapes[shapely.get_num_interior_rings(shapes) > 0], 0)
    assert not shapely.is_ccw(holes).any()


def test_buildings_have_sizes_of_buildings() -> None:
    shapes = geometries("building_footprints")[:3000]
    areas = np.array([abs(EARTH.geometry_area_perimeter(shape)[0]) for shape in shapes])
    assert areas.min() > 10
    assert areas.max() < 15_000
    floors, heights = numbers("building_footprints", "num_floors"), numbers("building_footprints", "height_meters")
    known = ~np.isnan(floors)
    assert 0.9 < known.mean() < 1
    assert (heights[known] > 2.4 * floors[known]).all()
    assert floors[known].max() >= 15


def test_buildings_do_not_overlap() -> None:
    shapes = geometries("building_footprints")
    assert (shared_area(shapes, shapes) > 0.05).sum() == 0


def test_buildings_keep_out_of_the_water() -> None:
    assert (shared_area(geometries("building_footprints"), geometries("osm_water")) > 0.1).sum() == 0


def test_waters_do_not_overlap() -> None:
    shapes = geometries("osm_water")
    assert (shared_area(shapes, shapes) > 0.05).sum() == 0


def test_the_centre_is_denser_and_higher() -> None:
    places = shapely.get_coordinates(shapely.centroid(geometries("building_footprints")))
    away = np.hypot((places[:, 0] + 95.39) * 96_600, (places[:, 1] - 29.76) * 110_850)
    heights = numbers("building_footprints", "height_meters")
    reach = away.max()
    inner, outer = away < 0.35 * reach, away > 0.6 * reach
    assert inner.sum() / 0.35**2 > 1.5 * outer.sum() / (1 - 0.6**2)
    assert np.percentile(heights[away < 900], 98) > 3 * np.percentile(heights[outer], 98)
    assert away[heights.argmax()] < 2000


def test_names_are_as_awkward_as_real_ones() -> None:
    names = [name for name in column("building_footprints", "building_name") if name]
    assert 0.002 < len(names) / len(rows("building_footprints")) < 0.1
    for mark in (",", '"', "'"):
        assert [name for name in names if mark in name], mark
    assert [name for name in names if not name.isascii()]


def test_waters_include_a_multipolygon_with_a_hole() -> None:
    shapes = geometries("osm_water")
    several = shapes[shapely.get_type_id(shapes) == shapely.GeometryType.MULTIPOLYGON]
    assert shapely.get_num_geometries(several).min() >= 2
    assert shapely.get_num_interior_rings(shapely.get_parts(several)).max() >= 1


def test_waters_are_of_all_kinds() -> None:
    kinds = set(column("osm_water", "water_type"))
    assert kinds == {"water", "river", "stream", "canal"}


def test_acres_are_those_of_the_geometry() -> None:
    areas = [abs(EARTH.geometry_area_perimeter(shapely.force_2d(shape))[0]) for shape in geometries("osm_water")]
    assert numbers("osm_water", "acres") == pytest.approx(np.array(areas) / 4046.8564224, rel=2e-3, abs=0.006)


def test_identifiers_of_buildings_are_stable_and_unique_and_do_not_follow_the_file() -> None:
    """As those of registers that hand out GUIDs or hashes: the next row's is as often the smaller one."""
    identifiers = column("building_footprints", "building_id")
    assert identifiers[:3] == ["BLDG-514E28B7", "BLDG-30F4C306", "BLDG-85F0B427"]
    assert len(set(identifiers)) == len(identifiers)
    assert {len(text) for text in identifiers} == {13}
    rising = sum(first < second for first, second in pairwise(identifiers))
    assert 0.45 < rising / len(identifiers) < 0.55


@pytest.mark.parametrize("first", [1, 65_530, 2_670_000])
def test_scattered_identifiers_are_those_of_their_numbers_wherever_a_chunk_begins(first: int) -> None:
    numbered = range(first, first + 20)
    whole = csv_text.scattered_identifiers("B", numbered)
    parts = [csv_text.scattered_identifiers("B", range(number, number + 1)) for number in numbered]
    assert whole == [text for part in parts for text in part]
    assert len(set(whole)) == 20


def test_identifiers_of_waters_are_unique_and_large() -> None:
    identifiers = [int(text) for text in column("osm_water", "osm_id")]
    assert len(set(identifiers)) == len(identifiers)
    assert min(identifiers) > 2**31
    assert column("osm_water", "id") == [str(number) for number in range(1, len(identifiers) + 1)]
