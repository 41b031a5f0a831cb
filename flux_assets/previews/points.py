"""What a picture of a dynamic table shows: its points with what they are drawn by.

Here: the query, bounded. Not here: drawing (pictures/sync_preview.py), what lies behind (ground.py), layers
(features.py).
"""

from __future__ import annotations

from typing import NamedTuple

from psycopg import Connection, sql

from flux_assets.postgis.names import LiveTable, text_by_value
from flux_assets.previews.features import MOST_FEATURES
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
        " WHERE NOT ST_IsEmpty({geom}) ORDER BY ({coloured} = ANY ({named})) IS TRUE DESC, 4 DESC LIMIT {most}"
    ).format(
        geom=sql.Identifier(str(column)), colour=sql.Identifier(picture.colour_column),
        coloured=text_by_value(sql.Identifier(picture.colour_column)),
        size=sql.Identifier(picture.size_column), table=live.own_rows,
        named=sql.Literal([n for n, _ in picture.colours]), most=sql.Literal(MOST_FEATURES),
    )  # fmt: skip
    return [Point(*row) for row in session.execute(query)]
