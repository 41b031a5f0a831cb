"""The audits of shapes and places that warn and do not block: WARN, look at the named rows.

Here: valid_geometry, geometry_present, same_position, main_extent. Tables above 200,000 rows are judged by a random
200,000. Not here: audits that block (blocking.py), and those of other values (plausible.py).
"""

from __future__ import annotations

from collections.abc import Iterator

from psycopg import sql

from flux_assets.checks.audit import Audit, AuditFinding, Case
from flux_assets.checks.blocking import geometry, typed_as_declared
from flux_assets.checks.offenders import Rule, rows_breaking
from flux_assets.spec import Declaration

# Release files write degrees with six or more decimals; this is about 0.1 m on the ground.
_SAME_DEGREES = 1e-6
# Fewer rows than this have no main extent worth the name.
_ENOUGH_ROWS = 40
_QUANTILE_ROWS = 20_000


def audits(table: Declaration) -> Iterator[Audit]:
    """The warning audits of a declaration's shapes and places."""
    if table.spatial_columns:
        yield _audit("valid_geometry", "Geometries are valid (OGC simple features).", _valid_geometry)
        yield _audit("geometry_present", "Every row has a geometry that is not empty.", _geometry_present)
    if any(position.same_as for position in table.positions):
        yield _audit("same_position", "Latitude and longitude columns agree with the point.", _same_position)
    if table.spatial_columns or table.positions:
        yield _audit("main_extent", "Rows lie in or near the extent that holds the middle 90 % of them.", _main_extent)


def _audit(name: str, description: str, judge: object) -> Audit:
    return Audit(name=name, severity="WARN", description=description, judge=judge)  # type: ignore[arg-type]


def _valid_geometry(case: Case) -> AuditFinding:
    points = _point_columns(case)
    rules = [
        Rule(sql.SQL("NOT ST_IsValid({})").format(shape), sql.SQL("ST_IsValidReason({})").format(shape))
        for shape in (geometry(column) for column in case.layer.table.spatial_columns if column.name not in points)
    ]
    if not rules:
        judged = f"all {case.rows:,} rows: a point is valid wherever it lies, and `within` judges its coordinates"
        return AuditFinding(passed=True, numbers={"offending_rows": 0, "judged": judged})
    return rows_breaking(case, rules, sampled=True)


def _point_columns(case: Case) -> frozenset[str]:
    """The columns that hold points and nothing else, by their type."""
    columns = case.layer.table.spatial_columns
    return typed_as_declared(case) & {c.name for c in columns if c.type.geometry_type == "POINT"}  # type: ignore[attr-defined]


def _geometry_present(case: Case) -> AuditFinding:
    rules = [
        Rule(
            sql.SQL("({column} IS NULL OR ST_IsEmpty({shape}))").format(
                column=sql.Identifier("t", column.name), shape=geometry(column)
            ),
            sql.SQL("CASE WHEN {} IS NULL THEN 'NULL' ELSE 'empty' END").format(sql.Identifier("t", column.name)),
        )
        for column in case.layer.table.spatial_columns
        if column.name not in case.present
    ]
    if not rules:
        return AuditFinding(
            passed=True, numbers={"offending_rows": 0, "judged": f"all {case.rows:,} rows, while decoding"}
        )
    return rows_breaking(case, rules, sampled=True)


def _same_position(case: Case) -> AuditFinding:
    columns = {column.name: column for column in case.layer.table.columns}
    points = _point_columns(case)
    rules = []
    for position in case.layer.table.positions:
        if position.same_as is None:
            continue
        point = geometry(columns[position.same_as])
        longitude, latitude = sql.Identifier("t", position.longitude), sql.Identifier("t", position.latitude)
        condition = sql.SQL("{only}greatest(abs(ST_X({p}) - {x}), abs(ST_Y({p}) - {y})) > {tolerance}").format(
            only=sql.SQL("" if position.same_as in points else "GeometryType({p}) = 'POINT' AND ").format(p=point),
            p=point, x=longitude, y=latitude, tolerance=sql.Literal(_SAME_DEGREES),
        )  # fmt: skip
        reason = sql.SQL("concat(ST_AsText({p}), ' but ', {x}, ' ', {y})").format(p=point, x=longitude, y=latitude)
        rules.append(Rule(condition, reason))
    return rows_breaking(case, rules, sampled=True)


def _main_extent(case: Case) -> AuditFinding:
    if case.rows < _ENOUGH_ROWS:
        return AuditFinding(passed=True, numbers={"offending_rows": 0, "judged": "too few rows to have a main extent"})
    x, y = _centre(case)
    found = _extent_with_margins(case, x, y)
    if found is None:
        return AuditFinding(passed=True, numbers={"offending_rows": 0, "judged": "no positions"})
    west, south, east, north = map(sql.Literal, found)
    condition = sql.SQL("{beyond}NOT ({x} BETWEEN {w} AND {e} AND {y} BETWEEN {s} AND {n})").format(
        beyond=_beyond(case.layer.table, found), x=x, y=y, w=west, e=east, s=south, n=north
    )
    reason = sql.SQL("concat(round(({x})::numeric, 5), ' ', round(({y})::numeric, 5))").format(x=x, y=y)
    extent = "{:.4f} {:.4f} {:.4f} {:.4f}".format(*found)
    return rows_breaking(case, [Rule(condition, reason)], sampled=True, numbers={"main_extent": extent})


def _centre(case: Case) -> tuple[sql.Composable, sql.Composable]:
    """Longitude and latitude of a row: the middle of its geometry's box, or its first position."""
    table = case.layer.table
    if not table.spatial_columns:
        return sql.Identifier("t", table.positions[0].longitude), sql.Identifier("t", table.positions[0].latitude)
    shape = geometry(table.spatial_columns[0])
    if table.spatial_columns[0].name in _point_columns(case):
        return sql.SQL("ST_X({})").format(shape), sql.SQL("ST_Y({})").format(shape)
    x = sql.SQL("((ST_XMin({g}) + ST_XMax({g})) / 2)").format(g=shape)
    return x, sql.SQL("((ST_YMin({g}) + ST_YMax({g})) / 2)").format(g=shape)


def _beyond(table: Declaration, extent: tuple[float, float, float, float]) -> sql.Composed:
    """What spares most rows the arithmetic: a geometry whose whole box lies within has its middle there too."""
    if not table.spatial_columns:
        return sql.Composed([])
    window = sql.SQL(", ").join(map(sql.Literal, extent))
    shape = geometry(table.spatial_columns[0])
    return sql.SQL("NOT {g} @ ST_MakeEnvelope({window}, 4326) AND ").format(g=shape, window=window)


def _extent_with_margins(case: Case, x: sql.Composable, y: sql.Composable) -> tuple[float, float, float, float] | None:
    """The spans of the middle 90 % of both coordinates, each widened on both sides by twice its length, at least 0.05°.

    West, south, east, north; judged from a few thousand rows, which tell quantiles well enough.
    """
    query = sql.SQL(
        "SELECT percentile_disc(ARRAY[0.05, 0.95]) WITHIN GROUP (ORDER BY {x}),"
        " percentile_disc(ARRAY[0.05, 0.95]) WITHIN GROUP (ORDER BY {y}) FROM {source}"
    ).format(x=x, y=y, source=case.random_rows(_QUANTILE_ROWS))
    row = case.connection.execute(query).fetchone()
    if row is None or None in row:
        return None
    (west, east), (south, north) = row
    wide, high = max(2 * (east - west), 0.05), max(2 * (north - south), 0.05)
    return west - wide, south - high, east + wide, north + high
