"""A made-up layer, its release files, and loading it: what tests of the engine share.

The engine is tested with a made-up table, so that no declared table can break it.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa
from geoalchemy2 import Geometry

from flux_assets.layers.context import LoadOptions
from flux_assets.layers.load import LoadResult, load_layer
from flux_assets.postgis.session import Target
from flux_assets.release.release import Release
from flux_assets.spec import StaticTable
from flux_assets.spec.facts import Position, Range, Reference

Row = Mapping[str, object]


def point(longitude: float, latitude: float, srid: int = 4326) -> str:
    """A point as release files write it: hexadecimal EWKB."""
    return struct.pack("<BIIdd", 1, 0x20000001, srid, longitude, latitude).hex().upper()


def columns(**replaced: sa.Column | None) -> list[sa.Column]:
    """The made-up layer's columns; a keyword replaces, adds, or with None leaves out the column of that name."""
    standard = {
        "id": sa.Column("id", sa.String(20), primary_key=True, comment="Identifier."),
        "code": sa.Column("code", sa.Integer, comment="Unique number."),
        "name": sa.Column("name", sa.String(50), comment="Name."),
        "score": sa.Column("score", sa.Double, comment="Share, 0 to 1."),
        "longitude": sa.Column("longitude", sa.Double, comment="Degrees (EPSG:4326)."),
        "latitude": sa.Column("latitude", sa.Double, comment="Degrees (EPSG:4326)."),
        "parent_id": sa.Column("parent_id", sa.String(20), comment="Another row."),
        "geom": sa.Column("geom", Geometry("POINT", srid=4326, spatial_index=False), comment="Position (EPSG:4326)."),
    }
    return [column for column in (standard | replaced).values() if column is not None]


def made_up(name: str = "poles", parts: Iterable[sa.schema.SchemaItem] | None = None, **more: object) -> StaticTable:
    """The declaration of the made-up layer."""
    parts = list(columns() if parts is None else parts)
    names = {part.name for part in parts if isinstance(part, sa.Column)}
    extras: list[sa.schema.SchemaItem] = []
    if "geom" in names:
        extras.append(sa.Index(f"{name}_geom_idx", "geom", postgresql_using="gist"))
    if "name" in names:
        extras.append(sa.Index(f"{name}_name_idx", "name"))
    if "code" in names:
        extras.append(sa.UniqueConstraint("code"))
    facts = {
        "positions": (Position(longitude="longitude", latitude="latitude", same_as="geom"),),
        "ranges": (Range(column="score", minimum=0, maximum=1),),
        "references": (Reference(column="parent_id", to_table=name, to_column="id"),),
        "release_rows": 100,
    }
    table = sa.Table(name, sa.MetaData(), *parts, *extras, comment=more.pop("comment", "Made-up poles."))
    return StaticTable(table=table, **(facts | more))


def rows(count: int, *, start: int = 0, tag: str = "") -> list[dict[str, object]]:
    """Good rows of the made-up layer."""
    return [
        {
            "id": f"{tag}{number:06d}",
            "code": number,
            "name": f"Pole {tag}{number}",
            "score": 0.5,
            "longitude": 10 + number / 1e4,
            "latitude": 50 + number / 1e4,
            "parent_id": None,
            "geom": point(10 + number / 1e4, 50 + number / 1e4),
        }
        for number in range(start, start + count)
    ]


def csv_field(value: object) -> str:
    """A value as PostgreSQL's COPY writes it to CSV."""
    if value is None:
        return ""
    text = str(value)
    return '"' + text.replace('"', '""') + '"' if text == "" or set(text) & set('",\n\r') else text


@dataclass
class ReleaseFolder:
    """A release in a folder, written by a test."""

    folder: Path
    tag: str = "v1"
    entries: list[dict[str, object]] = field(default_factory=list)

    def write(
        self, table: StaticTable, content: Iterable[Row] | str | bytes, *, header: Iterable[str] | None = None
    ) -> Path:
        """Write a layer's file from rows, CSV text or CSV bytes."""
        if not isinstance(content, str | bytes):
            names = list(header or table.column_names)
            lines = [",".join(names), *(",".join(csv_field(row.get(name)) for name in names) for row in content)]
            content = "\n".join(lines) + "\n"
        raw = content.encode() if isinstance(content, str) else content
        return self.write_raw(table, gzip.compress(raw, 1, mtime=0))

    def write_raw(self, table: StaticTable, raw: bytes) -> Path:
        """Write a layer's file as it is."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / table.file_name
        path.write_bytes(raw)
        return path

    def promise(self, table: StaticTable, **changed: object) -> None:
        """Put the layer's file into the manifest, with facts changed as a test wants."""
        raw = (self.folder / table.file_name).read_bytes()
        entry = {
            "table": table.name,
            "file": table.file_name,
            "rows": gzip.decompress(raw).count(b"\n") - 1,
            "bytes": len(raw),
            "sha256": hashlib.sha256(raw).hexdigest(),
        }
        self.entries = [other for other in self.entries if other["table"] != table.name] + [entry | changed]
        (self.folder / "manifest.json").write_text(json.dumps({"files": self.entries}))

    @property
    def release(self) -> Release:
        return Release(str(self.folder), self.tag, self.folder / ".cache")


@dataclass
class Loader:
    """Loads the made-up layer, or another, from one folder into one target, and keeps what was logged."""

    target: Target
    source: ReleaseFolder
    log: list[str] = field(default_factory=list)

    def load(self, table: StaticTable, content: object = None, **options: object) -> LoadResult:
        """Write `content` as the layer's file when it is given, then load the layer."""
        if content is not None:
            self.source.write(table, content)
        return load_layer(table, self.source.release, self.target, LoadOptions(**options), self.log.append)
