"""Declared columns as the reader needs them: Arrow type, limits, and part in a position."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
import sqlalchemy as sa

from flux_assets.spec import StaticTable, is_spatial, type_ddl


@dataclass(frozen=True, kw_only=True, slots=True)
class Spatial:
    """What a geometry column takes: `kind` of WKB (None: any), SRID, and whether points carry Z and M.

    `drawn` are the kinds of WKB allowed for it and its parts, where these are narrower than its type.
    """

    kind: int | None
    srid: int
    has_z: bool
    has_m: bool
    drawn: frozenset[int] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadColumn:
    """A column as the reader sees it.

    `arrow` is the type delivered, `longest` the limit in characters, `axis` whether it holds degrees of a position.
    """

    name: str
    ddl: str
    arrow: pa.DataType
    nullable: bool
    longest: int | None = None
    axis: Literal["longitude", "latitude"] | None = None
    spatial: Spatial | None = None


_SIMPLE = "POINT LINESTRING POLYGON MULTIPOINT MULTILINESTRING MULTIPOLYGON GEOMETRYCOLLECTION"
_CURVED = "CIRCULARSTRING COMPOUNDCURVE CURVEPOLYGON MULTICURVE MULTISURFACE"
KIND_NAMES = dict(enumerate(f"{_SIMPLE} {_CURVED}".split(), 1)) | {15: "POLYHEDRALSURFACE", 16: "TIN", 17: "TRIANGLE"}
KINDS = {name: number for number, name in KIND_NAMES.items()}


def read_columns(table: StaticTable) -> tuple[ReadColumn, ...]:
    """Return the columns of a declaration, in its order."""
    axes: dict[str, Literal["longitude", "latitude"]] = {}
    for position in table.positions:
        axes |= {position.longitude: "longitude", position.latitude: "latitude"}
    return tuple(
        ReadColumn(
            name=column.name,
            ddl=type_ddl(column),
            arrow=_arrow(column),
            nullable=bool(column.nullable),
            longest=column.type.length if isinstance(column.type, sa.String) else None,
            axis=axes.get(column.name),
            spatial=_spatial(table, column) if is_spatial(column) else None,
        )
        for column in table.columns
    )


def _arrow(column: sa.Column[object]) -> pa.DataType:
    kind = column.type
    if is_spatial(column):
        return pa.binary()
    if isinstance(kind, sa.Double):
        return pa.float64()
    if isinstance(kind, sa.Numeric):
        return pa.decimal128(kind.precision or 38, kind.scale or 0)
    if isinstance(kind, sa.DateTime):
        return pa.timestamp("us", tz="UTC" if kind.timezone else None)
    simple = ((sa.String, pa.string()), (sa.BigInteger, pa.int64()), (sa.Integer, pa.int32()), (sa.Date, pa.date32()))
    return next(arrow for declared, arrow in simple if isinstance(kind, declared))


def _spatial(table: StaticTable, column: sa.Column[object]) -> Spatial:
    name = str(getattr(column.type, "geometry_type", None) or "GEOMETRY").upper()
    dimension = int(getattr(column.type, "dimension", 2) or 2)
    flat = name.removesuffix("ZM").removesuffix("M").removesuffix("Z")
    return Spatial(
        kind=KINDS.get(flat),
        srid=int(getattr(column.type, "srid", 4326)),
        has_z=name.endswith(("Z", "ZM")) or dimension == 4,
        has_m=name.endswith("M"),
        drawn=_drawn(table) if column in table.mixed_columns else None,
    )


def _drawn(table: StaticTable) -> frozenset[int] | None:
    """Return the kinds that must be drawable; those that are only reported are judged once staged."""
    return frozenset(KINDS[kind] for kind in table.drawable.kinds) if table.drawable.others == "refuse" else None
