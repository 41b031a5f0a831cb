"""The vocabulary of declarations: what a table is, never how it is filled. The facts that it states are in facts.py."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Literal

import sqlalchemy as sa
from geoalchemy2 import Geography, Geometry
from sqlalchemy.dialects import postgresql

from flux_assets.spec.facts import (
    KIND_NAMES,
    SIMPLE_KINDS,
    AcceptedValues,
    Alias,
    Assignment,
    Computed,
    Derived,
    Drawable,
    Freshness,
    Picture,
    Position,
    Range,
    Reference,
    RowFilter,
    SourceColumn,
    Volume,
)

_KNOWN_TYPES = (sa.String, sa.Integer, sa.BigInteger, sa.Double, sa.Numeric, sa.DateTime, sa.Date, Geometry, Geography)
_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")


class DeclarationError(ValueError):
    """A declaration contradicts itself; raised while it is constructed, with the table's name."""


def geometry_kind(column: sa.Column[object]) -> str:
    """Return the declared kind of a spatial column without its dimensions: POINT, or GEOMETRY for any kind."""
    return re.sub(r"(Z|M|ZM)$", "", str(getattr(column.type, "geometry_type", None) or "GEOMETRY").upper())


def type_ddl(column: sa.Column[object]) -> str:
    """Return the column's PostgreSQL type as DDL text, for example `varchar(50)` or `geometry(POINT,4326)`."""
    return str(column.type.compile(dialect=_DIALECT)).lower()


def index_method(index: sa.Index) -> str:
    """Return the index's access method, `btree` unless declared otherwise."""
    return str(index.dialect_options["postgresql"]["using"] or "btree")


def index_terms(index: sa.Index) -> tuple[str, ...]:
    """Return what the index is over, as PostgreSQL writes it: names of columns, expressions within parentheses."""
    return tuple(f"({each.text})" if isinstance(each, sa.TextClause) else str(each.name) for each in _terms(index))


