"""What static and dynamic tables have in common, the digest of a declaration, and what makes one contradict itself."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import sqlalchemy as sa
from geoalchemy2 import Geography, Geometry

from flux_assets.spec.checks import AcceptedValues, Assignment, Drawable, Position, Range, Reference, Volume
from flux_assets.spec.columns import (
    CURVED_KINDS,
    KNOWN_TYPES,
    SIMPLE_KINDS,
    geometry_kind,
    index_columns,
    index_method,
    is_spatial,
    type_ddl,
)

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")


class DeclarationError(ValueError):
    """A declaration contradicts itself; raised while it is constructed, with the table's name."""


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """The facts that static and dynamic tables have in common."""

    table: sa.Table
    """Columns, types, key, indexes and comments. The DDL, the asset and the data dictionary follow from it."""
    references: tuple[Reference, ...] = ()
    ranges: tuple[Range, ...] = ()
    accepted: tuple[AcceptedValues, ...] = ()
    volume: Volume = field(default_factory=Volume)
    positions: tuple[Position, ...] = ()
    drawable: Drawable = field(default_factory=Drawable)
    owner: str = "team:gis"
    """The owner that Dagster shows on the asset."""
    assignments: tuple[Assignment, ...] = ()
    """Left out of declarations: `with_assignments` fills it in."""

    def __post_init__(self) -> None:
        for problem in _problems(self):
            raise DeclarationError(f"table {self.table.name}: {problem}")

    @property
    def name(self) -> str:
        """The name of the table, and the key of its asset."""
        return self.table.name

    @property
    def description(self) -> str:
        return str(self.table.comment)

    @cached_property
    def key(self) -> tuple[str, ...]:
        """Names of the primary key's columns; empty where there is no key."""
        return tuple(column.name for column in self.table.primary_key.columns)

    @cached_property
    def columns(self) -> tuple[sa.Column[object], ...]:
        return tuple(self.table.columns)

    @cached_property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @cached_property
    def spatial_columns(self) -> tuple[sa.Column[object], ...]:
        return tuple(column for column in self.columns if is_spatial(column))

    @cached_property
    def mixed_columns(self) -> tuple[sa.Column[object], ...]:
        """Spatial columns whose type allows several kinds of geometry."""
        return tuple(column for column in self.spatial_columns if geometry_kind(column) not in SIMPLE_KINDS)

    @cached_property
    def unique_keys(self) -> tuple[tuple[str, ...], ...]:
        """The column sets of the unique constraints, the primary key apart."""
        constraints = (c for c in self.table.constraints if isinstance(c, sa.UniqueConstraint))
        return tuple(sorted(tuple(column.name for column in c.columns) for c in constraints))

    @cached_property
    def indexes(self) -> tuple[sa.Index, ...]:
        """The declared indexes by name, those of keys and unique constraints apart."""
        return tuple(sorted(self.table.indexes, key=lambda index: str(index.name)))

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of what shapes stored rows: columns, types, key, indexes. A change of it reloads the layer."""
        return hashlib.sha256("\n".join(_structure(self)).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class StaticTable(Declaration):
    """A layer loaded whole from one file of a release and published as a version."""

    release_rows: int
    """The rows of the published release; the sample city aims at this number at scale 1."""
    draw: str = "#4c78a8"
    """The layer's colour in previews and docs, as Matplotlib writes colours."""
    ground: str | None = None
    """The pale colour in which the layer lies behind the previews of others; None keeps it out of them."""

    @property
    def file_name(self) -> str:
        """The name of the layer's file in a release."""
        return f"{self.name}.csv.gz"


def _structure(declaration: Declaration) -> Iterator[str]:
    for column in declaration.columns:
        yield f"column {column.name} {type_ddl(column)} {'null' if column.nullable else 'not null'}"
    if declaration.drawable != Drawable():
        yield f"drawable {sorted(declaration.drawable.kinds)} {declaration.drawable.others}"
    yield f"key {declaration.key}"
    yield from (f"unique {columns}" for columns in declaration.unique_keys)
    yield from sorted(
        f"{'unique ' if index.unique else ''}index {index_method(index)} {index_columns(index)}"
        for index in declaration.indexes
    )


def _problems(declaration: Declaration) -> Iterator[str]:
    table = declaration.table
    if not _NAME.fullmatch(table.name):
        yield "its name is not a plain lower-case identifier of at most 63 characters"
    if table.schema is not None:
        yield "it names a schema; the schema is a setting"
    if not table.comment:
        yield "it has no comment"
    if table.foreign_keys:
        yield "it has a foreign key; declare a Reference, which is checked and does not block a load"
    yield from (problem for column in table.columns for problem in _column_problems(column))
    named = {reference.column for reference in declaration.references}
    named |= {bounds.column for bounds in declaration.ranges} | {each.column for each in declaration.accepted}
    for position in declaration.positions:
        named |= {position.longitude, position.latitude} | ({position.same_as} if position.same_as else set())
    if unknown := named - set(table.columns.keys()):
        yield f"it refers to columns it does not have: {', '.join(sorted(unknown))}"
    yield from _drawable_problems(declaration)
    for bounds in declaration.ranges:
        if not bounds.minimum < bounds.maximum:
            yield f"the range of {bounds.column} is empty"
    yield from (
        f"no value of {judged.column} is accepted; name at least one"
        for judged in declaration.accepted
        if not judged.values
    )
    if declaration.volume.maximum is not None and declaration.volume.minimum > declaration.volume.maximum:
        yield "its volume has a minimum above its maximum"


def _drawable_problems(declaration: Declaration) -> Iterator[str]:
    kinds = declaration.drawable.kinds
    if unknown := set(kinds) - {*SIMPLE_KINDS, *CURVED_KINDS, "GEOMETRYCOLLECTION"}:
        yield f"it says that unknown kinds of geometry are drawn: {', '.join(sorted(unknown))}"
    for column in declaration.spatial_columns:
        if (kind := geometry_kind(column)) not in {*kinds, "GEOMETRY"} and declaration.drawable.others == "refuse":
            yield f"column {column.name} holds {kind}, which is not among the kinds of geometry that the table draws"


def _column_problems(column: sa.Column[object]) -> Iterator[str]:
    if not _NAME.fullmatch(column.name):
        yield f"column {column.name!r} is not a plain lower-case identifier"
    if not column.comment:
        yield f"column {column.name} has no comment"
    if not isinstance(column.type, KNOWN_TYPES):
        legal = ", ".join(known.__name__ for known in KNOWN_TYPES)
        yield f"column {column.name} has the type {type_ddl(column)}, which no release file carries; use one of {legal}"
    if isinstance(column.type, sa.Numeric) and not isinstance(column.type, sa.Float) and column.type.precision is None:
        yield f"column {column.name} is numeric without a precision; write Numeric(12, 2) or the like"
    if column.primary_key and column.autoincrement is not False and isinstance(column.type, sa.Integer):
        yield f"column {column.name} would become SERIAL; write autoincrement=False"
    if isinstance(column.type, (Geometry, Geography)):
        if column.type.srid != 4326:
            yield f"column {column.name} has SRID {column.type.srid}; layers are stored in EPSG:4326"
        if column.type.spatial_index:
            yield f"column {column.name} asks for an automatic index; write spatial_index=False and declare a GiST one"
