"""A small layer as files of every format, written by GDAL and GeoPandas, and read as a load reads them."""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
import zipfile
from pathlib import Path

import geopandas as gpd
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import shapely
from geoalchemy2 import Geometry
from sqlalchemy import BigInteger, Column, Date, DateTime, Double, Integer, MetaData, Numeric, String, Table

from flux_assets.release.decode.stream import Sieve
from flux_assets.release.formats.files import RowFile
from flux_assets.release.formats.mapping import LayerMapping
from flux_assets.release.release import ReleaseFile
from flux_assets.spec import StaticTable

DRIVERS = {
    ".gpkg": "GPKG",
    ".fgb": "FlatGeobuf",
    ".geojson": "GeoJSON",
    ".geojsonl": "GeoJSONSeq",
    ".shp.zip": "ESRI Shapefile",
    ".gdb.zip": "OpenFileGDB",
}
FORMATS = (".parquet", *DRIVERS)


def towers(kind: str = "POINT", *more: Column, required: bool = False, without: str = "") -> StaticTable:
    """A layer with a column of every type, all names short enough for a Shapefile."""
    columns = [
        Column("id", String(20), primary_key=True, comment="Identifier."),
        Column("number", Integer, comment="Count."),
        Column("big", BigInteger, comment="Large count."),
        Column("height", Double, comment="Metres."),
        Column("price", Numeric(8, 2), comment="Money."),
        Column("seen", DateTime, comment="Time (UTC)."),
        Column("built", Date, comment="Day."),
        Column("label", String(40), comment="Text."),
        *more,
        Column("geom", Geometry(kind, srid=4326, spatial_index=False), nullable=not required, comment="Where."),
    ]
    kept = [column for column in columns if column.name != without]
    return StaticTable(table=Table("towers", MetaData(), *kept, comment="Made-up towers."), release_rows=5)


TOWERS = towers()


def frame(count: int = 5, **changed: object) -> gpd.GeoDataFrame:
    """Rows of the layer; the second has NULL wherever one may be, its geometry apart."""
    numbers = range(count)
    columns: dict[str, object] = {
        "id": [f"T{number:04d}" for number in numbers],
        "number": pd.array([number if number != 1 else None for number in numbers], dtype="Int32"),
        "big": pd.array([10**11 + number if number != 1 else None for number in numbers], dtype="Int64"),
        "height": [number + 0.1 if number != 1 else None for number in numbers],
        "price": [number + 0.25 if number != 1 else None for number in numbers],
        "seen": pd.to_datetime(["2024-02-29 12:30:00" if number != 1 else None for number in numbers]),
        "built": [pd.Timestamp("2024-02-29").date() if number != 1 else None for number in numbers],
        "label": [f"Tårn {number}" if number != 1 else None for number in numbers],
    }
    shapes = changed.pop("geometry", [shapely.Point(10 + number / 128, 50 + number / 128) for number in numbers])
    crs = changed.pop("crs", "EPSG:4326")
    made = gpd.GeoDataFrame(columns | changed, geometry=shapes, crs=crs)
    return made.rename_geometry("geom")


def written(folder: Path, suffix: str, rows: gpd.GeoDataFrame, name: str = "towers", **how: object) -> Path:
    """The file of the layer."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}{suffix}"
    if suffix == ".parquet":
        rows.to_parquet(path, index=False, **how)
        return path
    zipped, layer = suffix.endswith(".zip"), str(how.pop("layer", name))
    inner = folder / f"{name}-zipped" / f"{layer}{suffix.removesuffix('.zip')}" if zipped else path
    inner.parent.mkdir(exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pyogrio.write_dataframe(rows, inner, driver=DRIVERS[suffix], layer=layer, **how)
    if zipped:
        with zipfile.ZipFile(path, "w") as file:
            for member in sorted(inner.parent.rglob("*")):
                file.write(member, member.relative_to(inner.parent))
        shutil.rmtree(inner.parent)
    return path


def with_wkb(folder: Path, wkb: list[bytes | None]) -> Path:
    """A GeoParquet file whose geometry is this, whatever it is."""
    geo = {"version": "1.0.0", "primary_column": "geom", "columns": {"geom": {"encoding": "WKB", "geometry_types": []}}}
    plain = pa.Table.from_pandas(pd.DataFrame(frame(len(wkb)).drop(columns="geom")), preserve_index=False)
    table = plain.append_column("geom", pa.array(wkb, pa.large_binary()))
    pq.write_table(table.replace_schema_metadata({"geo": json.dumps(geo)}), folder / "towers.parquet")
    return folder / "towers.parquet"


def read(
    path: Path, table: StaticTable = TOWERS, mapping: LayerMapping | None = None, sieve: Sieve | None = None
) -> pa.Table:
    """The rows of a file as a load gets them."""
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    file = ReleaseFile(
        table=table.name, file=path.name, address=str(path), sha256=sha256, mapping=mapping or LayerMapping()
    )
    stream = RowFile.stream([path], file, table, sieve, None)
    return pa.Table.from_batches(list(stream), stream.schema)


def shapes(rows: pa.Table, column: str = "geom") -> list[str | None]:
    """The geometry as WKT."""
    return [None if each is None else shapely.to_wkt(shapely.from_wkb(each)) for each in rows[column].to_pylist()]


def as_frame(rows: pa.Table) -> gpd.GeoDataFrame:
    """Delivered rows as GeoPandas has them; whole numbers stay such where there is a NULL."""
    columns = {
        name: pd.array(rows[name].to_pylist(), dtype=str(rows[name].type).capitalize())
        if pa.types.is_integer(rows[name].type)
        else rows[name].to_pandas()
        for name in rows.column_names
        if name != "geom"
    }
    found = shapely.from_wkb(rows["geom"].to_numpy(zero_copy_only=False))
    return gpd.GeoDataFrame(columns, geometry=shapely.set_srid(found, 0), crs=4326).rename_geometry("geom")
