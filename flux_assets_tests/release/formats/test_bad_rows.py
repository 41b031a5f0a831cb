"""Rows with something wrong go the way of those of gzip CSV: named with their place, and set aside where allowed."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path

import pytest
import shapely

from flux_assets.errors import QuarantineError, RecordError
from flux_assets.postgis.session import Target
from flux_assets.release.decode.sieve import Quarantine
from flux_assets.release.formats.mapping import LayerMapping
from flux_assets_tests.conftest import Sql
from flux_assets_tests.made_layers import Loader, ReleaseFolder
from flux_assets_tests.release.formats.made_files import TOWERS, frame, read, towers, with_wkb, written
from flux_assets_tests.release.formats.test_plain_csv import valves

BOX = shapely.to_wkb(shapely.box(0, 0, 1, 1))
OPEN = BOX[:-16] + struct.pack("<dd", 0.5, 0.5)
NAN = BOX[:29] + struct.pack("<d", float("nan")) + BOX[37:]
BAD_WKB = {
    "an open ring": (OPEN, "it has a ring that is not closed"),
    "NaN": (NAN, "it has a coordinate that is NaN|not finite"),
    "another kind": (shapely.to_wkb(shapely.Point(1, 2)), "it is a POINT, the column takes POLYGON"),
    "cut": (BOX[:-3], "its EWKB is truncated"),
    "nothing": (b"", "it is an empty string, not a geometry"),
    "no WKB": (b"POLYGON((0 0,1 1,1 0,0 0))", "it is not EWKB"),
    "a height": (
        shapely.to_wkb(shapely.Polygon([(0, 0, 1), (1, 1, 1), (1, 0, 1), (0, 0, 1)])),
        "it has a Z coordinate",
    ),
    "NULL": (None, "it is NULL, which the column does not allow"),
    "far away": (shapely.to_wkb(shapely.box(0, 0, 1000, 1)), "out of range for degrees"),
}


@pytest.mark.parametrize("crs", [None, "EPSG:2278"])
@pytest.mark.parametrize("fault", BAD_WKB)
def test_bad_geometry_is_named_and_set_aside(tmp_path: Path, fault: str, crs: str | None) -> None:
    bad, word = BAD_WKB[fault]
    path = with_wkb(tmp_path, [BOX, BOX, bad, BOX, BOX])
    mapping = LayerMapping(crs=crs)
    if (fault, crs) == ("far away", "EPSG:2278"):  # feet
        assert read(path, towers("POLYGON"), mapping).num_rows == 5
        return
    with pytest.raises(RecordError, match=word) as refused:
        read(path, towers("POLYGON", required=True), mapping)
    place = refused.value.place
    assert (place.file, place.record, place.column) == ("towers.parquet", 3, "geom")
    sieve = Quarantine(1)
    assert read(path, towers("POLYGON", required=True), mapping, sieve)["id"].to_pylist() == [
        "T0000",
        "T0001",
        "T0003",
        "T0004",
    ]
    ((record, error),) = sieve.taken()
    assert (record.record, error.place.record) == (3, 3)
    assert record.names == tuple(towers().column_names)
    with pytest.raises(QuarantineError, match="more than 1 records are refused"):
        read(with_wkb(tmp_path, [bad, BOX, bad]), towers("POLYGON", required=True), mapping, Quarantine(1))


BAD_TEXT = {
    "no WKT": ('3,4,"POLYGON((0 0,1 1"', "WKT", "it is not WKT, GeoJSON or hexadecimal"),
    "an open ring": ('3,4,"POLYGON((0 0,1 1,1 0))"', "WKT", "it is not WKT"),
    "NaN": ('3,4,"POLYGON((0 0,1 1,nan 0,0 0))"', "geom", "NaN|not finite"),
    "another kind": ("3,4,POINT(1 2)", "geom", "it is a POINT, the column takes POLYGON"),
    "no number": ('3,four,"POLYGON((0 0,1 1,1 0,0 0))"', "height", "it is not a number"),
    "too few values": ("3,4", None, "the record has 2 values, the header names 3 columns"),
    "too many values": ('3,4,"POLYGON((0 0,1 1,1 0,0 0))",5', None, "the record has 4 values"),
    "an empty line": ("", None, "the line is empty"),
    "no UTF-8": (b'3\xff,4,"POLYGON((0 0,1 1,1 0,0 0))"', "id", "it is not UTF-8"),
    "no identifier": (',4,"POLYGON((0 0,1 1,1 0,0 0))"', "id", "it is NULL"),
}


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
@pytest.mark.parametrize("fault", BAD_TEXT)
def test_bad_records_of_csv_are_named_and_set_aside(tmp_path: Path, fault: str, suffix: str) -> None:
    line, column, word = BAD_TEXT[fault]
    raw = line if isinstance(line, bytes) else line.encode()
    good = [b'%d,4,"POLYGON((0 0,1 1,1 0,0 0))"' % number for number in (1, 2, 4)]
    content = b"\n".join([b"id,height,WKT", *good[:2], raw, good[2], b""])
    path, table = tmp_path / f"valves{suffix}", valves("POLYGON")
    path.write_bytes(content if suffix == ".csv" else gzip.compress(content))
    mapping = LayerMapping.model_validate({"columns": {"geom": "WKT"}})
    with pytest.raises(RecordError, match=word) as refused:
        read(path, table, mapping)
    place = refused.value.place
    assert (place.file, place.line, place.record, place.column) == (path.name, 4, 3, column)
    sieve = Quarantine(1)
    assert read(path, table, mapping, sieve)["id"].to_pylist() == ["1", "2", "4"]
    ((record, error),) = sieve.taken()
    assert (record.record, record.line, error.place.column) == (3, 4, column)


BAD_LINES = {
    "no JSON": ("{", "geometry", "it is not WKT, GeoJSON"),
    "no feature": ('{"type": "Nothing"}', "geometry", "it is not WKT, GeoJSON"),
    "no geometry": (
        '{"type": "Feature", "properties": {"id": "T9"}, "geometry": {"type": "Point", "coordinates": 1}}',
        "geometry",
        "it is not WKT, GeoJSON",
    ),
    "another kind": (
        '{"properties": {"id": "T9"}, "type": "Feature",'
        ' "geometry": {"type": "LineString", "coordinates": [[1, 2], [3, 4]]}}',
        "geom",
        "it is a LINESTRING",
    ),
}


@pytest.mark.parametrize("fault", BAD_LINES)
def test_bad_lines_of_geojson_are_named_and_set_aside(tmp_path: Path, fault: str) -> None:
    line, column, word = BAD_LINES[fault]
    path = written(tmp_path, ".geojsonl", frame())
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], line, *lines[3:]]))
    with pytest.raises(RecordError, match=word) as refused:
        read(path)
    assert (refused.value.place.record, refused.value.place.column) == (3, column)
    sieve = Quarantine(1)
    assert read(path, sieve=sieve)["id"].to_pylist() == ["T0000", "T0001", "T0003", "T0004"]
    assert [record.record for record, _ in sieve.taken()] == [3]


@pytest.mark.parametrize("suffix", [".gpkg", ".fgb", ".geojson", ".shp.zip", ".gdb.zip"])
def test_bad_geometry_that_gdal_reads(tmp_path: Path, suffix: str) -> None:
    far = [shapely.box(0, 0, 1, 1)] * 4 + [shapely.box(0, 0, 1, 500)]
    rows = frame(geometry=far).drop(columns="seen")
    path = written(tmp_path, suffix, rows, **({"SPATIAL_INDEX": "NO"} if suffix == ".fgb" else {}))
    table = towers("MULTIPOLYGON", without="seen")
    with pytest.raises(RecordError, match=rf"towers\{suffix}, record 5, column geom, .*out of range for degrees"):
        read(path, table)
    sieve = Quarantine(1)
    assert read(path, table, sieve=sieve)["id"].to_pylist() == [f"T000{number}" for number in range(4)]
    assert len(sieve.taken()) == 1


def test_a_bad_text_can_be_corrected_and_replayed(target: Target, tmp_path: Path, sql: Sql) -> None:
    """What is in quarantine has the declared columns, and what the file had where nothing could be made of it."""
    from flux_assets.layers.context import LoadOptions
    from flux_assets.layers.replay.replay import replay

    loader = Loader(target, ReleaseFolder(tmp_path / "v1"))
    path = written(loader.source.folder, ".geojsonl", frame())
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[2]["geometry"]["coordinates"] = [1]
    path.write_text("\n".join(map(json.dumps, lines)))
    assert loader.load(TOWERS, quarantine=1).rows == 4
    ((record, column, raw),) = sql("SELECT record, column_name, raw_record FROM postgres_sync.quarantine")
    assert (record, column, raw.split(",")[0]) == (3, "geometry", "T0002")
    sql(
        "UPDATE postgres_sync.quarantine"
        " SET raw_record = regexp_replace(raw_record, '\"\\{.*$', 'SRID=4326;POINT(1 2)')"
    )
    found = replay(TOWERS, target, LoadOptions(), loader.log.append)
    assert not found.waiting, [held.reason for held in found.waiting]
    assert sql("SELECT ST_AsText(geom), label FROM towers WHERE id = 'T0002'") == [("POINT(1 2)", "Tårn 2")]