def _terms(index: sa.Index) -> list[sa.Column[object] | sa.TextClause]:
    return [each for each in index.expressions if isinstance(each, (sa.Column, sa.TextClause))]


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
        for problem in self._problems():
            raise DeclarationError(f"table {self.table.name}: {problem}")

    def _problems(self) -> Iterator[str]:
        """Yield what contradicts itself, in words that follow the table's name."""
        yield from _table_problems(self.table)
        for column in self.columns:
            yield from _column_problems(column)
        if strange := [index.name for index in self.indexes if len(index_terms(index)) != len(index.expressions)]:
            yield f"indexes over what is no column and no text(…): {', '.join(map(str, strange))}"
        facts: tuple[Reference | Range | AcceptedValues, ...] = (*self.references, *self.ranges, *self.accepted)
        named = {fact.column for fact in facts}
        for position in self.positions:
            named |= {position.longitude, position.latitude} | ({position.same_as} if position.same_as else set())
        if unknown := named - set(self.column_names):
            yield f"it refers to columns it does not have: {', '.join(sorted(unknown))}"
        if unknown := set(self.drawable.kinds) - set(KIND_NAMES.values()):
            yield f"it says that unknown kinds of geometry are drawn: {', '.join(sorted(unknown))}"
        for column in self.spatial_columns if self.drawable.others == "refuse" else ():
            name, kind = column.name, geometry_kind(column)
            if kind not in {*self.drawable.kinds, "GEOMETRY"}:
                yield f"column {name} holds {kind}, which is not among the kinds of geometry that the table draws"
        for bounds in self.ranges:
            if not bounds.minimum < bounds.maximum:
                yield f"the range of {bounds.column} is empty"
        for judged in self.accepted:
            if not judged.values:
                yield f"no value of {judged.column} is accepted; name at least one"
        if self.volume.is_empty:
            yield "its volume has a minimum above its maximum"

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
        return tuple(column for column in self.columns if isinstance(column.type, (Geometry, Geography)))

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

    @property
    def twins(self) -> Iterator[str]:
        """Indexes and unique keys as left_behind.sql and hanging.sql write what stands in a database in their place."""
        for index in self.indexes:
            yield f"{str(bool(index.unique)).lower()}{index_method(index)} ({', '.join(index_terms(index))})"
        for key in self.unique_keys:
            yield f"UNIQUE ({', '.join(key)})"
            yield f"truebtree ({', '.join(key)})"

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of what shapes stored rows: columns, types, key, indexes. A change of it reloads the layer."""
        drawn = [f"drawable {sorted(self.drawable.kinds)} {self.drawable.others}"]
        facts = [
            *(f"column {c.name} {type_ddl(c)} {'null' if c.nullable else 'not null'}" for c in self.columns),
            *(drawn if self.drawable != Drawable() else []),
            f"key {self.key}",
            *(f"unique {columns}" for columns in self.unique_keys),
            *sorted(
                f"{'unique ' if index.unique else ''}index {index_method(index)} {index_terms(index)}"
                for index in self.indexes
            ),
        ]
        return hashlib.sha256("\n".join(facts).encode()).hexdigest()


def _table_problems(table: sa.Table) -> Iterator[str]:
    if not _NAME.fullmatch(table.name):
        yield "its name is not a plain lower-case identifier of at most 63 characters"
    if table.schema is not None:
        yield "it names a schema; the schema is a setting"
    if not table.comment:
        yield "it has no comment"
    if table.foreign_keys:
        yield "it has a foreign key; declare a Reference, which is checked and does not block a load"


def _column_problems(column: sa.Column[object]) -> Iterator[str]:
    kind = column.type
    if not _NAME.fullmatch(column.name):
        yield f"column {column.name!r} is not a plain lower-case identifier"
    if not column.comment:
        yield f"column {column.name} has no comment"
    if not isinstance(kind, _KNOWN_TYPES):
        legal = ", ".join(known.__name__ for known in _KNOWN_TYPES)
        yield f"column {column.name} has the type {type_ddl(column)}, which no release file carries; use one of {legal}"
    if isinstance(kind, sa.Numeric) and not isinstance(kind, sa.Float) and kind.precision is None:
        yield f"column {column.name} is numeric without a precision; write Numeric(12, 2) or the like"
    if column.primary_key and column.autoincrement is not False and isinstance(kind, sa.Integer):
        yield f"column {column.name} would become SERIAL; write autoincrement=False"
    if isinstance(kind, (Geometry, Geography)):
        if kind.srid != 4326:
            yield f"column {column.name} has SRID {kind.srid}; layers are stored in EPSG:4326"
        if kind.spatial_index:
            yield f"column {column.name} asks for an automatic index; write spatial_index=False and declare a GiST one"


@dataclass(frozen=True, kw_only=True)
class StaticTable(Declaration):
    """A layer published as a version: loaded whole from one file of a release, or computed from other layers."""

    release_rows: int = 1_000
    """The rows of the published release, about: large layers are loaded first. The sample city has as many."""
    file: Literal["required", "optional", "none"] = "required"
    """Whether releases have a file of it. Without an optional one the layer is computed, or stays as it is."""
    computed: Computed | None = None
    """How the rows are made where there is no file."""
    draw: str = "#4c78a8"
    """The layer's colour in previews and docs, as Matplotlib writes colours."""
    ground: str | None = None
    """The pale colour in which the layer lies behind the previews of others; None keeps it out of them."""

    @property
    def file_name(self) -> str:
        return f"{self.name}.csv.gz"

    def _problems(self) -> Iterator[str]:
        yield from super()._problems()
        if self.file == "none" and self.computed is None:
            yield "it has neither a file nor a query; say how it is computed"
        if self.file == "required" and self.computed is not None:
            yield "its file is required, so it is never computed; make the file optional or none"
        if self.computed and self.name in self.computed.inputs:
            yield "it is computed from itself"


