"""Files as other tools write them: names, types, geometry, several layers; and what is refused of them, with why."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from sqlalchemy import Column, String

from flux_assets.errors import RecordError, ReleaseError
from flux_assets.release.decode.sieve import Quarantine
from flux_assets.release.formats.files import RowFile
from flux_assets.release.formats.mapping import LayerMapping
from flux_assets_tests.release.formats.made_files import FORMATS, frame, read, shapes, towers, with_wkb, written

SQUARE = shapely.box(0, 0, 1, 1)


def timeless(rows: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """The rows with NULL for the time: a Shapefile has it as a text that only a server reads."""
    return rows.drop(columns="seen").assign(seen=None)


@pytest.mark.parametrize("suffix", FORMATS)
def test_names_in_capitals_and_columns_that_tools_add(tmp_path: Path, suffix: str) -> None:
    rows = frame().drop(columns="seen").rename(columns={"id": "ID", "label": "Label"})
    rows = rows.assign(**{"Shape_Leng": 1.5, "OBJECTID": range(7, 12)} if suffix != ".gdb.zip" else {})
    table = towers(without="seen")
    assert sorted(read(written(tmp_path, suffix, rows), table)["id"].to_pylist())[4] == "T0004"


@pytest.mark.parametrize("geometry", ["SHAPE", "wkb_geometry", "geometry", "the_geom"])
def test_the_only_geometry_is_the_layers_whatever_its_name(tmp_path: Path, geometry: str) -> None:
    rows = frame().rename_geometry(geometry)
    for suffix, how in ((".parquet", {}), (".gpkg", {"GEOMETRY_NAME": geometry})):
        assert shapes(read(written(tmp_path, suffix, rows, **how)))[0] == "POINT (10 50)"


def test_columns_missing_and_unknown_are_all_named(tmp_path: Path) -> None:
    rows = frame().rename(columns={"height": "tallness"})
    with pytest.raises(RecordError, match=r"\(missing: height; unknown: tallness\).*FLUX_CONFIG") as refused:
        read(written(tmp_path, ".parquet", rows))
    assert refused.value.place.file == "towers.parquet"
    mapping = LayerMapping.model_validate({"columns": {"height": {"column": "tallness", "factor": 0.3048}}})
    heights = read(tmp_path / "towers.parquet", mapping=mapping)["height"].to_pylist()
    assert heights[2] == pytest.approx(2.1 * 0.3048)
    assert heights[1] is None
    misspelt = LayerMapping.model_validate({"columns": {"height": "tallnes"}, "longitude": "X", "latitude": "Y"})
    word = r"missing: height \(FLUX_CONFIG names tallnes\); unknown: tallness; named in FLUX_CONFIG and not read: X, Y"
    with pytest.raises(RecordError, match=word):
        read(tmp_path / "towers.parquet", mapping=misspelt)
    ignoring = LayerMapping.model_validate({"ignore": ["tallness"], "columns": {"height": "big"}})
    assert read(tmp_path / "towers.parquet", mapping=ignoring)["height"].to_pylist()[0] == 1e11


def test_names_that_a_shapefile_cut(tmp_path: Path) -> None:
    table = towers("POINT", Column("inspector_name", String(40), comment="Who."))
    path = written(
        tmp_path, ".shp.zip", frame(inspector_name=["a", "b", "c", "d", "Ø"]).drop(columns="seen").assign(seen=None)
    )
    assert read(path, table)["inspector_name"].to_pylist() == [*"abcdØ"]
    both = towers("POINT", *(Column(f"inspector_{which}", String(9), comment="Who.") for which in ("a", "b")))
    path = written(tmp_path, ".shp.zip", timeless(frame(inspector_a="x", inspector_b="y")))
    with pytest.raises(RecordError, match="missing: inspector_a, inspector_b; unknown: inspector_, inspecto_1"):
        read(path, both)
    named = LayerMapping.model_validate({"columns": {"inspector_a": "inspector_", "inspector_b": "inspecto_1"}})
    assert read(path, both, named)["inspector_b"].to_pylist() == ["y"] * 5


@pytest.mark.parametrize("suffix", [".parquet", ".gpkg", ".geojson", ".geojsonl", ".gdb.zip"])
def test_null_and_empty_geometry(tmp_path: Path, suffix: str) -> None:
    rows = frame(geometry=[SQUARE, None, shapely.Polygon(), SQUARE, SQUARE])
    found = read(written(tmp_path, suffix, rows), towers("POLYGON"))
    assert shapes(found)[1] is None
    assert shapes(found)[2] in ("POLYGON EMPTY", None)  # GDAL's formats that have no empty one
    with pytest.raises(RecordError, match="record 2, column geom: it is NULL"):
        read(tmp_path / f"towers{suffix}", towers("POLYGON", required=True))


@pytest.mark.parametrize("suffix", [".parquet", ".gpkg", ".fgb", ".gdb.zip"])
def test_a_single_part_and_a_multi_part_value_of_one_become_each_other(tmp_path: Path, suffix: str) -> None:
    multi = shapely.MultiPolygon([SQUARE])
    path = written(tmp_path, suffix, frame(geometry=[multi] * 5))
    assert shapely.equals(shapely.from_wkt(shapes(read(path, towers("POLYGON")))[0]), SQUARE)
    if suffix != ".gdb.zip":
        path = written(tmp_path / "single", suffix, frame(geometry=[SQUARE] * 5))
        assert shapes(read(path, towers("MULTIPOLYGON")))[0] == shapely.to_wkt(multi)
    two = shapely.MultiPolygon([SQUARE, shapely.box(2, 2, 3, 3)])
    path = written(tmp_path / "two", suffix, frame(geometry=[multi, multi, two, multi, multi]))
    with pytest.raises(RecordError, match=r"it is a MULTIPOLYGON, the column takes POLYGON") as refused:
        read(path, towers("POLYGON"))
    assert refused.value.place.record == 3 or suffix == ".fgb"


def test_big_endian_wkb_and_mixed_kinds(tmp_path: Path) -> None:
    given = [SQUARE, shapely.Point(1, 2), shapely.LineString([(0, 0), (1, 1)]), shapely.MultiPoint([(1, 1)]), None]
    path = with_wkb(tmp_path, [each and shapely.to_wkb(each, byte_order=index % 2) for index, each in enumerate(given)])
    assert shapes(read(path, towers("GEOMETRY"))) == [each and shapely.to_wkt(each) for each in given]


@pytest.mark.parametrize("suffix", [".parquet", ".gpkg", ".fgb", ".geojsonl"])
def test_z_is_refused_or_dropped_as_declared(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path, suffix, frame(geometry=[shapely.Point(1, 2, 3)] * 5))
    with pytest.raises(RecordError, match="it has a Z coordinate, the column takes none"):
        read(path)
    assert shapes(read(path, mapping=LayerMapping(z="drop"))) == ["POINT (1 2)"] * 5
    assert shapes(read(path, towers("POINTZ")))[0] == "POINT Z (1 2 3)"


@pytest.mark.parametrize("suffix", [".parquet", ".gpkg", ".fgb", ".shp.zip", ".gdb.zip"])
def test_coordinates_become_longitude_and_latitude(tmp_path: Path, suffix: str) -> None:
    """Feet of a state plane; the CRS is stated with its axes in any order."""
    rows = timeless(frame())
    path = written(tmp_path, suffix, rows.to_crs("EPSG:3857"))
    expected = [(each.x, each.y) for each in rows.geometry]
    found = sorted((point.x, point.y) for point in map(shapely.from_wkb, read(path)["geom"].to_pylist()))
    assert found == [pytest.approx(each, abs=1e-8) for each in expected]


def test_axes_of_a_geographic_crs_are_longitude_first(tmp_path: Path) -> None:
    """As both formats have them, whatever order the authority gives: EPSG:4258 has latitude first."""
    for suffix in (".parquet", ".gpkg"):
        path = written(tmp_path, suffix, frame().to_crs("EPSG:4258"))
        assert shapes(read(path))[0].startswith("POINT (10 50")


def test_lines_and_polygons_are_moved_whole(tmp_path: Path) -> None:
    ring = shapely.Polygon(
        [(10, 50), (11, 50), (11, 51), (10, 50)], [[(10.5, 50.1), (10.6, 50.1), (10.6, 50.2), (10.5, 50.1)]]
    )
    given = [ring, shapely.MultiPolygon([ring]), shapely.LineString([(10, 50), (11, 51)]), shapely.Polygon(), None]
    path = written(tmp_path, ".parquet", frame(geometry=given).to_crs("EPSG:25832"))
    found = [each and shapely.from_wkb(each) for each in read(path, towers("GEOMETRY"))["geom"].to_pylist()]
    assert found[4] is None
    assert all(shapely.equals_exact(a, b, 1e-9) for a, b in zip(found[:4], given[:4], strict=True))


@pytest.mark.parametrize("suffix", [".parquet", ".gpkg", ".shp.zip"])
def test_a_file_without_a_crs_needs_one_in_the_mapping(tmp_path: Path, suffix: str) -> None:
    rows = timeless(frame(crs=None))
    path = written(tmp_path, suffix, rows)
    with pytest.raises(ReleaseError, match=r"does not say in which coordinate reference system.*\[layers.towers\]"):
        read(path)
    assert shapes(read(path, mapping=LayerMapping(crs="EPSG:4326")))[0] == "POINT (10 50)"
    with pytest.raises(ReleaseError, match="EPSG:99999, is unknown"):
        read(path, mapping=LayerMapping(crs="EPSG:99999"))


def geoparquet(path: Path, **facts: object) -> Path:
    """The layer with other facts about its geometry; None leaves a fact out."""
    written(path.parent, ".parquet", frame())
    found = pq.read_table(path)
    geo = json.loads(found.schema.metadata[b"geo"])
    geo["columns"]["geom"] = {name: fact for name, fact in (geo["columns"]["geom"] | facts).items() if fact != "absent"}
    pq.write_table(found.replace_schema_metadata({"geo": json.dumps(geo)}), path)
    return path


def test_geoparquet_without_a_crs_is_in_degrees_and_with_null_it_is_unknown(tmp_path: Path) -> None:
    assert shapes(read(geoparquet(tmp_path / "towers.parquet", crs="absent")))[0] == "POINT (10 50)"
    with pytest.raises(ReleaseError, match="does not say in which"):
        read(geoparquet(tmp_path / "towers.parquet", crs=None))


@pytest.mark.parametrize("version", ["1.0.0", "1.1.0"])
def test_geoparquet_with_a_covering_box(tmp_path: Path, version: str) -> None:
    path = written(tmp_path, ".parquet", frame(), schema_version=version, write_covering_bbox=version == "1.1.0")
    assert shapes(read(path))[0] == "POINT (10 50)"


def test_geoarrow_encodings_and_nested_columns_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, ".parquet", frame(), geometry_encoding="geoarrow")
    with pytest.raises(RecordError, match=r"column geom: its geometry is struct.*Write it with the encoding \"WKB\""):
        read(path)
    table = pq.read_table(written(tmp_path, ".parquet", frame()))
    nested = table.set_column(table.schema.names.index("label"), "label", pa.array([[1]] * 5))
    pq.write_table(nested, path)
    with pytest.raises(RecordError, match=r"label is list.*cannot become varchar\(40\)"):
        read(path)


TYPES: dict[str, tuple[str, pa.Array, object]] = {
    "a dictionary": ("label", pa.array(["a", None, "a", "b", "b"]).dictionary_encode(), ["a", None, "a", "b", "b"]),
    "a large string": ("label", pa.array(list("abcde"), pa.large_string()), list("abcde")),
    "whole numbers as texts": ("label", pa.array(range(5)), list("01234")),
    "64 bits": ("number", pa.array(range(5), pa.int64()), [*range(5)]),
    "whole doubles": ("number", pa.array([1.0, None, 2.0, 3.0, 4.0]), [1, None, 2, 3, 4]),
    "texts of numbers": ("number", pa.array(["1", None, " 2", "+3", "4"]), [1, None, 2, 3, 4]),
    "truth": ("number", pa.array([True, False, None, True, True]), [1, 0, None, 1, 1]),
    "32 bits of a double": ("height", pa.array([0.5, 1, 2, 3, 4], pa.float32()), [0.5, 1, 2, 3, 4]),
    "decimals of doubles": ("height", pa.array([None, 1, 2, 3, 4], pa.decimal128(9, 3)), [None, 1, 2, 3, 4]),
    "texts of days": ("built", pa.array(["2024-02-29"] * 5), [pd.Timestamp("2024-02-29").date()] * 5),
    "midnights": ("built", pa.array([pd.Timestamp("2024-02-29")] * 5), [pd.Timestamp("2024-02-29").date()] * 5),
    "a zone": (
        "seen",
        pa.array([pd.Timestamp("2024-02-29 12:00", tz="America/Chicago")] * 5),
        [pd.Timestamp("2024-02-29 18:00")] * 5,
    ),
    "days as times": ("seen", pa.array([pd.Timestamp("2024-02-29").date()] * 5), [pd.Timestamp("2024-02-29")] * 5),
}


def with_column(folder: Path, name: str, values: pa.Array) -> Path:
    path = written(folder, ".parquet", frame())
    table = pq.read_table(path)
    pq.write_table(table.set_column(table.schema.names.index(name), name, values), path)
    return path


@pytest.mark.parametrize("kind", TYPES)
def test_types_become_the_declared_ones(tmp_path: Path, kind: str) -> None:
    name, values, expected = TYPES[kind]
    assert read(with_column(tmp_path, name, values))[name].to_pylist() == expected


REFUSED: dict[str, tuple[str, pa.Array, str]] = {
    "a part of a number": ("number", pa.array([1, 2, 3.5, 4, 5]), "record 3, column number, value '3.5'.*not a whole"),
    "not a number": ("price", pa.array([1, 2, float("nan"), 4, 5]), "record 3, column price, value 'nan'"),
    "too many decimals": ("price", pa.array([1, 2, 3.125, 4, 5]), "record 3, column price, value '3.125': it has more"),
    "too long": ("label", pa.array(["a", "b", "x" * 41, "d", "e"]), "record 3, column label.*41 characters"),
    "no day": (
        "built",
        pa.array([pd.Timestamp("2024-02-29 00:00:01")] * 5),
        "column built, value .*not written as date",
    ),
    "less than microseconds": (
        "seen",
        pa.array([10**9, 10**9 + 1, 0, 0, 0], pa.timestamp("ns")),
        "record 2, column seen, value .*not written as timestamp",
    ),
    "bytes": ("label", pa.array([b"a"] * 5), "label is binary, and cannot become"),
    "a time of day": ("seen", pa.array([1] * 5, pa.time64("us")), "seen is time64"),
    "truth as a text": ("label", pa.array([True] * 5), "label is bool"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_values_that_do_not_fit_are_refused_with_their_place(tmp_path: Path, kind: str) -> None:
    name, values, word = REFUSED[kind]
    with pytest.raises(RecordError, match=word):
        read(with_column(tmp_path, name, values))


@pytest.mark.parametrize("suffix", [".gpkg", ".gdb.zip"])
def test_of_several_layers_the_one_of_the_table_is_read(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path, suffix, frame(), layer="masts")
    assert read(path).num_rows == 5
    if suffix == ".gpkg":
        written(tmp_path, suffix, frame(3), layer="poles", append=False)
        with pytest.raises(ReleaseError, match=r"no layer towers; there are masts, poles.*layer = "):
            read(path)
        assert read(path, mapping=LayerMapping(layer="Poles")).num_rows == 3
        written(tmp_path, suffix, frame(2), layer="Towers")
        assert read(path).num_rows == 2


def test_a_shapefile_in_another_encoding(tmp_path: Path) -> None:
    rows = timeless(frame())
    path = written(tmp_path, ".shp.zip", rows, encoding="ISO-8859-1")
    assert read(path)["label"].to_pylist()[0] == "Tårn 0"
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(tmp_path / "bare.zip", "w") as bare:
        for name in whole.namelist():
            if not name.endswith(".cpg"):
                bare.writestr(name, whole.read(name))
    (tmp_path / "bare.zip").replace(path)
    assert read(path, mapping=LayerMapping(encoding="ISO-8859-1"))["label"].to_pylist()[0] == "Tårn 0"


@pytest.mark.parametrize("suffix", FORMATS)
def test_an_empty_layer_has_no_rows(tmp_path: Path, suffix: str) -> None:
    rows = frame().drop(columns="seen").assign(seen="2024-02-29")
    how = {"geometry_type": "Point"} if suffix != ".parquet" else {}
    path = written(tmp_path, suffix, rows.iloc[:0], **how)
    if suffix == ".geojsonl":
        with pytest.raises(ReleaseError, match="it is empty"):
            read(path)
    elif suffix == ".geojson":  # without a feature it names no properties
        with pytest.raises(RecordError, match="missing: id"):
            read(path)
    else:
        assert read(path).num_rows == 0


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("share", [0, 0.02, 0.5, 0.98])
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, suffix: str, share: float) -> None:
    rows = timeless(frame(400))
    path = written(tmp_path, suffix, rows)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(ReleaseError, match=rf"towers\{suffix}"):
        read(path)
    assert RowFile.expanded_bytes([path], [path.name]) >= 0


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"towers{suffix}"
    path.write_bytes(b"id,number\n1,2\n")
    with pytest.raises(ReleaseError, match=r"this is not a .* file; it begins with b'id,numbe'"):
        read(path)


def test_zip_files_with_something_else_in_them(tmp_path: Path) -> None:
    path = tmp_path / "towers.shp.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("notes.txt", "nothing")
    with pytest.raises(ReleaseError, match=r"one \.shp within it is read, and it has none"):
        read(path)


def test_a_bad_line_of_geojson_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, ".geojsonl", frame())
    lines = path.read_text().splitlines()
    for bad, word in (
        ("{", "record 3.*it is not WKT, GeoJSON"),
        (lines[2].replace('"label"', '"lable"'), "record 3|unknown: lable"),
        (lines[2].replace("[", "[[").replace("]", "]]"), "record 3, column geometry, .*it is not WKT, GeoJSON"),
    ):
        path.write_text("\n".join([*lines[:2], bad, *lines[3:]]))
        with pytest.raises(RecordError, match=word):
            read(path)


def test_wide_rows_are_read_in_small_batches(tmp_path: Path) -> None:
    """One row group of 40 MB, of which no batch has more than a few."""
    rows = frame(2000, geometry=[shapely.Point(1, 2).buffer(0.1, quad_segs=300)] * 2000)
    path = written(tmp_path, ".parquet", rows, row_group_size=2000)
    sizes: list[int] = []

    def noted(reader: Callable, found: object) -> object:
        sizes.append(found.nbytes)
        return reader.decoded(found)

    assert read(path, towers("POLYGON"), sieve=noted).num_rows == 2000
    assert max(sizes) < 6 << 20
    assert len(sizes) > 5


def test_quarantine_takes_rows_of_any_format(tmp_path: Path) -> None:
    sieve = Quarantine(5)
    far = [shapely.Point(1, 2), shapely.Point(500, 2), shapely.Point(1, 2), shapely.Point(1, 99), shapely.Point(1, 2)]
    path = written(tmp_path, ".parquet", frame(geometry=far, label=["a", "b", 'quoted "c", two\nlines', "d", "x" * 99]))
    assert read(path, sieve=sieve)["id"].to_pylist() == ["T0000", "T0002"]
    found = sieve.taken()
    assert [(record.record, error.place.column) for record, error in found] == [(2, "geom"), (4, "geom"), (5, "label")]
    assert found[0][0].data.decode().startswith("T0001,,,,,,,b,0101000020E6100000")


def test_a_geometry_that_no_column_takes_is_left_where_the_table_has_none(tmp_path: Path) -> None:
    table = towers(without="geom")
    assert read(written(tmp_path, ".geojson", frame()), table).num_rows == 5
