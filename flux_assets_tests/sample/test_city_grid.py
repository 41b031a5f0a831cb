"""The grid of the sample city: all hangs on what exists, caches agree, figures follow from geometry."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import shapely
from pyproj import Geod, Transformer

from flux_assets.spec import StaticTable
from flux_assets.spec.facts import Reference
from flux_assets_tests.sample_cities import Row, city_tables, column, geometries, numbers, rows

EARTH = Geod(ellps="WGS84")
TO_UTM = Transformer.from_crs(4326, 32615, always_xy=True)

REFERENCES = [(table, reference) for table in city_tables() for reference in table.references]
TWINS = [table for table in city_tables() if any(position.same_as for position in table.positions)]


def by(layer: str, key: str) -> dict[str, Row]:
    return {row[key]: row for row in rows(layer)}


def places(layer: str, longitude: str = "longitude", latitude: str = "latitude") -> np.ndarray:
    return np.column_stack([numbers(layer, longitude), numbers(layer, latitude)])


def metres(degrees: np.ndarray) -> np.ndarray:
    """UTM, true to 0.1 % here; what the city itself computes with is another projection."""
    return np.column_stack(TO_UTM.transform(*degrees.T))


def cached(kind: str) -> list[Row]:
    return [row for row in rows("grid_assets_cache") if row["asset_type"] == kind]


@pytest.mark.parametrize(("table", "reference"), REFERENCES, ids=lambda value: getattr(value, "column", None))
def test_references_resolve(table: StaticTable, reference: Reference) -> None:
    known = set(column(reference.to_table, reference.to_column))
    assert set(column(table.name, reference.column)) <= known


@pytest.mark.parametrize("table", city_tables(), ids=lambda table: table.name)
def test_keys_are_unique_and_present(table: StaticTable) -> None:
    for key in (table.key, *table.unique_keys):
        values = [tuple(row[name] for name in key) for row in rows(table.name)]
        assert not key or len(set(values)) == len(values)
        assert all(all(value) for value in values)


@pytest.mark.parametrize("table", TWINS, ids=lambda table: table.name)
def test_points_agree_with_their_columns(table: StaticTable) -> None:
    assert (shapely.get_coordinates(geometries(table.name)) == places(table.name)).all()


def test_circuits_are_the_same_wherever_they_are_named() -> None:
    lines = {row["circuit_id"]: row["substation_id"] for row in rows("grid_power_lines")}
    assert len(lines) > 4
    assert {row["feeder_id"]: row["substation_id"] for row in rows("transformers")}.items() <= lines.items()
    transformers = by("transformers", "transformer_id")
    for meter in rows("meter_locations_enhanced"):
        assert meter["circuit_id"] == transformers[meter["transformer_id"]]["feeder_id"]


def test_every_substation_feeds_circuits_and_each_line_one_circuit() -> None:
    assert set(column("grid_power_lines", "substation_id")) == set(column("substations", "substation_id"))
    pairs = {(row["circuit_id"], row["substation_id"]) for row in rows("grid_power_lines")}
    assert len(pairs) == len({circuit for circuit, _ in pairs})


def test_a_line_of_each_circuit_begins_at_its_substation() -> None:
    stations = by("substations", "substation_id")
    started = set()
    for row, shape in zip(rows("grid_power_lines"), geometries("grid_power_lines"), strict=True):
        station = stations[row["substation_id"]]
        if shape.coords[0] == (float(station["longitude"]), float(station["latitude"])):
            started.add(row["circuit_id"])
    assert started == set(column("grid_power_lines", "circuit_id"))


def test_every_other_line_begins_on_a_line_of_its_circuit() -> None:
    shapes = shapely.transform(geometries("grid_power_lines"), metres)
    circuits = np.array(column("grid_power_lines", "circuit_id"))
    stations = shapely.union_all(shapely.points(metres(places("substations"))))
    starts = shapely.get_point(shapes, 0)
    for number in np.flatnonzero(shapely.distance(starts, stations) > 1):
        others = shapes[(circuits == circuits[number]) & (np.arange(len(shapes)) != number)]
        # A trunk's points are some way apart, so that it leaves the other line's chord by a little.
        assert shapely.distance(starts[number], others).min() < 3


def test_lengths_and_centroids_of_lines() -> None:
    lengths = [EARTH.geometry_length(shape) for shape in geometries("grid_power_lines")]
    assert numbers("grid_power_lines", "line_length_m") == pytest.approx(np.array(lengths), rel=1e-4, abs=0.02)
    middles = shapely.points(metres(places("grid_power_lines", "centroid_lon", "centroid_lat")))
    shapes = shapely.transform(geometries("grid_power_lines"), metres)
    assert shapely.distance(middles, shapes).max() < 0.05


def test_counts_on_lines_are_those_of_the_assets() -> None:
    transformers, meters = (
        Counter(column("transformers", "feeder_id")),
        Counter(column("meter_locations_enhanced", "circuit_id")),
    )
    on_lines, served = Counter(), Counter()
    for row in rows("grid_power_lines"):
        on_lines[row["circuit_id"]] += int(row["transformer_count"])
        served[row["circuit_id"]] += int(row["meters_served"])
    assert +on_lines == transformers
    assert +served == meters


def test_transformers_hang_on_lines_and_meters_near_them() -> None:
    lines: dict[str, list] = {}
    shapes = shapely.transform(geometries("grid_power_lines"), metres)
    for circuit, shape in zip(column("grid_power_lines", "circuit_id"), shapes, strict=True):
        lines.setdefault(circuit, []).append(shape)
    network = {circuit: shapely.union_all(shapes) for circuit, shapes in lines.items()}
    spots = shapely.points(metres(places("transformers")))
    on = np.array([network[circuit] for circuit in column("transformers", "feeder_id")])
    assert shapely.distance(spots, on).max() < 1.5
    at = dict(zip(column("transformers", "transformer_id"), spots, strict=True))
    hanging = np.array([at[name] for name in column("meter_locations_enhanced", "transformer_id")])
    meters = shapely.points(metres(places("meter_locations_enhanced")))
    assert shapely.distance(meters, hanging).max() < 32


def test_ages_follow_install_years() -> None:
    together = numbers("transformers", "install_year") + numbers("transformers", "age_years")
    assert len(set(together)) == 1


def test_customers_are_at_their_meters() -> None:
    meters = by("meter_locations_enhanced", "meter_id")
    for row in rows("customers_spatial"):
        meter = meters[row["meter_id"]]
        assert [row[name] for name in ("transformer_id", "latitude", "longitude", "city", "county", "geom")] == [
            meter[name] for name in ("transformer_id", "latitude", "longitude", "city", "county_name", "geom")
        ]


PLACE = {"latitude": "latitude", "longitude": "longitude"}
CACHED = {
    "substation": (
        "substations",
        "substation_id",
        PLACE
        | {"asset_name": "substation_name", "capacity_mva": "capacity_mva", "voltage": "voltage_level", "geom": "geom"},
    ),
    "transformer": (
        "transformers",
        "transformer_id",
        PLACE | {"circuit_id": "feeder_id", "health_score": "health_score", "city": "location_area"},
    ),
    "meter": (
        "meter_locations_enhanced",
        "meter_id",
        PLACE
        | {
            "circuit_id": "circuit_id",
            "city": "city",
            "zip_code": "zip_code",
            "county_name": "county_name",
            "geom": "geom",
        },
    ),
}


@pytest.mark.parametrize("kind", CACHED)
def test_the_cache_agrees_with_the_table_it_caches(kind: str) -> None:
    layer, key, same = CACHED[kind]
    source = by(layer, key)
    assets = cached(kind)
    assert {row["asset_id"] for row in assets} == source.keys()
    assert len(assets) == len(source)
    for row in assets:
        assert {name: row[name] for name in same} == {name: source[row["asset_id"]][of] for name, of in same.items()}


def test_the_cache_agrees_with_customers_and_counts() -> None:
    customers = by("customers_spatial", "meter_id")
    for row in cached("meter"):
        customer = customers[row["asset_id"]]
        assert row["customer_name"] == customer["full_name"]
        assert row["customer_segment"] == customer["customer_segment"]
        assert row["service_address"] == customer["service_address"]
    on = Counter(column("customers_spatial", "transformer_id"))
    assert {row["asset_id"]: int(row["connected_customers"]) for row in cached("transformer")} == {
        name: on[name] for name in column("transformers", "transformer_id")
    }
    circuits = Counter({(row["substation_id"], row["circuit_id"]) for row in rows("grid_power_lines")})
    served = Counter(substation for substation, _ in circuits)
    assert {row["asset_id"]: int(row["circuits_served"]) for row in cached("substation")} == served


def test_the_cache_names_the_substation_that_feeds() -> None:
    names = {row["substation_id"]: row["substation_name"] for row in rows("substations")}
    fed = {row["circuit_id"]: names[row["substation_id"]] for row in rows("grid_power_lines")}
    for row in rows("grid_assets_cache"):
        wanted = row["asset_name"] if row["asset_type"] == "substation" else fed[row["circuit_id"]]
        assert row["substation_name"] == wanted


def test_the_rest_of_the_cache_are_poles_on_lines() -> None:
    kinds = Counter(column("grid_assets_cache", "asset_type"))
    assert set(kinds) == {"substation", "transformer", "meter", "pole"}
    assert kinds["pole"] > kinds["transformer"]
    network = shapely.union_all(shapely.transform(geometries("grid_power_lines"), metres))
    spots = np.array([(float(row["longitude"]), float(row["latitude"])) for row in cached("pole")])
    assert shapely.distance(shapely.points(metres(spots)), network).max() < 0.05


def test_edges_join_assets_where_they_stand() -> None:
    assets = by("grid_assets_cache", "asset_id")
    for row in rows("topology_connections_cache"):
        for end in ("from", "to"):
            asset = assets[row[f"{end}_asset_id"]]
            assert (row[f"{end}_latitude"], row[f"{end}_longitude"]) == (asset["latitude"], asset["longitude"])
            assert asset["circuit_id"] in {"", row[f"{end}_circuit_id"]}
        assert row["connection_type"] == "_TO_".join(
            assets[row[f"{end}_asset_id"]]["asset_type"].upper() for end in ("from", "to")
        )


def test_edges_are_trees_from_the_substations() -> None:
    """Every asset has one feeder at most, and the way up from any of them ends at its circuit's substation."""
    feeder = {row["to_asset_id"]: row["from_asset_id"] for row in rows("topology_connections_cache")}
    assert len(feeder) == len(rows("topology_connections_cache"))
    substation = {row["circuit_id"]: row["substation_id"] for row in rows("grid_power_lines")}
    above: dict[str, str] = {}
    for row in rows("topology_connections_cache"):
        way = [row["to_asset_id"]]
        while way[-1] in feeder and way[-1] not in above:
            way.append(feeder[way[-1]])
            assert len(way) <= len(feeder)
        above |= dict.fromkeys(way, above.get(way[-1], way[-1]))
        assert above[row["to_asset_id"]] == substation[row["to_circuit_id"]]
    assert {name for name in feeder if name.startswith("XFMR")} == set(column("transformers", "transformer_id"))


