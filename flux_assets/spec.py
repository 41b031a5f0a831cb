"""The vocabulary of declarations: what a table of flux_assets is, and nothing of how it is filled.

Here: StaticTable and DynamicTable, the facts that SQL cannot say about a table (references, ranges,
positions, volume, Snowflake columns), the digest of a declaration, and the refusal of nonsense when one is
constructed. Not here: SQL text, Arrow types, Dagster, or the name of any table.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from typing import Literal, TypeVar

import sqlalchemy as sa
from geoalchemy2 import Geography, Geometry
from sqlalchemy.dialects import postgresql

KNOWN_TYPES = (
    sa.String, sa.Integer, sa.BigInteger, sa.Double, sa.Numeric, sa.DateTime, sa.Date, Geometry, Geography,
)  # fmt: skip
_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]
AnyTable = TypeVar("AnyTable", bound="Declaration")
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")


class DeclarationError(ValueError):
    """A declaration contradicts itself; raised while it is constructed, with the table's name."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """`column` should hold a value that `to_column` of `to_table` holds: a soft reference, judged, never enforced."""

    column: str
    to_table: str
    to_column: str


@dataclass(frozen=True, kw_only=True)
class Range:
    """`column` should lie between `minimum` and `maximum`, both allowed, in the column's own unit."""

    column: str
    minimum: float
    maximum: float


@dataclass(frozen=True, kw_only=True)
class AcceptedValues:
    """`column` should hold one of `values`. NULL is not judged: whether it may be NULL is the column's own matter."""

    column: str
    values: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Volume:
    """How many rows are plausible, both bounds allowed; no `maximum` is no bound. Wide enough for the worst storm."""

    minimum: int = 0
    maximum: int | None = None


@dataclass(frozen=True, kw_only=True)
class Position:
    """A pair of columns that hold degrees (EPSG:4326); finite and in range, or the load stops.

    `same_as` names a point column that should agree with the pair; a row that does not is a warning.
    """

    longitude: str
    latitude: str
    same_as: str | None = None


