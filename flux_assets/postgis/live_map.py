"""What a picture of a dynamic table shows: its points with what they are drawn by, and shapes of layers behind them.

Here: the queries, each bounded. Not here: drawing (sync_preview.py), and pictures of layers (glimpse.py).
"""

from __future__ import annotations

from typing import NamedTuple

from psycopg import Connection, sql

from flux_assets.postgis.glimpse import MOST_FEATURES, Window
from flux_assets.postgis.layer import LiveTable
from flux_assets.spec import Picture


class Point(NamedTuple):
    """A row that has a place: degrees, the value it is coloured by, the number it is sized by."""

    longitude: float
    latitude: float
    colour: str | None
    size: float


def points(session: Connection, live: LiveTable, picture: Picture) -> list[Point]:
    """At most MOST_FEATURES rows, those that are coloured first, of them the largest."""
    (column,) = (position.same_as for position in live.table.positions if position.same_as)
    query = sql.SQL(
        "SELECT ST_X({geom}), ST_Y({geom}), {colour}::text, coalesce({size}, 0)::float8 FROM {table}"
        " WHERE NOT ST_IsEmpty({geom}) ORDER BY ({colour}::text = ANY ({named})) IS TRUE DESC, 4 DESC LIMIT {most}"
    ).format(
        geom=sql.Identifier(str(column)), colour=sql.Identifier(picture.colour_column),
        size=sql.Identifier(picture.size_column), table=live.public, named=sql.Literal([n for n, _ in picture.colours]),
        most=sql.Literal(MOST_FEATURES),
    )  # fmt: skip
    return [Point(*row) for row in session.execute(query)]


def shapes(session: Connection, schema: str, layer: str, window: Window, tolerance: float) -> list[bytes]:
    """WKB of a layer's largest features in the window, coarser by `tolerance`; none where it is not there."""
    found = session.execute(
        "SELECT f_geometry_column FROM geometry_columns WHERE f_table_schema = %s AND f_table_name = %s LIMIT 1",
        [schema, layer],
    ).fetchone()
    if found is None:
        return []
    query = sql.SQL(
        "SELECT ST_AsBinary(ST_Simplify({geom}, {tolerance})) FROM {table}"
        " WHERE {geom} && ST_MakeEnvelope({west}, {south}, {east}, {north}, 4326)"
        " ORDER BY ST_Length({geom}) + ST_Perimeter({geom}) DESC LIMIT {most}"
    ).format(
        geom=sql.Identifier(found[0]), table=sql.Identifier(schema, layer), tolerance=sql.Literal(tolerance),
        west=sql.Literal(window.west), south=sql.Literal(window.south), east=sql.Literal(window.east),
        north=sql.Literal(window.north), most=sql.Literal(MOST_FEATURES),
    )  # fmt: skip
    return [row[0] for row in session.execute(query) if row[0] is not None]
