"""The same rows in every format load to the same table, with the protocol around it: versions, quarantine, compare."""

from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
import shapely

from flux_assets.compare.release import match_release
from flux_assets.errors import RecordError, ReleaseError
from flux_assets.layers.context import LoadOptions
from flux_assets.layers.load import load_layer
from flux_assets.layers.rollback import rollback
from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.session import Target
from flux_assets.release.decode.stream import LayerStream
from flux_assets.release.formats.mapping import LayerMapping
from flux_assets.release.release import Release
from flux_assets.spec import StaticTable
from flux_assets.tables import static_tables
from flux_assets_tests import sample_cities
from flux_assets_tests.conftest import Sql
from flux_assets_tests.made_layers import Loader, ReleaseFolder, csv_field
from flux_assets_tests.release.formats.made_files import FORMATS, TOWERS, as_frame, frame, read, written

ROWS = "SELECT t::text FROM towers AS t ORDER BY id"


@pytest.fixture
def loader(target: Target, tmp_path: Path) -> Loader:
    return Loader(target, ReleaseFolder(tmp_path / "v1"))


def as_csv(folder: Path, table: StaticTable = TOWERS) -> Path:
    """The rows as COPY writes them."""
    rows, shapes = pd.DataFrame(frame()), frame().geometry
    rows["geom"] = [shapely.to_wkb(shapely.set_srid(each, 4326), hex=True, include_srid=True) for each in shapes]
    records = rows.astype(object).where(rows.notna(), None).to_dict("records")
    lines = [",".join(csv_field(row[name]) for name in table.column_names) for row in records]
    path = folder / table.file_name
    path.write_bytes(gzip.compress(("\n".join([",".join(table.column_names), *lines]) + "\n").encode()))
    return path


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_loads_to_the_rows_of_the_csv(loader: Loader, sql: Sql, suffix: str) -> None:
    loader.source.folder.mkdir()
    path = as_csv(loader.source.folder)
    loader.load(TOWERS)
    expected = sql(ROWS)
    path.unlink()
    written(loader.source.folder, suffix, frame())
    again = loader.load(TOWERS)
    assert (again.outcome, again.rows) == ("published", 5)
    if suffix == ".gdb.zip":  # which keeps coordinates as whole numbers of a grid
        expected, found = (sql("SELECT id, label, seen, built, big FROM towers ORDER BY id"),) * 2
    else:
        found = sql(ROWS)
    assert found == expected
    assert loader.load(TOWERS).outcome == "unchanged"
    ((_, result),) = match_release([TOWERS], loader.source.release, loader.target, Stop(), lambda _: None)
    assert result.passed, result
    rollback(TOWERS, loader.target, LoadOptions(), loader.log.append)
    assert sql(ROWS) == expected or suffix == ".gdb.zip"


@pytest.mark.parametrize("suffix", [".parquet", ".fgb", ".geojsonl"])
@pytest.mark.parametrize("layer", ["building_footprints", "grid_power_lines", "vegetation_risk"])
def test_the_sample_city_is_the_same_rows(tmp_path: Path, suffix: str, layer: str) -> None:
    """Every value, bit by bit; of the formats that keep coordinates so."""
    table = next(each for each in static_tables() if each.name == layer)
    stream = LayerStream(sample_cities.folder() / table.file_name, table.file_name, table)
    expected = pa.Table.from_batches(list(stream), stream.schema)
    rows = as_frame(expected)
    how = {"COORDINATE_PRECISION": 17} if suffix == ".geojsonl" else {}
    path = written(tmp_path, suffix, rows, layer, **({"SPATIAL_INDEX": "NO"} if suffix == ".fgb" else how))
    assert read(path, table).equals(expected)


def test_another_mapping_is_another_version(loader: Loader, sql: Sql) -> None:
    written(loader.source.folder, ".gpkg", frame())

    def load(**mapping: object) -> str:
        mappings = {"towers": LayerMapping.model_validate(mapping)} if mapping else {}
        release = Release(str(loader.source.folder), "v1", loader.source.folder / ".cache", mappings=mappings)
        result = load_layer(TOWERS, release, loader.target, LoadOptions(), loader.log.append)
        ((_, matched),) = match_release([TOWERS], release, loader.target, Stop(), lambda _: None)
        assert matched.passed, matched
        return result.outcome

    feet = {"columns": {"height": {"column": "height", "factor": 2}}}
    outcomes = [load(), load(**feet), load(**feet)]
    assert sql("SELECT height FROM towers WHERE id = 'T0002'") == [(4.2,)]
    assert [*outcomes, load(), load()] == ["published", "published", "unchanged", "published", "unchanged"]
    assert sql("SELECT height FROM towers WHERE id = 'T0002'") == [(2.1,)]


def test_a_comparison_with_another_mapping_says_so(loader: Loader) -> None:
    written(loader.source.folder, ".gpkg", frame())
    loader.load(TOWERS)
    doubled = LayerMapping.model_validate({"columns": {"height": {"factor": 2}}})
    release = Release(str(loader.source.folder), "v1", loader.source.folder / ".cache", mappings={"towers": doubled})
    ((_, result),) = match_release([TOWERS], release, loader.target, Stop(), lambda _: None)
    assert not result.passed
    assert "FLUX_CONFIG or the declaration has changed" in str(result)


def test_two_files_of_a_layer_are_refused(loader: Loader) -> None:
    written(loader.source.folder, ".parquet", frame())
    written(loader.source.folder, ".gpkg", frame())
    with pytest.raises(ReleaseError, match=r"more than one file of towers: towers\.parquet, towers\.gpkg\. Keep one"):
        loader.load(TOWERS)


@pytest.mark.parametrize("suffix", [".parquet", ".gpkg"])
def test_a_bad_value_is_named_and_can_be_set_aside(loader: Loader, sql: Sql, suffix: str) -> None:
    written(loader.source.folder, suffix, frame(number=[1, 2, 2**40, 4, 5]))
    with pytest.raises(RecordError) as refused:
        loader.load(TOWERS)
    place = refused.value.place
    assert (place.file, place.record, place.column) == (f"towers{suffix}", 3, "number")
    assert "out of range for integer" in str(refused.value)
    result = loader.load(TOWERS, quarantine=1)
    assert (result.rows, result.quarantined) == (4, 1)
    held = sql("SELECT record, column_name, raw_record FROM postgres_sync.quarantine")
    assert held[0][:2] == (3, "number")
    assert str(held[0][2]).startswith("T0002,1099511627776,")


def test_what_the_server_refuses_is_named(loader: Loader) -> None:
    written(loader.source.folder, ".parquet", frame(label=["a", "b", "c\0d", "b", "d"]))
    with pytest.raises(RecordError, match=r"towers\.parquet, record 3, column label, value .*PostgreSQL refuses it"):
        loader.load(TOWERS)
