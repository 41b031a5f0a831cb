"""Arcs: made straight as FLUX_CONFIG says, kept where the column takes them, and refused in words otherwise."""

from __future__ import annotations

import sqlite3
import struct
from dataclasses import replace
from pathlib import Path

import pytest
import shapely

from flux_assets.errors import RecordError
from flux_assets.release.decode.sieve import Quarantine
from flux_assets.release.formats.curves import straightened
from flux_assets.release.formats.mapping import LayerMapping
from flux_assets.spec.facts import Drawable
from flux_assets_tests.conftest import Sql
from flux_assets_tests.release.formats.made_files import frame, read, shapes, towers, with_wkb, written

LINEARISE = LayerMapping(curves="linearise")
RING = "CIRCULARSTRING (0 0, 1 1, 2 0, 1 -1, 0 0)"
CURVED = {
    "an arc": "CIRCULARSTRING (0 0, 1 0.5, 2 0)",
    "two arcs": "CIRCULARSTRING (0 0, 1 0.5, 2 0, 3 -0.5, 4 0)",
    "a circle": "CIRCULARSTRING (0 0, 2 0, 0 0)",
    "a line that says it is an arc": "CIRCULARSTRING (0 0, 1 0, 2 0)",
    "lines and arcs": "COMPOUNDCURVE (CIRCULARSTRING (0 0, 1 0.5, 2 0), (2 0, 3 0))",
    "a polygon": f"CURVEPOLYGON ({RING})",
    "a polygon of lines and arcs": "CURVEPOLYGON (COMPOUNDCURVE (CIRCULARSTRING (0 0, 1 1, 2 0), (2 0, 0 0)))",
    "a polygon with a hole": f"CURVEPOLYGON ((-9 -9, 9 -9, 9 9, -9 9, -9 -9), {RING})",
    "several lines": "MULTICURVE ((0 0, 5 5), CIRCULARSTRING (4 0, 4 4, 8 4))",
    "several polygons": f"MULTISURFACE (CURVEPOLYGON ({RING}), ((10 10, 14 12, 11 10, 10 10)))",
    "a collection": f"GEOMETRYCOLLECTION (POINT (1 2), CURVEPOLYGON ({RING}))",
    "heights": "CIRCULARSTRING Z (0 0 1, 1 0.5 3, 2 0 5)",
}


def wkb(sql: Sql, wkt: str, order: str = "NDR") -> bytes:
    """As PostGIS writes it."""
    ((found,),) = sql("SELECT ST_AsBinary(ST_GeomFromEWKT(%s), %s)", wkt, order)
    return bytes(found)


@pytest.mark.parametrize("order", ["NDR", "XDR"])
@pytest.mark.parametrize("name", CURVED)
def test_lines_are_where_the_arcs_are(sql: Sql, name: str, order: str) -> None:
    straight = straightened(wkb(sql, CURVED[name], order))
    question = """
        WITH given AS (SELECT ST_GeomFromEWKT(%s) AS curve, ST_GeomFromWKB(%s) AS lines)
        SELECT ST_HasArc(lines), ST_HausdorffDistance(lines, ST_CurveToLine(curve, 256)),
            abs(ST_Area(lines) - ST_Area(ST_CurveToLine(curve, 256))), ST_Zmflag(lines) = ST_Zmflag(curve)
        FROM given"""
    ((has_arc, distance, area, same_axes),) = sql(question, CURVED[name], straight)
    assert (has_arc, same_axes) == (False, True)
    assert distance < 0.002
    assert area < 0.01


