"""What a column or an index of a SQLAlchemy table is, in PostgreSQL's terms."""

from __future__ import annotations

import re

import sqlalchemy as sa
from geoalchemy2 import Geography, Geometry
from sqlalchemy.dialects import postgresql

KNOWN_TYPES = (
    sa.String,
    sa.Integer,
    sa.BigInteger,
    sa.Double,
    sa.Numeric,
    sa.DateTime,
    sa.Date,
    Geometry,
    Geography,
)
SIMPLE_KINDS = ("POINT", "LINESTRING", "POLYGON", "MULTIPOINT", "MULTILINESTRING", "MULTIPOLYGON")
CURVED_KINDS = (
    "CIRCULARSTRING",
    "COMPOUNDCURVE",
    "CURVEPOLYGON",
    "MULTICURVE",
    "MULTISURFACE",
    "POLYHEDRALSURFACE",
    "TIN",
    "TRIANGLE",
)
_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]


def is_spatial(column: sa.Column[object]) -> bool:
    """Return whether a column holds geometry or geography."""
    return isinstance(column.type, (Geometry, Geography))


def geometry_kind(column: sa.Column[object]) -> str:
    """Return the declared kind of a spatial column without its dimensions: POINT, or GEOMETRY for any kind."""
    return re.sub(r"(Z|M|ZM)$", "", str(getattr(column.type, "geometry_type", None) or "GEOMETRY").upper())


def type_ddl(column: sa.Column[object]) -> str:
    """Return the column's PostgreSQL type as DDL text, for example `varchar(50)` or `geometry(POINT,4326)`."""
    return str(column.type.compile(dialect=_DIALECT)).lower()


def index_columns(index: sa.Index) -> tuple[str, ...]:
    """Return the names of a declared index's columns, in its order."""
    return tuple(column.name for column in index.columns)


def index_method(index: sa.Index) -> str:
    """Return the index's access method, `btree` unless declared otherwise."""
    return str(index.dialect_options["postgresql"]["using"] or "btree")
