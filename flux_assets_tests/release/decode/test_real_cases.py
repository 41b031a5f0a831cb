"""Files shaped from real public data: what the reader gives is what csv and GEOS see in them."""

import csv
import gzip
import io
from pathlib import Path

import pyarrow as pa
import pytest
import shapely

from flux_assets.release.decode.stream import LayerStream
from flux_assets.tables import static_tables
from flux_assets_tests.cases import CASE_FILES

REAL = CASE_FILES / "real"
CASES = sorted(REAL.glob("*.csv.gz"))
TABLES = {table.file_name: table for table in static_tables()}


def seen_by_csv(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(gzip.decompress(path.read_bytes()).decode(), newline="")))


def read(path: Path) -> tuple[pa.Table, LayerStream]:
    stream = LayerStream(path, path.name, TABLES[path.name], block_bytes=5_000)
    return pa.Table.from_batches(list(stream), stream.schema), stream


def test_there_are_real_cases_and_they_are_small():
    assert len(CASES) == 5
    assert max(path.stat().st_size for path in CASES) <= 100_000


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.name)
def test_text_and_numbers_are_what_csv_sees(path):
    table, stream = read(path)
    rows = seen_by_csv(path)
    assert stream.facts.rows == table.num_rows == len(rows) > 0
    for column in table.schema:
        texts = [row[column.name] or None for row in rows]
        values = table[column.name].to_pylist()
        if column.type == pa.string():
            assert values == texts
        elif column.type != pa.binary():
            assert [None if text is None else float(text) for text in texts] == [
                None if value is None else float(value) for value in values
            ]


@pytest.mark.parametrize(
    "path", [path for path in CASES if "transformers" not in path.name], ids=lambda path: path.name
)
def test_geometries_are_what_geos_sees(path):
    table, stream = read(path)
    shapes = shapely.from_wkb([row["geom"] for row in seen_by_csv(path)])
    assert table["geom"].to_pylist() == [bytes.fromhex(row["geom"]) for row in seen_by_csv(path)]
    assert stream.facts.extent == tuple(shapely.total_bounds(shapes))
    assert stream.facts.shapes["geom"].kinds.total() == len(shapes)


def test_the_cases_have_what_makes_real_data_hard():
    buildings = seen_by_csv(REAL / "building_footprints.csv.gz")
    shapes = shapely.from_wkb([row["geom"] for row in buildings])
    names = [row["building_name"] for row in buildings]
    assert sum("\n" in name for name in names) > 10
    assert any("," in name for name in names)
    assert any(not name.isascii() for name in names)
    assert max(shapely.get_num_interior_rings(shapes)) >= 2
    assert not shapely.is_valid(shapes).all()
    longitudes = shapely.get_x(shapely.centroid(shapes))
    assert longitudes.min() > 20
