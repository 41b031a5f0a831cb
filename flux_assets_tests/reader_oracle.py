"""What Python's csv, datetime and decimal, and shapely read from a release file, against what the reader does."""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import shapely

from flux_assets.errors import RecordError
from flux_assets.release.decode.stream import LayerStream
from flux_assets_tests.release_files import FILE, SITES, compressed

GEOMETRIES = {"spot": "Point", "path": "LineString", "area": "Polygon", "shape": None}
_GEOS = {1, 2, 3, 4, 5, 6, 7}  # types of WKB that every version of GEOS reads


def check(text: bytes, folder: Path, block: int) -> bool:
    """Whether the reader takes the file; fails unless that is right.

    What it takes is what the others read; what it refuses, it refuses with file and line, and with no other error.
    """
    path = compressed(folder, text)
    stream = LayerStream(path, FILE, SITES, block_bytes=block)
    refusal = None
    try:
        table = pa.Table.from_batches(list(stream), stream.schema)
    except RecordError as error:
        refusal = error
    if refusal is not None:
        assert refusal.place.file == FILE
        assert 1 <= (refusal.place.line or 0) <= text.count(b"\n") + 1
        assert len(str(refusal)) < 2000
        return False
    table.validate(full=True)
    names, *rows = _as_csv_reads(text)
    assert stream.facts.rows == table.num_rows == len(rows)
    assert sorted(names) == sorted(SITES.column_names)
    for name in table.column_names:
        values, texts = table[name].to_pylist(), [row[names.index(name)] for row in rows]
        assert stream.facts.nulls[name] == sum(value is None for value in values)
        for value, said in zip(values, texts, strict=True):
            assert _same(table.schema.field(name).type, value, said), (name, value, said)
    for name in GEOMETRIES:
        shapes = [_shape(value) for value in table[name].to_pylist() if value is not None and _kind(value) in _GEOS]
        if len(shapes) == table.num_rows - table[name].null_count and any(not shape.is_empty for shape in shapes):
            assert stream.facts.shapes[name].extent == tuple(shapely.total_bounds(shapes))
    return True


def _as_csv_reads(text: bytes) -> list[list[str]]:
    csv.field_size_limit(1 << 30)
    rows = csv.reader(io.StringIO(text.decode("utf-8-sig"), newline=""), strict=True)
    return list(rows)


def _same(kind: pa.DataType, value: object, said: str) -> bool:
    if value is None or said == "":
        return said == "" and value in {None, ""}
    if pa.types.is_binary(kind):
        return value == bytes.fromhex(said) and _reads_alike(value)
    expected = next(read for is_kind, read in _READ if is_kind(kind))(said)
    return expected == value or (expected != expected and value != value)  # NaN


_READ: tuple[tuple[Callable[[pa.DataType], bool], Callable[[str], object]], ...] = (
    (pa.types.is_string, str),
    (pa.types.is_integer, int),
    (pa.types.is_floating, float),
    (pa.types.is_decimal, Decimal),
    (pa.types.is_date, dt.date.fromisoformat),
    (pa.types.is_timestamp, dt.datetime.fromisoformat),
)


def _kind(value: bytes) -> int:
    return int.from_bytes(value[1:5], "little" if value[0] else "big") & 0xFF


def _shape(value: bytes) -> shapely.Geometry:
    return shapely.from_wkb(value)


def _reads_alike(value: bytes) -> bool:
    """GEOS reads the same geometry, and writes the same bytes again where they are in its own form."""
    if _kind(value) not in _GEOS:
        return True
    shape = _shape(value)
    return shapely.get_srid(shape) == 4326 and shape.equals_exact(_shape(_written(shape)))


def _written(shape: shapely.Geometry) -> bytes:
    return shapely.to_wkb(shape, include_srid=True)


def takes(column: str, value: bytes) -> bool | None:
    """Whether a column takes an EWKB value, in GEOS's judgement; None where that does not decide."""
    try:
        shape = _shape(value)
    except shapely.errors.GEOSException:
        return None if value[:1] in {b"\0", b"\1"} and len(value) > 5 and _kind(value) not in _GEOS else False
    if value not in {_written(shape), shapely.to_wkb(shape, include_srid=True, byte_order=0)}:
        return None  # GEOS forgives more than PostGIS does: bytes that follow, types of other dialects
    if shape.has_z or shapely.get_srid(shape) != 4326 or GEOMETRIES[column] not in {None, shape.geom_type}:
        return False
    points = shapely.get_coordinates(shape)
    inside = (abs(points[:, 0]) <= 180) & (abs(points[:, 1]) <= 90)
    return bool(inside.all()) and b"\xff" * 7 not in value
