"""A made-up layer and release files for it: small, and none of the declared ones."""

import csv
import gzip
import io
from collections.abc import Iterable
from pathlib import Path

import shapely
from geoalchemy2 import Geometry
from sqlalchemy import Column, Double, Index, MetaData, String, Table

from flux_assets.spec import Range, StaticTable

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
    folder.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["tree_id", "height_m", "geom"])
    for tree_id, height, longitude, latitude in rows:
        point = shapely.set_srid(shapely.Point(longitude, latitude), 4326)
        writer.writerow([tree_id, height, shapely.to_wkb(point, hex=True, include_srid=True)])
    path = folder / f"{name}.csv.gz"
    path.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))
    return path
