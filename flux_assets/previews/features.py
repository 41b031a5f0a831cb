"""A few features of a published table, for a picture: spread over the whole table, or those of one window.

Here: what stands for a row on a map and how the few are picked without reading them all. Not here: drawing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from psycopg import Connection, sql

from flux_assets.spec import Declaration

MOST_FEATURES = 2000


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
        share = min(1.0, MOST_FEATURES / max(1, rows))
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
            feature=self.feature, relation=self.relation, most=sql.Literal(MOST_FEATURES), **literals
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
