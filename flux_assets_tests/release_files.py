"""A made-up layer with a column of every type, and its release files as PostgreSQL's COPY writes them."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import shapely
from geoalchemy2 import Geography, Geometry
from sqlalchemy import BigInteger, Column, Date, DateTime, Double, Integer, MetaData, Numeric, String, Table, Text

from flux_assets.release.decode.parse import LayerFacts
from flux_assets.release.decode.stream import LayerStream
from flux_assets.spec import StaticTable
from flux_assets.spec.facts import Position

FILE = "sites.csv.gz"
AREA = "POLYGON((9 48,10 48,10 49,9 48))"


def sites(*more: Column) -> StaticTable:
    """The layer; `more` columns are added to it."""
    columns = [
        Column("site_id", String(20), primary_key=True, comment="Identifier."),
        Column("code", String(5), nullable=False, comment="Short code."),
        Column("label", Text, comment="Free text."),
        Column("number", Integer, comment="Count."),
        Column("big", BigInteger, comment="Large count."),
        Column("ratio", Double, comment="Share."),
        Column("amount", Numeric(8, 2), comment="Money."),
        Column("seen", DateTime, comment="Time (UTC)."),
        Column("day", Date, comment="Day."),
        Column("longitude", Double, comment="Degrees (EPSG:4326)."),
        Column("latitude", Double, comment="Degrees (EPSG:4326)."),
        Column("spot", Geography("POINT", srid=4326, spatial_index=False), comment="Position."),
        Column("path", Geometry("LINESTRING", srid=4326, spatial_index=False), comment="Way."),
        Column("area", Geometry("POLYGON", srid=4326, spatial_index=False), comment="Outline."),
        Column("shape", Geometry("GEOMETRY", srid=4326, spatial_index=False), comment="Any shape."),
    ]
    return StaticTable(
        table=Table("sites", MetaData(), *columns, *more, comment="Made-up sites."),
        positions=(Position(longitude="longitude", latitude="latitude", same_as="spot"),),
        release_rows=3,
    )


def narrow(*columns: Column) -> StaticTable:
    """A layer of these columns alone."""
    return StaticTable(table=Table("narrow", MetaData(), *columns, comment="A narrow layer."), release_rows=3)


SITES = sites()


def ewkb(shape: str | shapely.Geometry, srid: int | None = 4326, **how: object) -> str:
    """WKT or a shape as hexadecimal EWKB, as PostGIS prints it."""
    geometry = shapely.from_wkt(shape) if isinstance(shape, str) else shape
    if srid is not None:
        geometry = shapely.set_srid(geometry, srid)
    return shapely.to_wkb(geometry, hex=True, include_srid=srid is not None, **how)


def polygon(*coordinates: tuple[float, float], kind: int = 3) -> str:
    """EWKB of one ring, closed or not, sound or not."""
    head = struct.pack("<BIIII", 1, 0x20000000 | kind, 4326, 1, len(coordinates))
    return (head + b"".join(struct.pack("<dd", *pair) for pair in coordinates)).hex().upper()


def copied(value: str | None) -> str:
    """One value as COPY … WITH (FORMAT csv) writes it: NULL is nothing, the empty string a pair of quotes."""
    if value is None:
        return ""
    quoted = value == "" or any(sign in value for sign in ',"\n\r') or value == "\\."
    return '"' + value.replace('"', '""') + '"' if quoted else value


def csv_text(names: Sequence[str], rows: Iterable[Mapping[str, str | None]], newline: str = "\n") -> str:
    """A header and rows; a row may leave columns out, which are then NULL."""
    lines = [",".join(names), *(",".join(copied(row.get(name)) for name in names) for row in rows)]
    return "".join(line + newline for line in lines)


def site(number: int = 1, /, **values: str | None) -> dict[str, str | None]:
    """A sound row, with other values where given."""
    return {"site_id": f"S{number}", "code": "A", "area": ewkb(AREA)} | values


def site_file(folder: Path, *rows: Mapping[str, str | None], newline: str = "\n") -> Path:
    return compressed(folder, csv_text(SITES.column_names, rows, newline))


def compressed(folder: Path, content: str | bytes, name: str = FILE) -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(content.encode() if isinstance(content, str) else content, 1))
    return path


def read(path: Path, table: StaticTable = SITES, **how: object) -> tuple[pa.Table, LayerFacts]:
    """The whole file, and the stream's facts."""
    stream = LayerStream(path, path.name, table, **how)
    batches = list(stream)
    return pa.Table.from_batches(batches, stream.schema), stream.facts
