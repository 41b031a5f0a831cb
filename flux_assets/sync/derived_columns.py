"""Computed columns as SQL, made from a declaration: points from positions, and values derived from other tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from psycopg import sql

from flux_assets.postgis import relations
from flux_assets.postgis.relations import LiveTable, by_value, own_rows, text_by_value
from flux_assets.spec.facts import Derived, Position

# Means are rounded, in whichever unit (percent, degrees: 0.1 m), so that adding up in another order changes no row.
_DECIMALS = 6
# The bookkeeping times of all rows that one sync writes.
NOW = sql.SQL("timezone('UTC', transaction_timestamp())")


def incoming(live: LiveTable) -> sql.Identifier:
    """Name the temporary table that holds the source's rows."""
    return sql.Identifier("pg_temp", f"incoming_{live.name}"[:63])


def wanted_rows(live: LiveTable, rows: sql.Composable, present: Mapping[str, str]) -> sql.Composed:
    """Make a query for what the table should hold, bookkeeping times apart, from the source's `rows` (fed columns).

    `present` names the tables that exist here, with their kinds (pg_class.relkind); what is derived from another
    one is NULL.
    """
    points = {position.same_as: _point(position) for position in live.table.positions if position.same_as}
    joins, derived = _derivations(live, live.table.derived, present)
    made = points | derived
    columns = [sql.SQL("i.{}").format(sql.Identifier(name)) for name in live.table.source_filled if name not in made]
    columns += [sql.SQL("{} AS {}").format(made[name], sql.Identifier(name)) for name in made]
    return sql.SQL("SELECT {} FROM {} AS i {}").format(sql.SQL(", ").join(columns), rows, sql.SQL(" ").join(joins))


def refreshed_rows(live: LiveTable, origins: Mapping[str, str]) -> tuple[tuple[str, ...], sql.Composed]:
    """Return the columns derived from `origins` alone, and a query for each row's key with their present values.

    `origins` come with their kinds (pg_class.relkind).
    """
    which = [derived for derived in live.table.derived if derived.from_table in origins and not derived.fills]
    joins, made = _derivations(live, which, origins)
    keys = [sql.SQL("i.{}").format(sql.Identifier(name)) for name in live.table.key]
    values = [sql.SQL("{} AS {}").format(made[name], sql.Identifier(name)) for name in made]
    query = sql.SQL("SELECT {} FROM {} AS i {}").format(
        sql.SQL(", ").join([*keys, *values]), live.own_rows, sql.SQL(" ").join(joins)
    )
    return tuple(made), query


def in_place(live: LiveTable) -> tuple[str, ...]:
    """Return the columns whose change is a change of the row: all but the bookkeeping times."""
    return tuple(name for name in live.table.column_names if name not in bookkeeping(live))


def bookkeeping(live: LiveTable) -> tuple[str, ...]:
    """Return the columns that say when a row came and when it last changed here, where there are any."""
    return tuple(filter(None, (live.table.arrived_column, live.table.changed_column)))


def _point(position: Position) -> sql.Composed:
    """Make a point; NULL where the position is missing, outside the world, 0/0 or NaN, which is above any number."""
    return sql.SQL(
        "CASE WHEN i.{x} BETWEEN -180 AND 180 AND i.{y} BETWEEN -90 AND 90 AND (i.{x} <> 0 OR i.{y} <> 0)"
        " THEN ST_SetSRID(ST_MakePoint(i.{x}, i.{y}), 4326) END"
    ).format(x=sql.Identifier(position.longitude), y=sql.Identifier(position.latitude))


def _derivations(
    live: LiveTable, which: Sequence[Derived], present: Mapping[str, str]
) -> tuple[list[sql.Composed], dict[str, sql.Composed]]:
    """Make joins, a grouped query for each table and pair of columns, and an expression for each derived column."""
    joins: list[sql.Composed] = []
    made: dict[str, sql.Composed] = {}
    for source, group in groupby(sorted(which, key=_source), key=_source):
        columns, alias = list(group), sql.Identifier(f"g{len(joins)}")
        if kind := present.get(source[0]):
            joins.append(_grouped(live, source, kind, columns, alias))
        made |= {
            column.target: _value(live, column, alias if kind else None, number)
            for number, column in enumerate(columns)
        }
    return joins, made


