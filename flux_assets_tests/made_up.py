"""A made-up layer with release files for it, and tiny release files for declared ones."""

import csv
import gzip
import io
from collections.abc import Iterable
from pathlib import Path

import shapely
from geoalchemy2 import Geography, Geometry
from sqlalchemy import Column, Date, DateTime, Double, Index, MetaData, String, Table

from flux_assets.spec import StaticTable
from flux_assets.spec.facts import Range

Tree = tuple[str, float, float, float]


def trees(name: str = "trees", rows: int = 3) -> StaticTable:
    """Points with a key and a height."""
    table = Table(
        name,
        MetaData(),
        Column("tree_id", String(20), primary_key=True, comment="Number on the tree's plate."),
        Column("height_m", Double, comment="Height, in metres."),
        Column("geom", Geometry("POINT", srid=4326, spatial_index=False), comment="Where it stands."),
        Index(f"{name}_geom_idx", "geom", postgresql_using="gist"),
        comment="Trees of a made-up park.",
    )
    return StaticTable(table=table, ranges=(Range(column="height_m", minimum=0, maximum=120),), release_rows=rows)


def grove(count: int, first: int = 0) -> list[Tree]:
    """Trees in rows around 10.2 east, 53.5 north."""
    return [(f"T{i}", 5 + i % 20, 10.2 + (i % 30) / 1000, 53.5 + (i // 30) / 1000) for i in range(first, first + count)]


def write_trees(folder: Path, rows: Iterable[Tree], name: str = "trees") -> Path:
    """The layer's release file, as the published release writes it."""
    lines = [[tree_id, height, _hex(shapely.Point(*place))] for tree_id, height, *place in rows]
    return _write(folder / f"{name}.csv.gz", [["tree_id", "height_m", "geom"], *lines])


def write_one_row(folder: Path, table: StaticTable) -> Path:
    """A file of one plausible row for any declared layer."""
    row = [_plausible(column) for column in table.columns]
    return _write(folder / table.file_name, [list(table.column_names), row])


def _plausible(column: Column) -> object:
    if isinstance(column.type, (Geometry, Geography)):
        kind = "POINT" if column.type.geometry_type == "GEOMETRY" else column.type.geometry_type
        shapes = {"POINT": shapely.Point(10, 50), "POLYGON": shapely.box(9, 49, 11, 51)}
        return _hex(shapes.get(kind) or shapely.LineString([(9.5, 49.5), (10.5, 50.5)]))
    if isinstance(column.type, Date):
        return "2024-02-29"
    if isinstance(column.type, DateTime):
        return "2024-02-29 12:00:00"
    if isinstance(column.type, String):
        return "A1"
    return 50 if "lat" in column.name else 10 if "lon" in column.name else 1


def _hex(shape: shapely.Geometry) -> str:
    return shapely.to_wkb(shapely.set_srid(shape, 4326), hex=True, include_srid=True)


def _write(path: Path, lines: list[list[object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    csv.writer(text).writerows(lines)
    path.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))
    return path
