"""Audits of shapes and positions, and the kinds of geometry that a column holds.

Those of severity ERROR keep a version from being published; what a column's type or the decoder has already proven of
every row they do not count again. Those of severity WARN judge a random sample of a large table.
"""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa
from psycopg import sql

from flux_assets.checks.audit import Audit, AuditFinding, Case, Rule, nothing_offends, outside, rows_breaking
from flux_assets.postgis import ddl
from flux_assets.spec import SIMPLE_KINDS, Declaration, is_spatial
from flux_assets.sqlfiles import query

# Release files write degrees with six or more decimals; this is about 0.1 m on the ground.
_SAME_DEGREES = 1e-6
_LEAST_ROWS_OF_AN_EXTENT = 40
_QUANTILE_ROWS = 20_000
_REMEDY = "UPDATE its geometry with ST_CurveToLine, or fix the source: the next load brings the kind again"


def audits(table: Declaration) -> Iterator[Audit]:
    """Yield the audits of a declaration's shapes and positions."""
    if table.spatial_columns:
        typed = "Geometries have the declared type and SRID 4326, and can be drawn."
        yield Audit("geometry_type", "ERROR", typed, _geometry_type)
    if table.spatial_columns or table.positions:
        finite = "Coordinates are finite degrees: longitude ±180, latitude ±90 (EPSG:4326)."
        yield Audit("within", "ERROR", finite, _within)
    if table.mixed_columns and table.drawable.others == "report":
        drawn = f"Geometries are of the kinds that readers draw: {', '.join(table.drawable.kinds)}."
        yield Audit("drawable", "WARN", drawn, _drawable)
    if table.spatial_columns:
        yield Audit("valid_geometry", "WARN", "Geometries are valid (OGC simple features).", _valid_geometry)
        yield Audit("geometry_present", "WARN", "Every row has a geometry that is not empty.", _geometry_present)
    if any(position.same_as for position in table.positions):
        agree = "Latitude and longitude columns agree with the point."
        yield Audit("same_position", "WARN", agree, _same_position)
    if table.spatial_columns or table.positions:
        near = "Rows lie in or near the extent that holds the middle 90 % of them."
        yield Audit("main_extent", "WARN", near, _main_extent)


def as_geometry(column: sa.Column[object]) -> sql.Composed:
    """Return the column of the alias t as geometry, also when it is geography."""
    return sql.SQL("{}::geometry").format(sql.Identifier("t", column.name))


def kinds_of(column: sa.Column[object]) -> sql.Composed:
    """Return the kinds of geometry in a row's column, parts of collections included, as an array."""
    return query("geometries", "kinds").format(shape=as_geometry(column), simple=sql.Literal(list(SIMPLE_KINDS)))


def _drawable(case: Case) -> AuditFinding:
    return rows_breaking(case, _undrawable(case.layer.table), sampled=False)


def _undrawable(table: Declaration) -> list[Rule]:
    """Return the rules that geometries, and their parts, are of the kinds that readers draw."""
    drawn = sql.Literal(list(table.drawable.kinds))
    remedy = sql.Literal(f" cannot be drawn; {_REMEDY}")
    return [
        Rule(
            sql.SQL("NOT ({} <@ {}::text[])").format(kinds, drawn),
            sql.SQL("array_to_string({}, ', ') || {}").format(kinds, remedy),
        )
        for kinds in map(kinds_of, table.mixed_columns)
    ]


def _geometry_type(case: Case) -> AuditFinding:
    proven = _typed_as_declared(case)
    spatial = case.layer.table.spatial_columns
    rules = [_wrong_geometry(column) for column in spatial if column.name not in proven]
    if case.layer.table.drawable.others == "refuse" and not case.decoded:
        rules += _undrawable(case.layer.table)
    if not rules:
        types = ", ".join(f"{column.name} {ddl.type_name(column)}" for column in spatial)
        return AuditFinding(passed=True, numbers={"offending_rows": 0, "columns": types})
    return rows_breaking(case, rules, sampled=False)


def _typed_as_declared(case: Case) -> frozenset[str]:
    """Return the spatial columns whose type in the database is the declared one, which refuses other geometries."""
    live = {name: column.bare_type for name, column in case.live_columns.items()}
    declared = {column.name: ddl.type_name(column) for column in case.layer.table.spatial_columns}
    return frozenset(name for name, type_name in declared.items() if live.get(name) == type_name)


def _point_columns(case: Case) -> frozenset[str]:
    """Return the columns that hold points and nothing else, by their type."""
    points = {column.name for column in case.layer.table.spatial_columns if _declared_type(column) == "POINT"}
    return _typed_as_declared(case) & points


def _declared_type(column: sa.Column[object]) -> str:
    return str(getattr(column.type, "geometry_type", "GEOMETRY"))


def _wrong_geometry(column: sa.Column[object]) -> Rule:
    shape, declared = as_geometry(column), _declared_type(column)
    other_type = sql.SQL("GeometryType({}) <> {}").format(shape, sql.Literal(declared))
    return Rule(
        sql.SQL("(ST_SRID({shape}) <> 4326 OR {other_type})").format(
            shape=shape, other_type=sql.SQL("false") if declared == "GEOMETRY" else other_type
        ),
        sql.SQL("GeometryType({shape}) || ' in SRID ' || ST_SRID({shape})").format(shape=shape),
    )


def _within(case: Case) -> AuditFinding:
    if case.decoded:
        return nothing_offends(f"{case.all_rows}, while decoding")
    table = case.layer.table
    rules = [_outside_the_world(column) for column in table.columns if is_spatial(column)]
    for position in table.positions:
        rules += [outside(position.longitude, -180, 180), outside(position.latitude, -90, 90)]
    return rows_breaking(case, rules, sampled=False)