@dataclass(frozen=True, kw_only=True)
class View:
    """A view of layers and of other views, made and kept as declared."""

    name: str
    description: str
    inputs: tuple[str, ...]
    """Names of the layers, and of the other views, that it reads."""
    query: str
    """A SELECT; tables are named without a schema."""
    owner: str = "team:gis"
    """The owner that Dagster shows on the asset."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise DeclarationError(f"view {self.name!r}: its name is not a plain lower-case identifier")

    @classmethod
    def beside(cls, module: str, *, inputs: tuple[str, ...], description: str) -> View:
        """Return the view of the SQL file beside a `module` (its `__file__`), whose name it has."""
        path = Path(module).with_suffix(".sql")
        query = path.read_text(encoding="utf-8").strip().removesuffix(";")
        return cls(name=path.stem, description=description, inputs=inputs, query=query)


@dataclass(frozen=True, kw_only=True)
class DynamicTable(Declaration):
    """A table kept equal to rows of one Snowflake table, by differences, every few minutes.

    Each column has one origin: a source column, the point of a position, a derived column, or one of the two times.
    """

    source: str
    """Name of the Snowflake table."""
    source_columns: tuple[SourceColumn, ...]
    row_filter: RowFilter | None = None
    """None takes every row."""
    derived: tuple[Derived, ...] = ()
    arrived_column: str | None = None
    """Filled with the time (UTC) at which the row first arrived here."""
    changed_column: str | None = None
    """Filled with the time (UTC) at which the row last changed here."""
    change_names: tuple[str, ...] = ("UPDATED_AT",)
    """Source columns that date a row's last change, where they exist: they measure the lag and are not stored."""
    vanished_share: float = 0.2
    """The share of rows that may vanish from the source between two syncs before it counts as truncated or half-loaded.

    Then the table is left as it was and its sync fails. Rows that closed or left their window are still in the source
    and do not count.
    """
    vanished_minimum: int = 20
    """This many may always vanish, but no more than half: a small table must not lose all its rows for a new one."""
    change_token: bool | None = None
    """None trusts the change token of an ordinary table only; True or False decides for any kind of object."""
    token_lasts: timedelta = timedelta(hours=1)
    """A source whose trusted token has not changed is read again after this time nevertheless."""
    read_every: timedelta | None = None
    """Reads a source without a trusted token only this often, so changes arrive that much later; None: every sync."""
    freshness: Freshness = field(default_factory=Freshness)
    picture: Picture | None = None
    """None draws no preview of the rows."""
    aliases: tuple[Alias, ...] = ()
    """Further names under which the view in the schema of compatibility shows columns; without any there is no view."""

    @cached_property
    def source_filled(self) -> tuple[str, ...]:
        """Names of the columns that the source fills, in the table's order."""
        targets = {column.target for column in self.source_columns}
        return tuple(name for name in self.column_names if name in targets)

    @cached_property
    def computed(self) -> tuple[str, ...]:
        """Names of the columns computed here and not read; one with two origins occurs twice."""
        points = [position.same_as for position in self.positions]
        made = [column.target for column in self.derived if not column.fills]
        return tuple(filter(None, [*points, *made, *self.bookkeeping]))

    @cached_property
    def origins(self) -> tuple[str, ...]:
        """Names of the tables that derived columns are computed from."""
        return tuple(dict.fromkeys(column.from_table for column in self.derived))

    @property
    def bookkeeping(self) -> tuple[str, ...]:
        """Names of the columns that say when a row came and when it last changed here, where there are any."""
        return tuple(filter(None, (self.arrived_column, self.changed_column)))

    def may_vanish(self, rows_before: int) -> float:
        """Return how many of `rows_before` may vanish from the source."""
        return max(self.vanished_share * rows_before, min(self.vanished_minimum, rows_before / 2))

    def without_source(self, target: str) -> str:
        """Return what a source column becomes when the source lacks it, in words that follow `is`."""
        filling = next((column.from_table for column in self.derived if column.fills and column.target == target), None)
        if filling is not None:
            return f"filled from {filling}"
        return next((column.otherwise for column in self.source_columns if column.target == target), None) or "NULL"

    def _problems(self) -> Iterator[str]:
        yield from super()._problems()
        if not self.key:
            yield "it has no primary key, so a sync cannot match its rows"
        known, fed = set(self.column_names), [column.target for column in self.source_columns]
        targets = [*fed, *self.computed]
        rows, drawn = self.row_filter, self.picture
        for what, names in (
            ("columns with two origins", {name for name in targets if targets.count(name) > 1}),
            ("origins of columns it does not have", set(targets) - known),
            ("columns without an origin", known - set(targets)),
            ("source columns without a name", {column.target for column in self.source_columns if not column.names}),
            (
                "its row filter uses columns that no source column feeds",
                {rows.status_column, rows.time_column} - set(fed) if rows else set(),
            ),
            (
                "its picture uses columns it does not have",
                {drawn.colour_column, drawn.size_column} - known if drawn else set(),
            ),
        ):
            if names:
                yield f"{what}: {', '.join(sorted(names))}"
        for derived in self.derived:
            yield from self._derived_problems(derived)
        if drawn and not any(position.same_as for position in self.positions):
            yield "it has a picture and no position with a point to draw"
        if odd := [alias.name for alias in self.aliases if not _NAME.fullmatch(alias.name)]:
            yield f"aliases that are no plain lower-case identifiers: {', '.join(odd)}"
        if self.freshness.warn >= self.freshness.fail:
            yield "its freshness fails before it warns; make `fail` longer than `warn`"
        if not 0 < self.vanished_share <= 1:
            yield "the share of rows that may vanish is not between 0 and 1"

    def _derived_problems(self, derived: Derived) -> Iterator[str]:
        if derived.from_table == self.name:
            yield f"{derived.target} is derived from the table itself"
        if derived.here not in self.source_filled:
            yield f"{derived.target} is derived by {derived.here}, which no source column feeds"
        if (derived.of_column is None) != (derived.function == "count"):
            yield f"{derived.target}: count takes rows, avg and any take a column"
        if (derived.where_column is None) != (not derived.where_values):
            yield f"{derived.target} has half of a condition; give both where_column and where_values"
        if derived.other_axis is not None and derived.function != "avg":
            yield f"{derived.target} has other_axis and is not a mean of positions; use it with avg only"
