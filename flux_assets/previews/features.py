"""What a picture shows: a sample of a layer's features, a dynamic table's points, and the basemap behind them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import NamedTuple

from psycopg import Connection, sql

from flux_assets.postgis.relations import LiveTable, own_rows, text_by_value
from flux_assets.spec import Declaration
from flux_assets.spec.facts import Picture
from flux_assets.sqlfiles import query

_MOST_FEATURES, _MOST_SHAPES = 2000, 800


@dataclass(frozen=True)
class Window:
    """A rectangle in degrees (EPSG:4326)."""

    west: float
    south: float
    east: float
    north: float

    def squared(self, *, least: float = 0.0, margin: float = 1.0) -> Window:
        """Return the square on the ground around it, `least` degrees of latitude to each side, then times `margin`."""
        x, y = (self.west + self.east) / 2, (self.south + self.north) / 2
        stretch = 1 / max(0.1, math.cos(math.radians(y)))  # degrees of longitude that are as long as one of latitude
        half = max((self.east - self.west) / stretch / 2, (self.north - self.south) / 2, least) * margin
        return Window(x - half * stretch, y - half, x + half * stretch, y + half)


@dataclass(frozen=True)
class FeatureSample:
    """`feature` is the SQL expression of what is drawn of a row of `relation`."""

    relation: sql.Identifier
    feature: sql.Composable

    @classmethod
    def of(cls, table: Declaration, schema: str) -> FeatureSample | None:
        """Return a table's geometry, its position, or the line between two positions; None where it has neither."""
        point = sql.SQL("ST_SetSRID(ST_MakePoint({}, {}), 4326)")
        points = [point.format(sql.Identifier(p.longitude), sql.Identifier(p.latitude)) for p in table.positions[:2]]
        feature: sql.Composable
        if table.spatial_columns:
            feature = sql.SQL("{}::geometry").format(sql.Identifier(table.spatial_columns[0].name))
        elif len(points) == 2:
            feature = sql.SQL("ST_MakeLine({}, {})").format(*points)
        elif points:
            (feature,) = points
        else:
            return None
        return cls(sql.Identifier(schema, table.name), feature)

    def spread(self, session: Connection, rows: int) -> list[bytes]:
        """Return WKB of at most _MOST_FEATURES features: pages picked at random, and of their rows a part.

        Reading all `rows` to pick evenly would take longer than all the rest of a picture.
        """
        share = min(1.0, _MOST_FEATURES / max(1, rows))
        pages = min(1.0, 8 * share)
        kept = math.ceil(1000 * share / pages)
        return self._wkb(session, "spread_features", percent=max(0.01, 100 * pages), kept=kept)

    def within(self, session: Connection, window: Window) -> list[bytes]:
        """Return WKB of at most _MOST_FEATURES features that touch the window; the layer's index finds them."""
        return self._wkb(session, "features_within", **asdict(window))

    def _wkb(self, session: Connection, name: str, **numbers: float) -> list[bytes]:
        literals = {name: sql.Literal(float(value)) for name, value in numbers.items()}
        composed = query("features", name).format(
            feature=self.feature, relation=self.relation, most=sql.Literal(_MOST_FEATURES), **literals
        )
        return [row[0] for row in session.execute(composed)]


def largest_shapes(session: Connection, schema: str, layer: str, window: Window, tolerance: float) -> list[bytes]:
    """Return WKB of the layer's largest features in the window, coarser by `tolerance`; none where there is no layer.

    Size is that of the bounds, which are at the beginning of a geometry and need no reading of the rest.
    """
    table = sql.Identifier(schema, layer)
    found = session.execute(query("features", "geometry_column"), [table.as_string(session)]).fetchone()
    if found is None:
        return []
    column, kind = found
    largest = query("features", "largest_shapes").format(
        geom=sql.Identifier(column),
        table=own_rows(table, kind),
        tolerance=sql.Literal(tolerance),
        most=sql.Literal(_MOST_SHAPES),
        **{name: sql.Literal(value) for name, value in asdict(window).items()},
    )
    return [row[0] for row in session.execute(largest) if row[0] is not None]


class Point(NamedTuple):
    """A row that has a place: degrees, the value it is coloured by, the number it is sized by."""

    longitude: float
    latitude: float
    colour: str | None
    size: float


def points(session: Connection, live: LiveTable, picture: Picture) -> list[Point]:
    """Return at most _MOST_FEATURES rows, those that are coloured first, of them the largest."""
    (column,) = (position.same_as for position in live.table.positions if position.same_as)
    found = query("features", "points").format(
        geom=sql.Identifier(str(column)),
        colour=sql.Identifier(picture.colour_column),
        coloured=text_by_value(sql.Identifier(picture.colour_column)),
        size=sql.Identifier(picture.size_column),
        table=live.own_rows,
        named=sql.Literal([name for name, _ in picture.colours]),
        most=sql.Literal(_MOST_FEATURES),
    )
    return [Point(*row) for row in session.execute(found)]
