"""Kinds of geometry that readers cannot draw: which rows have them, and what a tile server makes of each kind.

Here: the kinds that stand in a table, parts of collections included. Not here: which may (spec.Drawable), refusing a
record of another kind while it is decoded (release/ewkb.py), the other things that maps need (map_ready.py).
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import sqlalchemy as sa
from psycopg import sql

from flux_assets.checks.audit import Audit, Case
from flux_assets.checks.offenders import Rule, key_text, rows_breaking
from flux_assets.spec import SIMPLE_KINDS, Declaration, geometry_kind

_CURE = "UPDATE its geometry with ST_CurveToLine, or fix the source: the next load brings the kind again"
# A geometry's own kind, and that of its parts, which only the text of a collection or curve tells.
_KINDS = """CASE WHEN upper(substr(ST_GeometryType({shape}), 4)) = ANY ({simple})
    THEN ARRAY[upper(substr(ST_GeometryType({shape}), 4))]
    ELSE ARRAY(SELECT DISTINCT word[1] FROM regexp_matches(ST_AsText({shape}), '[A-Z]{{3,}}', 'g') AS word
        WHERE word[1] <> 'EMPTY' ORDER BY 1) END"""
# What a tile server sends of a shape, in a tile that it fills; and what a web map or a feature server reads.
_TILE = """SELECT ST_AsMVTGeom(moved, ST_Expand(ST_Envelope(moved), 1)::box2d) IS NOT NULL
    FROM (SELECT ST_Transform({shape}, 3857) AS moved FROM {table} AS t WHERE {same} LIMIT 1) AS one"""
_JSON = "SELECT ST_AsGeoJSON({shape}) IS NOT NULL FROM {table} AS t WHERE {same} LIMIT 1"


def audits(table: Declaration) -> Iterator[Audit]:
    """The audit of a table that takes kinds of geometry which are only reported."""
    if table.mixed_columns and table.drawable.others == "report":
        yield Audit(
            name="drawable",
            severity="WARN",
            description=f"Geometries are of the kinds that readers draw: {', '.join(table.drawable.kinds)}.",
            judge=lambda case: rows_breaking(case, undrawable(table), sampled=False),
        )


def undrawable(table: Declaration) -> list[Rule]:
    """What rows break whose geometry, or a part of it, is of another kind than those that readers draw."""
    drawn = sql.Literal(list(table.drawable.kinds))
    cure = sql.Literal(f" cannot be drawn; {_CURE}")
    return [
        Rule(
            sql.SQL("NOT ({} <@ {}::text[])").format(kinds, drawn),
            sql.SQL("array_to_string({}, ', ') || {}").format(kinds, cure),
        )
        for kinds in map(_kinds, table.mixed_columns)
    ]


def undrawn(case: Case, column: sa.Column[object]) -> Iterator[str]:
    """What goes wrong when a tile, or GeoJSON, is made of one row of each kind that stands in a column."""
    if geometry_kind(column) == "POINT":
        return  # drawn wherever it lies; and a sync, which has points alone, is not to wait for this
    for kinds, key in _examples(case, column):
        named = f"{column.name} of kind {', '.join(kinds)} (row {key})"
        same = sql.SQL("{} = {} AND {}").format(_kinds(column), sql.Literal(list(kinds)), _some(column))
        for what, query in (("ST_AsMVTGeom", _TILE), ("ST_AsGeoJSON", _JSON)):
            asked = sql.SQL(query).format(shape=_shape(column), table=case.own_rows, same=same)
            if said := _fault(case, asked):
                yield f"{what} of {named} {said}"


def _examples(case: Case, column: sa.Column[object]) -> list[tuple[list[str], str]]:
    """Each distinct kind of the column, with the key of a row that has it; of a column of one kind its first row."""
    one = sql.SQL("") if column in case.layer.table.mixed_columns else sql.SQL(" LIMIT 1")
    query = sql.SQL(
        "SELECT kinds, min(key) FROM"
        " (SELECT {kinds} AS kinds, {key} AS key FROM {table} AS t WHERE {some}{one}) AS all_rows"
        " GROUP BY kinds ORDER BY kinds"
    ).format(kinds=_kinds(column), key=key_text(case), table=case.own_rows, some=_some(column), one=one)
    return case.connection.execute(query).fetchall()


def _fault(case: Case, query: sql.Composed) -> str | None:
    try:
        with case.connection.transaction():
            row = case.connection.execute(query).fetchone()
    except psycopg.DatabaseError as error:
        if case.connection.closed:
            raise
        return f"fails: {error.diag.message_primary}. Straight lines, as of ST_CurveToLine, can be drawn"
    return None if row is None or row[0] else "gives nothing: tiles lack it"


def _kinds(column: sa.Column[object]) -> sql.Composed:
    return sql.SQL(_KINDS).format(shape=_shape(column), simple=sql.Literal(list(SIMPLE_KINDS)))


def _some(column: sa.Column[object]) -> sql.Composed:
    return sql.SQL("NOT ST_IsEmpty({})").format(_shape(column))


def _shape(column: sa.Column[object]) -> sql.Composed:
    return sql.SQL("{}::geometry").format(sql.Identifier("t", column.name))
