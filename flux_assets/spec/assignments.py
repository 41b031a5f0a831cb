"""Which tables count or average the rows of which other, as the derived columns of the one say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from flux_assets.spec import Declaration, DynamicTable
from flux_assets.spec.facts import Assignment, Derived

_AnyTable = TypeVar("_AnyTable", bound=Declaration)


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
    found = tuple(_assignment(table, *joined, derived) for joined, derived in taken.items())
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