def test_trees_know_their_nearest_line_and_the_distance() -> None:
    lines = shapely.transform(geometries("grid_power_lines"), metres)
    trees = shapely.points(metres(places("vegetation_risk")))
    distances = shapely.distance(trees[:, None], lines[None, :])
    number = {name: index for index, name in enumerate(column("grid_power_lines", "line_id"))}
    named = [number[name] for name in column("vegetation_risk", "nearest_line_id")]
    stated = distances[np.arange(len(trees)), named]
    assert (stated - distances.min(axis=1)).max() < 0.02
    assert numbers("vegetation_risk", "distance_to_line_m") == pytest.approx(stated, rel=2e-3, abs=0.02)
    assert stated.max() < 35


def test_risks_follow_from_geometry_height_and_voltage() -> None:
    """Recomputed from the published columns alone."""
    lines = by("grid_power_lines", "line_id")
    nearest = [lines[name] for name in column("vegetation_risk", "nearest_line_id")]
    kilovolts = np.array([float(line["voltage_class"].removesuffix("kV")) for line in nearest])
    assert (numbers("vegetation_risk", "nearest_line_voltage_kv") == kilovolts).all()
    conductor = np.array([9.0 if line["line_type"] == "LATERAL" else 11.5 for line in nearest])
    required = np.select([kilovolts < 5, kilovolts < 15], [2.5, 3.0], 4.5)
    height, crown = numbers("vegetation_risk", "height_m"), numbers("vegetation_risk", "canopy_radius_m")
    aside = np.maximum(numbers("vegetation_risk", "distance_to_line_m") - crown, 0)
    gap = np.hypot(aside, np.maximum(conductor - height, 0))
    deficit, years = (
        numbers("vegetation_risk", "clearance_deficit_m"),
        numbers("vegetation_risk", "years_to_encroachment"),
    )
    assert deficit == pytest.approx(np.maximum(required - gap, 0), abs=0.011)
    assert (years[deficit > 0.01] == 0).all()
    assert (years[gap > required + 1] > 0).all()
    score = numbers("vegetation_risk", "risk_score")
    assert 0 <= score.min() < score.max() <= 1
    assert score[deficit > 2].min() > score[gap > required + 4].mean()


def test_risk_levels_are_bands_of_the_score() -> None:
    score, level = numbers("vegetation_risk", "risk_score"), np.array(column("vegetation_risk", "risk_level"))
    bands = [score[level == name] for name in ("safe", "monitor", "warning", "critical")]
    assert all(len(band) for band in bands)
    assert all(lower.max() < higher.min() for lower, higher in pairwise(bands))


def test_declared_ranges_hold() -> None:
    for table in city_tables():
        for bounds in table.ranges:
            values = numbers(table.name, bounds.column)
            assert np.nanmin(values) >= bounds.minimum
            assert np.nanmax(values) <= bounds.maximum
