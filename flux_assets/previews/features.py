"""What a picture shows: a sample of a layer's features, a dynamic table's points, and the basemap behind them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from psycopg import Connection, sql

from flux_assets.postgis.names import LiveTable, own_rows_by_kind, text_by_value
from flux_assets.spec import Declaration, Picture

_MOST_FEATURES = 2000


@dataclass(frozen=True)
class Window:
    """A rectangle in degrees (EPSG:4326)."""

    west: float
    south: float
    east: float
    north: float


@dataclass(frozen=True)
class FeatureSample:
    """`feature` is the SQL expression of what is drawn of a row of `relation`."""

    relation: sql.Identifier
    feature: sql.Composable

    def spread(self, session: Connection, rows: int) -> list[bytes]:
        """WKB of at most MOST_FEATURES features: pages picked at random, and of their rows a part.

        Reading all `rows` to pick evenly would take longer than all the rest of a picture.
        """
        share = min(1.0, _MOST_FEATURES / max(1, rows))
        pages = min(1.0, 8 * share)
        query = sql.SQL(
            "SELECT ST_AsBinary(f) FROM (SELECT {feature} AS f FROM {relation} TABLESAMPLE SYSTEM ({percent})"
            " REPEATABLE (1) WHERE abs(hashtext(ctid::text)::bigint) % 1000 < {kept}) AS picked"
            " WHERE NOT ST_IsEmpty(f) LIMIT {most}"
        )
        return self._wkb(session, query, percent=max(0.01, 100 * pages), kept=math.ceil(1000 * share / pages))

    def within(self, session: Connection, window: Window) -> list[bytes]:
        """WKB of at most MOST_FEATURES features that touch the window; the layer's index finds them."""
        query = sql.SQL(
            "SELECT ST_AsBinary({feature}) FROM {relation}"
            " WHERE {feature} && ST_MakeEnvelope({west}, {south}, {east}, {north}, 4326) LIMIT {most}"
        )
        return self._wkb(session, query, west=window.west, south=window.south, east=window.east, north=window.north)

    def _wkb(self, session: Connection, query: sql.SQL, **numbers: float) -> list[bytes]:
        literals = {name: sql.Literal(float(value)) for name, value in numbers.items()}
        composed = query.format(
            feature=self.feature, relation=self.relation, most=sql.Literal(_MOST_FEATURES), **literals
        )
        return [row[0] for row in session.execute(composed)]


def sample_features(table: Declaration, schema: str) -> FeatureSample | None:
    """How the table is drawn: by its geometry, else its position, or the line between its two; None without any."""
    feature = _spatial(table) or _positions(table)
    return FeatureSample(sql.Identifier(schema, table.name), feature) if feature else None


def _spatial(table: Declaration) -> sql.Composable | None:
    if not table.spatial_columns:
        return None
    return sql.SQL("{}::geometry").format(sql.Identifier(table.spatial_columns[0].name))


def _positions(table: Declaration) -> sql.Composable | None:
    point = sql.SQL("ST_SetSRID(ST_MakePoint({}, {}), 4326)")
    points = [point.format(sql.Identifier(p.longitude), sql.Identifier(p.latitude)) for p in table.positions[:2]]
    if len(points) == 2:
        return sql.SQL("ST_MakeLine({}, {})").format(*points)
    return points[0] if points else None


_MOST_SHAPES = 800
# The view geometry_columns says the same, in ten times the time.
_COLUMN = """
SELECT attname, relkind::text
FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid JOIN pg_class ON pg_class.oid = attrelid
WHERE attrelid = to_regclass(%s) AND typname = 'geometry' AND attnum > 0 AND NOT attisdropped
ORDER BY attnum LIMIT 1
"""


def largest_shapes(session: Connection, schema: str, layer: str, window: Window, tolerance: float) -> list[bytes]:
    """WKB of the layer's largest features in the window, coarser by `tolerance`; none where the layer is not there.

    Size is that of the bounds, which lie at the beginning of a geometry and are had without reading the rest.
    """
    found = session.execute(_COLUMN, [sql.Identifier(schema, layer).as_string(session)]).fetchone()
    if found is None:
        return []
    column, kind = found
    query = sql.SQL(
        "SELECT ST_AsBinary(ST_Simplify({geom}, {tolerance})) FROM (SELECT {geom} FROM {table}"
        " WHERE {geom} && ST_MakeEnvelope({west}, {south}, {east}, {north}, 4326)"
        " ORDER BY ST_XMax({geom}) - ST_XMin({geom}) + ST_YMax({geom}) - ST_YMin({geom}) DESC LIMIT {most}) AS largest"
    ).format(
        geom=sql.Identifier(column), table=own_rows_by_kind(sql.Identifier(schema, layer), kind),
        tolerance=sql.Literal(tolerance),
        west=sql.Literal(window.west), south=sql.Literal(window.south), east=sql.Literal(window.east),
        north=sql.Literal(window.north), most=sql.Literal(_MOST_SHAPES),
    )  # fmt: skip
    return [row[0] for row in session.execute(query) if row[0] is not None]


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
        named=sql.Literal([n for n, _ in picture.colours]), most=sql.Literal(_MOST_FEATURES),
    )  # fmt: skip
    return [Point(*row) for row in session.execute(query)]