def test_control_points_stay_and_heights_grow_evenly(sql: Sql) -> None:
    line = shapely.from_wkb(straightened(wkb(sql, CURVED["heights"])))
    points = shapely.get_coordinates(line, include_z=True).tolist()
    assert [point for point in points if point in ([0, 0, 1], [1, 0.5, 3], [2, 0, 5])] == [
        points[0],
        points[len(points) // 2],
        points[-1],
    ]
    assert [point[2] for point in points] == sorted(point[2] for point in points)


def test_neighbours_that_share_an_arc_have_the_same_points(sql: Sql) -> None:
    there = shapely.from_wkb(straightened(wkb(sql, "CIRCULARSTRING (0.1 0.2, 1.3 0.7, 2.9 0.1)")))
    back = shapely.from_wkb(straightened(wkb(sql, "CIRCULARSTRING (2.9 0.1, 1.3 0.7, 0.1 0.2)")))
    assert shapely.get_coordinates(there).tolist() == shapely.get_coordinates(back).tolist()[::-1]


@pytest.mark.parametrize("damage", ["cut", "odd", "deep"])
def test_what_is_no_curve_stays_as_it_is(sql: Sql, damage: str) -> None:
    whole = wkb(sql, CURVED["an arc"])
    deep = struct.pack("<BII", 1, 7, 1) * 2000 + whole
    odd = whole[:5] + struct.pack("<I", 2) + whole[9:41]
    assert straightened({"cut": whole[:-1], "odd": odd, "deep": deep}[damage]) is None
    assert straightened(shapely.to_wkb(shapely.box(0, 0, 1, 1))) is None


@pytest.mark.parametrize("kind", ["POLYGON", "MULTIPOLYGON", "GEOMETRY"])
def test_curves_of_a_file_are_lines_where_that_is_declared(sql: Sql, tmp_path: Path, kind: str) -> None:
    box = shapely.to_wkb(shapely.box(0, 0, 1, 1))
    path = with_wkb(tmp_path, [box, wkb(sql, CURVED["a polygon"]), None, box, box])
    found = shapes(read(path, towers(kind), LINEARISE))
    assert found[1].startswith({"MULTIPOLYGON": "MULTIPOLYGON ("}.get(kind, "POLYGON ("))
    assert shapely.from_wkt(found[1]).area == pytest.approx(3.14, abs=0.01)
    if kind == "GEOMETRY":  # in degrees, arcs lose nothing
        drawing = replace(towers(kind), drawable=Drawable(others="report"))
        assert read(path, drawing)["geom"][1].as_py()[1] == 10
    with pytest.raises(RecordError, match=r"record 2, column geom: it is a CURVEPOLYGON, .* curves = \"linearise\""):
        read(path, towers(kind))
    sieve = Quarantine(1)
    assert read(path, towers(kind), sieve=sieve).num_rows == 4
    assert [(record.record, error.place.column) for record, error in sieve.taken()] == [(2, "geom")]


def test_arcs_are_made_straight_before_their_coordinates_change(sql: Sql, tmp_path: Path) -> None:
    circle = wkb(sql, "CURVEPOLYGON (CIRCULARSTRING (1000000 6000000, 1002000 6000000, 1000000 6000000))")
    path = with_wkb(tmp_path, [circle] * 5)
    mercator = LayerMapping(crs="EPSG:3857", curves="linearise")
    west, south, east, north = shapely.bounds(shapely.from_wkt(shapes(read(path, towers("GEOMETRY"), mercator))[0]))
    assert (west, east) == pytest.approx((8.98315284, 9.00111914))
    assert north - south == pytest.approx(0.01217, abs=0.00001)
    drawing = replace(towers("GEOMETRY"), drawable=Drawable(others="report"))
    with pytest.raises(RecordError, match="it is a CURVEPOLYGON, which may have arcs"):
        read(path, drawing, LayerMapping(crs="EPSG:3857"))


def test_curves_of_a_geopackage(sql: Sql, tmp_path: Path) -> None:
    path = written(tmp_path, ".gpkg", frame(geometry=[shapely.box(0, 0, 1, 1)] * 5), SPATIAL_INDEX="NO")
    with sqlite3.connect(path) as file:
        blob = b"GP\0\1" + struct.pack("<i", 4326) + wkb(sql, CURVED["a polygon"])
        file.execute("UPDATE towers SET geom = ? WHERE id = 'T0003'", [blob])
        file.execute("UPDATE gpkg_geometry_columns SET geometry_type_name = 'GEOMETRY'")
    with pytest.raises(RecordError, match=r"towers\.gpkg, record 4, column geom: it is a CURVEPOLYGON"):
        read(path, towers("POLYGON"))
    assert shapely.from_wkt(shapes(read(path, towers("POLYGON"), LINEARISE))[3]).area == pytest.approx(3.14, abs=0.01)