def _source(derived: Derived) -> tuple[str, str, str]:
    return derived.from_table, derived.here, derived.there


def _grouped(
    live: LiveTable, source: tuple[str, str, str], kind: str, columns: Sequence[Derived], alias: sql.Identifier
) -> sql.Composed:
    origin, here, there = source
    values = sql.SQL(", ").join(
        sql.SQL("{} AS v{}").format(_aggregate(live, column), sql.SQL(str(number)))
        for number, column in enumerate(columns)
    )
    return sql.SQL(
        "LEFT JOIN (SELECT {there} AS k, {values} FROM {origin} AS o WHERE o.{column} IS NOT NULL{only}"
        " GROUP BY 1) AS {alias} ON {alias}.k = {here}"
    ).format(
        there=_of_origin(live, here, there),
        column=sql.Identifier(there),
        values=values,
        alias=alias,
        here=_here(live, here),
        origin=own_rows(sql.Identifier(live.schema, origin), kind),
        only=sql.SQL(" AND ").join([sql.SQL(""), *_only(live, columns)]),
    )


def _only(live: LiveTable, columns: Sequence[Derived]) -> Iterator[sql.Composed]:
    """Leave out rows that nobody asks about, where a query only fills NULLs."""
    if all(column.fills for column in columns):
        asked = sql.SQL(" OR ").join(sql.SQL("{} IS NULL").format(sql.Identifier(c.target)) for c in columns)
        here, there = columns[0].here, columns[0].there
        yield sql.SQL("{} IN (SELECT {} FROM {} AS i WHERE {})").format(
            _of_origin(live, here, there), _here(live, here), incoming(live), asked
        )


def _here(live: LiveTable, here: str) -> sql.Composable:
    return by_value(sql.Identifier("i", here), live.table.table.columns[here])


def _of_origin(live: LiveTable, here: str, there: str) -> sql.Composable:
    """Return the column of an origin that ours is looked up in, whatever its collation: others own many an origin."""
    return by_value(sql.Identifier("o", there), live.table.table.columns[here])


def _aggregate(live: LiveTable, derived: Derived) -> sql.Composed:
    one = None if derived.of_column is None else _placed(derived, derived.of_column)
    rows = sql.SQL("count(*)") if one is None else _over(live, derived, one)
    if derived.where_column is None:
        return sql.SQL("{}").format(rows)
    return sql.SQL("{} FILTER (WHERE {} = ANY ({}))").format(
        rows, text_by_value(sql.Identifier("o", derived.where_column)), sql.Literal(list(derived.where_values))
    )


def _placed(derived: Derived, of_column: str) -> sql.Composable:
    """Return the column; of a position both of its halves or none, for 0/0 says that nobody knows where it is."""
    column = sql.Identifier("o", of_column)
    if derived.other_axis is None:
        return column
    return sql.SQL("CASE WHEN {x} <> 0 OR {y} <> 0 THEN {x} END").format(
        x=column, y=sql.Identifier("o", derived.other_axis)
    )


def _over(live: LiveTable, derived: Derived, column: sql.Composable) -> sql.Composed:
    if derived.function == "any":
        return sql.SQL("min({})").format(by_value(column, live.table.table.columns[derived.target]))
    return sql.SQL("round(avg(nullif({}::float8, 'NaN'))::numeric, {})").format(column, sql.SQL(str(_DECIMALS)))


def _value(live: LiveTable, derived: Derived, alias: sql.Identifier | None, number: int) -> sql.Composed:
    kind = sql.SQL(relations.type_name(live.table.table.columns[derived.target]))
    if alias is None:
        value = sql.SQL("NULL").format()
    else:
        value = sql.SQL("{}.v{}").format(alias, sql.SQL(str(number)))
        value = sql.SQL("coalesce({}, 0)").format(value) if derived.function == "count" else value
    if derived.fills:
        value = sql.SQL("coalesce(i.{}, {})").format(sql.Identifier(derived.target), value)
    return sql.SQL("({})::{}").format(value, kind)