def _outside_the_world(column: sa.Column[object]) -> Rule:
    shape = as_geometry(column)
    reason = sql.SQL("ST_AsText(ST_Envelope({}))").format(shape)
    return Rule(query("geometries", "outside_the_world").format(g=shape), reason)


def _valid_geometry(case: Case) -> AuditFinding:
    points = _point_columns(case)
    rules = [
        Rule(sql.SQL("NOT ST_IsValid({})").format(shape), sql.SQL("ST_IsValidReason({})").format(shape))
        for shape in (as_geometry(column) for column in case.layer.table.spatial_columns if column.name not in points)
    ]
    if not rules:
        return nothing_offends(
            f"{case.all_rows}: a point is valid wherever it lies, and `within` judges its coordinates"
        )
    return rows_breaking(case, rules, sampled=True)


def _geometry_present(case: Case) -> AuditFinding:
    rules = [
        Rule(
            sql.SQL("({column} IS NULL OR ST_IsEmpty({shape}))").format(
                column=sql.Identifier("t", column.name), shape=as_geometry(column)
            ),
            sql.SQL("CASE WHEN {} IS NULL THEN 'NULL' ELSE 'empty' END").format(sql.Identifier("t", column.name)),
        )
        for column in case.layer.table.spatial_columns
        if column.name not in case.present
    ]
    if not rules:
        return nothing_offends(f"{case.all_rows}, while decoding")
    return rows_breaking(case, rules, sampled=True)


def _same_position(case: Case) -> AuditFinding:
    columns = {column.name: column for column in case.layer.table.columns}
    points = _point_columns(case)
    rules = []
    for position in case.layer.table.positions:
        if position.same_as is None:
            continue
        point = as_geometry(columns[position.same_as])
        x, y = sql.Identifier("t", position.longitude), sql.Identifier("t", position.latitude)
        only = sql.SQL("" if position.same_as in points else "GeometryType({p}) = 'POINT' AND ").format(p=point)
        condition = sql.SQL("{only}greatest(abs(ST_X({p}) - {x}), abs(ST_Y({p}) - {y})) > {tolerance}").format(
            only=only, p=point, x=x, y=y, tolerance=sql.Literal(_SAME_DEGREES)
        )
        rules.append(Rule(condition, sql.SQL("concat(ST_AsText({}), ' but ', {}, ' ', {})").format(point, x, y)))
    return rows_breaking(case, rules, sampled=True)


def _main_extent(case: Case) -> AuditFinding:
    if case.rows < _LEAST_ROWS_OF_AN_EXTENT:
        return nothing_offends("too few rows to have a main extent")
    x, y = _centre(case)
    extent = _extent_with_margins(case, x, y)
    if extent is None:
        return nothing_offends("no positions")
    west, south, east, north = map(sql.Literal, extent)
    condition = sql.SQL("{beyond}NOT ({x} BETWEEN {w} AND {e} AND {y} BETWEEN {s} AND {n})").format(
        beyond=_box_beyond(case.layer.table, extent), x=x, y=y, w=west, e=east, s=south, n=north
    )
    reason = sql.SQL("concat(round(({x})::numeric, 5), ' ', round(({y})::numeric, 5))").format(x=x, y=y)
    shown = "{:.4f} {:.4f} {:.4f} {:.4f}".format(*extent)
    return rows_breaking(case, [Rule(condition, reason)], sampled=True, numbers={"main_extent": shown})


def _centre(case: Case) -> tuple[sql.Composable, sql.Composable]:
    """Return longitude and latitude of a row: the middle of its geometry's box, or its first position."""
    table = case.layer.table
    if not table.spatial_columns:
        return sql.Identifier("t", table.positions[0].longitude), sql.Identifier("t", table.positions[0].latitude)
    shape = as_geometry(table.spatial_columns[0])
    if table.spatial_columns[0].name in _point_columns(case):
        return sql.SQL("ST_X({})").format(shape), sql.SQL("ST_Y({})").format(shape)
    x = sql.SQL("((ST_XMin({g}) + ST_XMax({g})) / 2)").format(g=shape)
    return x, sql.SQL("((ST_YMin({g}) + ST_YMax({g})) / 2)").format(g=shape)


def _box_beyond(table: Declaration, extent: tuple[float, float, float, float]) -> sql.Composed:
    """Return a condition that spares most rows the arithmetic: where the whole box lies within, so does its middle."""
    if not table.spatial_columns:
        return sql.Composed([])
    window = sql.SQL(", ").join(map(sql.Literal, extent))
    shape = as_geometry(table.spatial_columns[0])
    return sql.SQL("NOT {g} @ ST_MakeEnvelope({window}, 4326) AND ").format(g=shape, window=window)


def _extent_with_margins(case: Case, x: sql.Composable, y: sql.Composable) -> tuple[float, float, float, float] | None:
    """Return west, south, east and north of the middle 90 % of the rows, estimated from a few thousand of them.

    Both spans are widened on either side by twice their length, and by 0.05° at least.
    """
    quantiles = query("geometries", "quantiles").format(x=x, y=y, source=case.random_rows(_QUANTILE_ROWS))
    row = case.connection.execute(quantiles).fetchone()
    if row is None or None in row:
        return None
    (west, east), (south, north) = row
    wide, high = max(2 * (east - west), 0.05), max(2 * (north - south), 0.05)
    return west - wide, south - high, east + wide, north + high