SIMPLE_KINDS = ("POINT", "LINESTRING", "POLYGON", "MULTIPOINT", "MULTILINESTRING", "MULTIPOLYGON")
CURVED_KINDS = (
    "CIRCULARSTRING", "COMPOUNDCURVE", "CURVEPOLYGON", "MULTICURVE", "MULTISURFACE", "POLYHEDRALSURFACE", "TIN",
    "TRIANGLE",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Drawable:
    """Kinds of geometry that the readers of a table can draw, and what becomes of `others`, within collections too.

    By default those of GeoJSON and of map tiles. `refuse` keeps a record of another kind out, as any bad value;
    `report` takes it and names its row in the check `drawable`.
    """

    kinds: tuple[str, ...] = (*SIMPLE_KINDS, "GEOMETRYCOLLECTION")
    others: Literal["refuse", "report"] = "refuse"


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """A row's `column` should hold a value that `to_column` of `to_table` holds: that table counts or averages the row.

    Follows from the Derived columns of the other table (`with_assignments`); nobody declares it twice. Only rows whose
    `where_column` holds one of `where_values` are judged, where that is given. A row without a value is judged too
    where `required`.
    """

    column: str
    to_table: str
    to_column: str
    where_column: str | None = None
    where_values: tuple[str, ...] = ()
    required: bool = False


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """What static and dynamic tables have in common. `table` is the SQLAlchemy table, comments and indexes included."""

    table: sa.Table
    references: tuple[Reference, ...] = ()
    ranges: tuple[Range, ...] = ()
    accepted: tuple[AcceptedValues, ...] = ()
    volume: Volume = field(default_factory=Volume)
    positions: tuple[Position, ...] = ()
    drawable: Drawable = field(default_factory=Drawable)
    owner: str = "team:gis"
    assignments: tuple[Assignment, ...] = ()

    def __post_init__(self) -> None:
        for problem in _problems(self):
            raise DeclarationError(f"table {self.table.name}: {problem}")

    @property
    def name(self) -> str:
        """The table's name: the asset's key and the public table's name."""
        return self.table.name

    @property
    def description(self) -> str:
        return str(self.table.comment)

    @cached_property
    def key(self) -> tuple[str, ...]:
        """Names of the primary key's columns; empty when the table has none."""
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
        """Columns whose type leaves open which kinds of geometry they hold."""
        return tuple(column for column in self.spatial_columns if geometry_kind(column) not in SIMPLE_KINDS)

    @cached_property
    def unique_keys(self) -> tuple[tuple[str, ...], ...]:
        """Column sets, other than the primary key, of which no two rows may be equal."""
        constraints = (c for c in self.table.constraints if isinstance(c, sa.UniqueConstraint))
        return tuple(sorted(tuple(column.name for column in c.columns) for c in constraints))

    @cached_property
    def indexes(self) -> tuple[sa.Index, ...]:
        """The declared indexes, those of keys and unique constraints apart, in a stable order."""
        return tuple(sorted(self.table.indexes, key=lambda index: str(index.name)))

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of all that shapes stored rows: columns, types, key, indexes. Comments do not count."""
        return hashlib.sha256("\n".join(_structure(self)).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class StaticTable(Declaration):
    """A layer loaded whole from one file of a release and published as a version.

    `release_rows` is the row count of the published release at scale 1; the sample city aims at it.
    `draw` picks how previews and docs colour the layer: a Matplotlib colour. `ground` is the quiet colour in which it
    lies behind the previews of others; None keeps it out of them.
    """

    release_rows: int
    draw: str = "#4c78a8"
    ground: str | None = None

    @property
    def file_name(self) -> str:
        """Name of the layer's file within a release."""
        return f"{self.name}.csv.gz"


@dataclass(frozen=True, kw_only=True)
class SourceColumn:
    """Where a target column comes from: Snowflake column names in order of preference.

    `required` stops the table's sync when none of them exists; without it the column becomes NULL and is reported.
    `otherwise` is the value stored where the source has NULL, or none of the columns.
    """

    target: str
    names: tuple[str, ...]
    required: bool = False
    otherwise: str | None = None


@dataclass(frozen=True, kw_only=True)
class RowFilter:
    """Which source rows a sync takes: open ones by `status_column`, or ones whose `time_column` lies in the window.

    `window` reaches back from the source's instant; later times count as inside it. Columns are target names.
    """

    status_column: str
    open_statuses: tuple[str, ...]
    time_column: str
    window: timedelta

    @property
    def said(self) -> str:
        """The rule in words."""
        return (
            f"{self.status_column} is one of {', '.join(self.open_statuses)},"
            f" or {self.time_column} lies within the last {self.window.days} days or later"
        )


@dataclass(frozen=True, kw_only=True)
class Derived:
    """A column computed here, from the rows of another declared table that share a value with this table's row.

    `target` becomes `function` over `of_column` of those rows of `from_table` in which column `there` equals this
    row's column `here` (and, where given, `where_column` holds one of `where_values`). `count` counts rows and gives
    0 for none, `avg` is NULL for none, `any` takes the value of one of them: for look-ups by a key.
    `fills` keeps what the source column of the same target says and only takes the place of its NULLs.
    `other_axis` names the other half of the position that `of_column` is a half of: 0 in both is no position, and does
    not move a mean. A table that is not there gives NULL.
    """

    target: str
    from_table: str
    here: str
    there: str
    function: Literal["avg", "count", "any"]
    of_column: str | None = None
    where_column: str | None = None
    where_values: tuple[str, ...] = ()
    fills: bool = False
    other_axis: str | None = None


@dataclass(frozen=True, kw_only=True)
class Vanished:
    """How many rows may vanish from a source table between two syncs before its table here is left alone.

    More than `share` of the rows held here, and more than `minimum` of them or than half: a truncated or half-loaded
    source. Without the half a small table could lose all its rows for a new one. Rows that closed or left their window
    are still in the source and do not count.
    """

    share: float = 0.2
    minimum: int = 20

    def allowed(self, rows_before: int) -> float:
        """How many rows may vanish from a table of `rows_before`."""
        return max(self.share * rows_before, min(self.minimum, rows_before / 2))


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """When a source counts as unchanged without being read.

    `change_token` None believes the token of an ordinary table and of nothing else; True or False says so whatever the
    object is. A believed one is believed for `token_lasts` at most. A source without a believed token is read at every
    sync, or only every so often where `read_every` says so: changes are seen that much later.
    """

    change_token: bool | None = None
    token_lasts: timedelta = timedelta(hours=1)
    read_every: timedelta | None = None


@dataclass(frozen=True, kw_only=True)
class Picture:
    """How a table's points are drawn for its asset's page.

    A colour (Matplotlib's) for each value of `colour_column` that `colours` names, small and grey for any other; larger
    dots for larger values of `size_column`.
    """

    colour_column: str
    colours: tuple[tuple[str, str], ...]
    size_column: str


@dataclass(frozen=True, kw_only=True)
class Freshness:
    """How long after the last sync a table is late (`warn`) and not to be trusted (`fail`).

    A source that has not changed for `still`, while it was looked at all the time, is worth a look too.
    """

    warn: timedelta = timedelta(minutes=11)
    fail: timedelta = timedelta(minutes=16)
    still: timedelta = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class DynamicTable(Declaration):
    """A table kept equal to rows of one Snowflake table, by differences, every few minutes.

    `source` is the Snowflake table's name. `row_filter` None takes every row. Columns without a source column are made
    here: points of `positions`, `derived` ones, `arrived_column` (when the row first came) and `changed_column` (when
    it last changed here; both in UTC). `change_names` are source columns that date a row's last change, where the
    source has one: they measure lag and are not stored.
    """

    source: str
    source_columns: tuple[SourceColumn, ...]
    row_filter: RowFilter | None = None
    derived: tuple[Derived, ...] = ()
    arrived_column: str | None = None
    changed_column: str | None = None
    change_names: tuple[str, ...] = ("UPDATED_AT",)
    vanished: Vanished = field(default_factory=Vanished)
    tokens: Tokens = field(default_factory=Tokens)
    freshness: Freshness = field(default_factory=Freshness)
    picture: Picture | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for problem in _source_problems(self):
            raise DeclarationError(f"table {self.table.name}: {problem}")

    @cached_property
    def source_filled(self) -> tuple[str, ...]:
        """Names of the columns that the source fills, in the table's order."""
        targets = {column.target for column in self.source_columns}
        return tuple(name for name in self.column_names if name in targets)

    @cached_property
    def computed(self) -> tuple[str, ...]:
        """Names of the columns that are made here alone, each named once for each origin that it has."""
        points = [position.same_as for position in self.positions]
        made = [column.target for column in self.derived if not column.fills]
        return tuple(filter(None, [*points, *made, self.arrived_column, self.changed_column]))

    def without_source(self, target: str) -> str:
        """What a fed column is when the source has none of its columns, in words that follow `is`."""
        filling = next((column.from_table for column in self.derived if column.fills and column.target == target), None)
        if filling is not None:
            return f"filled from {filling}"
        return next((column.otherwise for column in self.source_columns if column.target == target), None) or "NULL"

    @cached_property
    def origins(self) -> tuple[str, ...]:
        """Names of the tables that derived columns are computed from."""
        return tuple(dict.fromkeys(column.from_table for column in self.derived))


def with_assignments(tables: Iterable[AnyTable]) -> tuple[AnyTable, ...]:
    """The tables, each with the assignments of its rows to those others that count or average them."""
    known = tuple(tables)
    takers = [table for table in known if isinstance(table, DynamicTable)]
    return tuple(_with_assignments(table, takers) for table in known)


def _with_assignments(table: AnyTable, takers: Iterable[DynamicTable]) -> AnyTable:
    # A look-up need not use every row there is: not every substation feeds a circuit.
    taken: dict[tuple[str, str, str], list[Derived]] = {}
    for taker in takers:
        for derived in taker.derived:
            if derived.from_table == table.name and derived.function != "any":
                taken.setdefault((derived.there, taker.name, derived.here), []).append(derived)
    found = tuple(
        _assignment(table, column, to_table, to_column, derived)
        for (column, to_table, to_column), derived in taken.items()
    )
    return table if table.assignments == found else replace(table, assignments=found)


def _assignment(
    table: Declaration, column: str, to_table: str, to_column: str, derived: Sequence[Derived]
) -> Assignment:
    """Where only rows of one kind are counted, the others may belong to nobody; all that are open are of the kind."""
    columns = {each.where_column for each in derived}
    where_column = None if len(columns) > 1 else columns.pop()
    values = [value for each in derived for value in each.where_values] if where_column else []
    taken = table.row_filter if isinstance(table, DynamicTable) else None
    if taken and taken.status_column == where_column:
        values += taken.open_statuses
    return Assignment(
        column=column, to_table=to_table, to_column=to_column, where_column=where_column,
        where_values=tuple(dict.fromkeys(values)), required=isinstance(table, DynamicTable),
    )  # fmt: skip


def is_spatial(column: sa.Column[object]) -> bool:
    """Whether a column holds geometry or geography."""
    return isinstance(column.type, (Geometry, Geography))


def geometry_kind(column: sa.Column[object]) -> str:
    """The kind that a spatial column is declared with, without its dimensions: POINT, or GEOMETRY for any."""
    return re.sub(r"(Z|M|ZM)$", "", str(getattr(column.type, "geometry_type", None) or "GEOMETRY").upper())


def type_ddl(column: sa.Column[object]) -> str:
    """The column's PostgreSQL type as DDL text, for example `varchar(50)` or `geometry(POINT,4326)`."""
    return str(column.type.compile(dialect=_DIALECT)).lower()


def index_columns(index: sa.Index) -> tuple[str, ...]:
    """Names of the columns of a declared index, in its order."""
    return tuple(column.name for column in index.columns)


def index_method(index: sa.Index) -> str:
    """The index's access method, `btree` unless declared otherwise."""
    return str(index.dialect_options["postgresql"]["using"] or "btree")


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
        yield "it has a foreign key; declare a Reference, which judges and does not block a load"
    yield from (problem for column in table.columns for problem in _column_problems(column))
    named = {reference.column for reference in declaration.references}
    named |= {bounds.column for bounds in declaration.ranges} | {each.column for each in declaration.accepted}
    for position in declaration.positions:
        named |= {position.longitude, position.latitude} | ({position.same_as} if position.same_as else set())
    if unknown := named - set(table.columns.keys()):
        yield f"it speaks of columns it does not have: {', '.join(sorted(unknown))}"
    yield from _drawable_problems(declaration)
    for bounds in declaration.ranges:
        if not bounds.minimum < bounds.maximum:
            yield f"the range of {bounds.column} is empty"
    yield from (f"no value of {judged.column} is accepted" for judged in declaration.accepted if not judged.values)
    if declaration.volume.maximum is not None and declaration.volume.minimum > declaration.volume.maximum:
        yield "its volume has a minimum above its maximum"


def _drawable_problems(declaration: Declaration) -> Iterator[str]:
    kinds = declaration.drawable.kinds
    if unknown := set(kinds) - {*SIMPLE_KINDS, *CURVED_KINDS, "GEOMETRYCOLLECTION"}:
        yield f"it draws kinds of geometry that there are not: {', '.join(sorted(unknown))}"
    for column in declaration.spatial_columns:
        if (kind := geometry_kind(column)) not in {*kinds, "GEOMETRY"} and declaration.drawable.others == "refuse":
            yield f"column {column.name} holds {kind}, which is not among the kinds of geometry that it says are drawn"


def _column_problems(column: sa.Column[object]) -> Iterator[str]:
    if not _NAME.fullmatch(column.name):
        yield f"column {column.name!r} is not a plain lower-case identifier"
    if not column.comment:
        yield f"column {column.name} has no comment"
    if not isinstance(column.type, KNOWN_TYPES):
        yield f"column {column.name} has the type {type_ddl(column)}, which no release file carries"
    if isinstance(column.type, sa.Numeric) and not isinstance(column.type, sa.Float) and column.type.precision is None:
        yield f"column {column.name} is numeric without a precision; say Numeric(12, 2) or the like"
    if column.primary_key and column.autoincrement is not False and isinstance(column.type, sa.Integer):
        yield f"column {column.name} would become SERIAL; say autoincrement=False"
    if isinstance(column.type, (Geometry, Geography)):
        if column.type.srid != 4326:
            yield f"column {column.name} has SRID {column.type.srid}; layers are stored in EPSG:4326"
        if column.type.spatial_index:
            yield f"column {column.name} asks for an automatic index; say spatial_index=False and declare a GiST index"


def _source_problems(declaration: DynamicTable) -> Iterator[str]:
    if not declaration.key:
        yield "it has no primary key, so differences cannot be told"
    fed = [column.target for column in declaration.source_columns]
    targets = [*fed, *declaration.computed]
    if doubled := {name for name in targets if targets.count(name) > 1}:
        yield f"columns with two origins: {', '.join(sorted(doubled))}"
    if unknown := set(targets) - set(declaration.column_names):
        yield f"origins of columns it does not have: {', '.join(sorted(unknown))}"
    if orphans := set(declaration.column_names) - set(targets):
        yield f"columns without an origin: {', '.join(sorted(orphans))}"
    if empty := [column.target for column in declaration.source_columns if not column.names]:
        yield f"source columns without a name: {', '.join(empty)}"
    yield from (problem for derived in declaration.derived for problem in _derived_problems(declaration, derived))
    rows = declaration.row_filter
    if rows and (unknown := {rows.status_column, rows.time_column} - set(fed)):
        yield f"its rows are chosen by columns that no source column feeds: {', '.join(sorted(unknown))}"
    if drawn := declaration.picture:
        if unknown := {drawn.colour_column, drawn.size_column} - set(declaration.column_names):
            yield f"it is drawn by columns it does not have: {', '.join(sorted(unknown))}"
        if not any(position.same_as for position in declaration.positions):
            yield "it has a picture and no position with a point that could be drawn"
    if declaration.freshness.warn >= declaration.freshness.fail:
        yield "it would fail before it warns"
    if not 0 < declaration.vanished.share <= 1:
        yield "the share of rows that may vanish is not between 0 and 1"


def _derived_problems(declaration: DynamicTable, derived: Derived) -> Iterator[str]:
    if derived.from_table == declaration.name:
        yield f"{derived.target} is derived from the table itself"
    if derived.here not in declaration.source_filled:
        yield f"{derived.target} is derived by {derived.here}, which no source column feeds"
    if (derived.of_column is None) != (derived.function == "count"):
        yield f"{derived.target}: count takes rows, avg and any take a column"
    if (derived.where_column is None) != (not derived.where_values):
        yield f"{derived.target} has half of a condition"
    if derived.other_axis is not None and derived.function != "avg":
        yield f"{derived.target} has another axis, and is no mean of positions"
