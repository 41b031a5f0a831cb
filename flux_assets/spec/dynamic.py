"""Tables synced from Snowflake: what they are, and which of them count or average the rows of which other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeVar

from flux_assets.spec.checks import Assignment
from flux_assets.spec.declaration import Declaration, DeclarationError
from flux_assets.spec.sources import Derived, Freshness, Picture, RowFilter, SourceColumn, Tokens, Vanished

_AnyTable = TypeVar("_AnyTable", bound=Declaration)


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
    vanished: Vanished = field(default_factory=Vanished)
    tokens: Tokens = field(default_factory=Tokens)
    freshness: Freshness = field(default_factory=Freshness)
    picture: Picture | None = None
    """None draws no preview of the rows."""

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
        """Names of the columns computed here and not read; one with two origins occurs twice."""
        points = [position.same_as for position in self.positions]
        made = [column.target for column in self.derived if not column.fills]
        return tuple(filter(None, [*points, *made, self.arrived_column, self.changed_column]))

    def without_source(self, target: str) -> str:
        """Return what a source column becomes when the source lacks it, in words that follow `is`."""
        filling = next((column.from_table for column in self.derived if column.fills and column.target == target), None)
        if filling is not None:
            return f"filled from {filling}"
        return next((column.otherwise for column in self.source_columns if column.target == target), None) or "NULL"

    @cached_property
    def origins(self) -> tuple[str, ...]:
        """Names of the tables that derived columns are computed from."""
        return tuple(dict.fromkeys(column.from_table for column in self.derived))


def with_assignments(tables: Iterable[_AnyTable]) -> tuple[_AnyTable, ...]:
    """Return the tables, each with the assignments of its rows to the tables that count or average them."""
    known = tuple(tables)
    takers = [table for table in known if isinstance(table, DynamicTable)]
    return tuple(_with_assignments(table, takers) for table in known)


def _with_assignments(table: _AnyTable, takers: Iterable[DynamicTable]) -> _AnyTable:
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
    """Return the assignment: rows that no condition counts may be unassigned, but every open row is judged."""
    columns = {each.where_column for each in derived}
    where_column = None if len(columns) > 1 else columns.pop()
    values = [value for each in derived for value in each.where_values] if where_column else []
    taken = table.row_filter if isinstance(table, DynamicTable) else None
    if taken and taken.status_column == where_column:
        values += taken.open_statuses
    return Assignment(
        column=column,
        to_table=to_table,
        to_column=to_column,
        where_column=where_column,
        where_values=tuple(dict.fromkeys(values)),
        required=isinstance(table, DynamicTable),
    )


def _source_problems(declaration: DynamicTable) -> Iterator[str]:
    if not declaration.key:
        yield "it has no primary key, so a sync cannot match its rows"
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
        yield f"its row filter uses columns that no source column feeds: {', '.join(sorted(unknown))}"
    if drawn := declaration.picture:
        if unknown := {drawn.colour_column, drawn.size_column} - set(declaration.column_names):
            yield f"its picture uses columns it does not have: {', '.join(sorted(unknown))}"
        if not any(position.same_as for position in declaration.positions):
            yield "it has a picture and no position with a point to draw"
    if declaration.freshness.warn >= declaration.freshness.fail:
        yield "its freshness fails before it warns; make `fail` longer than `warn`"
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
        yield f"{derived.target} has half of a condition; give both where_column and where_values"
    if derived.other_axis is not None and derived.function != "avg":
        yield f"{derived.target} has other_axis and is not a mean of positions; use it with avg only"
