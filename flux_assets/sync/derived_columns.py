"""Computed columns as SQL, made from a declaration: points from positions, and values derived from other tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import attrgetter

from psycopg import sql
from psycopg.sql import Composable, Composed, Identifier

from flux_assets.postgis import relations
from flux_assets.postgis.relations import LiveTable, by_value, own_rows, text_by_value
from flux_assets.spec.facts import Derived, Position

# Means are rounded, in whichever unit (percent, degrees: 0.1 m), so that adding up in another order changes no row.
_DECIMALS = 6
# The bookkeeping times of all rows that one sync writes.
NOW = sql.SQL("timezone('UTC', transaction_timestamp())")


def wanted_rows(live: LiveTable, rows: Composable, present: Mapping[str, str]) -> Composed:
    """Make a query for what the table should hold, bookkeeping times apart, from the source's `rows` (fed columns).

    What is derived from a table that is not among those `present`, by name and pg_class.relkind, is NULL.
    """
    points = {position.same_as: _point(position) for position in live.table.positions if position.same_as}
    joins, derived = _derivations(live, live.table.derived, present, rows)
    made = points | derived
    columns = [sql.SQL("i.{}").format(Identifier(name)) for name in live.table.source_filled if name not in made]
    columns += [sql.SQL("{} AS {}").format(value, Identifier(name)) for name, value in made.items()]
    return sql.SQL("SELECT {} FROM {} AS i {}").format(sql.SQL(", ").join(columns), rows, sql.SQL(" ").join(joins))


def refreshed_rows(live: LiveTable, origins: Mapping[str, str]) -> tuple[tuple[str, ...], Composed]:
    """Return the columns derived from `origins` alone, and a query for each row's key with their present values."""
    which = [derived for derived in live.table.derived if derived.from_table in origins and not derived.fills]
    joins, made = _derivations(live, which, origins, live.own_rows)
    columns = [sql.SQL("i.{}").format(Identifier(name)) for name in live.table.key]
    columns += [sql.SQL("{} AS {}").format(value, Identifier(name)) for name, value in made.items()]
    query = sql.SQL("SELECT {} FROM {} AS i {}").format(
        sql.SQL(", ").join(columns), live.own_rows, sql.SQL(" ").join(joins)
    )
    return tuple(made), query


def _point(position: Position) -> Composed:
    """Make a point; NULL where the position is missing, outside the world, 0/0 or NaN, which is above any number."""
    return sql.SQL(
        "CASE WHEN i.{x} BETWEEN -180 AND 180 AND i.{y} BETWEEN -90 AND 90 AND (i.{x} <> 0 OR i.{y} <> 0)"
        " THEN ST_SetSRID(ST_MakePoint(i.{x}, i.{y}), 4326) END"
    ).format(x=Identifier(position.longitude), y=Identifier(position.latitude))


def _derivations(
    live: LiveTable, which: Sequence[Derived], present: Mapping[str, str], rows: Composable
) -> tuple[list[Composed], dict[str, Composed]]:
    """Make joins, a grouped query for each table and pair of columns, and an expression for each derived column."""
    joins: list[Composed] = []
    made: dict[str, Composed] = {}
    source = attrgetter("from_table", "here", "there")
    for (origin, here, there), group in groupby(sorted(which, key=source), key=source):
        columns, alias = list(group), Identifier(f"g{len(joins)}")
        if kind := present.get(origin):
            # The column is looked up by its bytes, whatever the origin's collation: others own many an origin.
            looked_up = by_value(Identifier("o", there), live.table.table.columns[here])
            own = by_value(Identifier("i", here), live.table.table.columns[here])
            values = [
                sql.SQL("{} AS {}").format(_aggregate(live, column), Identifier(f"v{number}"))
                for number, column in enumerate(columns)
            ]
            join = (
                "LEFT JOIN (SELECT {there} AS k, {values} FROM {origin} AS o WHERE o.{column} IS NOT NULL{only}"
                " GROUP BY 1) AS {alias} ON {alias}.k = {own}"
            )
            joins.append(
                sql.SQL(join).format(
                    there=looked_up,
                    column=Identifier(there),
                    values=sql.SQL(", ").join(values),
                    alias=alias,
                    own=own,
                    origin=own_rows(Identifier(live.schema, origin), kind),
                    only=_only(columns, looked_up, own, rows),
                )
            )
        for number, column in enumerate(columns):
            made[column.target] = _value(live, column, Identifier(f"g{len(joins) - 1}", f"v{number}") if kind else None)
    return joins, made


def _only(columns: Sequence[Derived], looked_up: Composable, own: Composable, rows: Composable) -> Composable:
    """Leave out rows that nobody asks about, where a query only fills NULLs."""
    if not all(column.fills for column in columns):
        return sql.SQL("")
    asked = sql.SQL(" OR ").join(sql.SQL("{} IS NULL").format(Identifier(column.target)) for column in columns)
    return sql.SQL(" AND {} IN (SELECT {} FROM {} AS i WHERE {})").format(looked_up, own, rows, asked)


def _aggregate(live: LiveTable, derived: Derived) -> Composed:
    rows = sql.SQL("count(*)").format()
    if derived.of_column is not None:
        one: Composable = Identifier("o", derived.of_column)
        if derived.other_axis is not None:
            # Of a position both of its halves or none, for 0/0 says that nobody knows where it is.
            both = "CASE WHEN {x} <> 0 OR {y} <> 0 THEN {x} END"
            one = sql.SQL(both).format(x=one, y=Identifier("o", derived.other_axis))
        if derived.function == "any":
            rows = sql.SQL("min({})").format(by_value(one, live.table.table.columns[derived.target]))
        else:
            rows = sql.SQL("round(avg(nullif({}::float8, 'NaN'))::numeric, {})").format(one, _DECIMALS)
    if derived.where_column is None:
        return rows
    values = list(derived.where_values)
    return sql.SQL("{} FILTER (WHERE {} = ANY ({}))").format(
        rows, text_by_value(Identifier("o", derived.where_column)), values
    )


def _value(live: LiveTable, derived: Derived, joined: Identifier | None) -> Composed:
    kind = sql.SQL(relations.type_name(live.table.table.columns[derived.target]))
    value: Composable = joined or sql.SQL("NULL")
    if joined and derived.function == "count":
        value = sql.SQL("coalesce({}, 0)").format(value)
    if derived.fills:
        value = sql.SQL("coalesce(i.{}, {})").format(Identifier(derived.target), value)
    return sql.SQL("({})::{}").format(value, kind)
