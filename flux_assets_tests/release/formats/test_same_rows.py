"""The same rows in every format load to the same table, with the protocol around it: versions, quarantine, compare."""

from __future__ import annotations

import gzip
from pathlib import Path

import geopandas as gpd
import pandas as pd
import pyarrow as pa
import pyogrio
import pytest
import shapely
from sqlalchemy import Double, String

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
from flux_assets_tests.release.formats.made_files import FORMATS, TOWERS, as_frame, frame, written

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


def city(loader: Loader, sql: Sql, layer: str, count: int = 2000) -> tuple[StaticTable, gpd.GeoDataFrame]:
    """Load the first rows of a layer of the sample city from CSV, keep them as table `before`, return them."""
    table = next(each for each in static_tables() if each.name == layer)
    lines = gzip.decompress((sample_cities.folder() / table.file_name).read_bytes()).splitlines(keepends=True)
    path = loader.source.write(table, b"".join(lines[: count + 1]))
    stream = LayerStream(path, table.file_name, table)
    rows = as_frame(pa.Table.from_batches(list(stream), stream.schema))
    loader.load(table)
    path.unlink()
    sql(f"CREATE TABLE before AS TABLE {layer}")
    return table, rows


def load_mapped(loader: Loader, table: StaticTable, **mapping: object) -> None:
    mappings = {table.name: LayerMapping.model_validate(mapping)}
    release = Release(str(loader.source.folder), "v2", loader.source.folder / ".cache", mappings=mappings)
    assert load_layer(table, release, loader.target, LoadOptions(), loader.log.append).outcome == "published"


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:2278"])
@pytest.mark.parametrize("layer", ["building_footprints", "substations", "grid_power_lines"])
def test_the_sample_city_is_published_alike(loader: Loader, sql: Sql, suffix: str, crs: str, layer: str) -> None:
    """Bit by bit; but coordinates within a micrometre where they were feet of Texas, or whole numbers of a grid."""
    table, rows = city(loader, sql, layer)
    how = {"COORDINATE_PRECISION": 17} if suffix.startswith(".geojson") else {}
    path = written(loader.source.folder, suffix, rows.to_crs(crs), layer, **how)
    is_dbf = suffix == ".shp.zip"  # cuts names, and numbers after 15 decimals; an empty text is NULL
    for text in [column.name for column in table.columns if isinstance(column.type, String) and is_dbf]:
        sql(f"UPDATE before SET {text} = nullif({text}, '')")
    given = pyogrio.read_info(path)["fields"] if is_dbf else rows.columns
    columns = dict(zip(rows.columns.drop("geom"), given, strict=False)) if is_dbf else {}
    load_mapped(loader, table, columns=columns)
    key = table.key[0]
    digest = f"SELECT count(*), md5(string_agg(t::text, ' ' ORDER BY {key})) FROM {{}} AS t"
    if crs == "EPSG:4326" and suffix not in {".gdb.zip", ".shp.zip"}:
        assert sql(digest.format(layer)) == sql(digest.format("before"))
    doubles = [column.name for column in table.columns if isinstance(column.type, Double) and is_dbf]
    ((count, others, distance),) = sql(
        f"""
        SELECT count(*), count(*) FILTER (WHERE to_jsonb(a) - %s::text[] <> to_jsonb(b) - %s::text[]),
            max(ST_HausdorffDistance(a.geom::geometry, b.geom::geometry))
        FROM before AS a JOIN {layer} AS b USING ({key})""",
        *[["geom", *doubles]] * 2,
    )
    assert (count, others) == (len(rows), 0)
    assert distance < (1e-11 if suffix != ".gdb.zip" else 1e-8)


@pytest.mark.parametrize("suffix", [".parquet", ".gpkg", ".shp.zip"])
def test_other_names_and_units_are_mapped(loader: Loader, sql: Sql, suffix: str) -> None:
    table, rows = city(loader, sql, "building_footprints")
    rows = rows.rename(columns={"building_id": "BLDG_ID", "height_meters": "HEIGHT_FT"})
    rows = rows.assign(HEIGHT_FT=rows["HEIGHT_FT"] / 0.3048, EDITOR="gis").to_crs("EPSG:2278")
    written(loader.source.folder, suffix, rows, table.name)
    columns = {"building_id": "BLDG_ID", "height_meters": {"column": "HEIGHT_FT", "factor": 0.3048}}
    load_mapped(loader, table, ignore=["EDITOR"], columns=columns)
    assert sql("""
        SELECT count(*), max(abs(a.height_meters - b.height_meters)) < 1e-9,
            max(ST_HausdorffDistance(a.geom, b.geom)) < 1e-11, bool_and(a.num_floors IS NOT DISTINCT FROM b.num_floors)
        FROM before AS a JOIN building_footprints AS b USING (building_id)""") == [(len(rows), True, True, True)]


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
    outcomes = [load(), load(columns={"height": {"factor": 3}}), load(**feet), load(**feet)]
    assert sql("SELECT height FROM towers WHERE id = 'T0002'") == [(4.2,)]
    assert [*outcomes, load(), load()] == ["published"] * 3 + ["unchanged", "published", "unchanged"]
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
