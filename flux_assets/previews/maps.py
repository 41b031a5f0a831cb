"""A small picture of a published layer or of a dynamic table as it is now, over the layers declared as ground."""

from __future__ import annotations

import base64
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, NamedTuple

from psycopg import Connection, sql

from flux_assets.postgis.relations import LiveTable, feature_of, own_rows, text_by_value
from flux_assets.postgis.session import Target, find_postgis
from flux_assets.previews.panel import Panel, Window, png
from flux_assets.spec import Declaration, DynamicTable, StaticTable
from flux_assets.spec.facts import Picture
from flux_assets.sqlfiles import query

if TYPE_CHECKING:
    from geopandas import GeoSeries
    from matplotlib.figure import Figure

    from flux_assets.previews.panel import Numbers

_MOST_FEATURES, _MOST_SHAPES = 2000, 800
_PAPER, _INK = "#fbfaf7", "#333333"
_PANEL = 300  # pixels of the sides of a layer's panels
_SEEN = 3.0  # pixels below which a feature's shape cannot be seen
_NEAR = 16  # pixels of a usual feature in the second panel
_LINE = 0.8  # of a layer's colour: a thin line needs more of it than an area
_DOT = 1.6  # pixels of the dot for a smaller feature
_MAP = 420  # pixels of the sides of a dynamic table's map
_LEGEND = 44  # pixels below it, for two lines
_OTHER = "#9a9a9a"
_CHANGE = 6.0  # area of the dot of a change
_CHANGES = {"changed": "#e08214", "removed": "#c51b1b", "added": "#1a7f37"}
_SMALLEST, _LARGEST = 12.0, 260.0  # areas of dots, in square points
# The shapes of the layers declared as ground, each with its layer's one quiet colour, the lowest first.
_Basemap = Sequence[tuple[str, list[bytes]]]


@dataclass(frozen=True)
class _Sample:
    """`feature` is the SQL expression of what is drawn of a row of `relation`."""

    relation: sql.Identifier
    feature: sql.Composable

    @classmethod
    def of(cls, table: Declaration, schema: str) -> _Sample | None:
        """Return what is drawn of a table; None where nothing is."""
        feature = feature_of(table, table.column_names)
        return None if feature is None else cls(sql.Identifier(schema, table.name), feature)

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


class Point(NamedTuple):
    """A row that has a place: degrees, the value it is coloured by, the number it is sized by."""

    longitude: float
    latitude: float
    colour: str | None
    size: float

    @classmethod
    def of(cls, session: Connection, live: LiveTable, picture: Picture) -> list[Point]:
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
        return [cls(*row) for row in session.execute(found)]


def as_markdown(table: Declaration, picture: bytes) -> str:
    """Return Markdown that contains the whole picture."""
    return f"![{table.name}](data:image/png;base64,{base64.b64encode(picture).decode()})"


def draw(table: StaticTable, target: Target, rows: int, grounds: Sequence[StaticTable] = ()) -> bytes | None:
    """Return a PNG of the published table, of at most 20 kB; None when no row has a place on the map.

    Where features are too small to be told apart, a second panel shows the densest spot closer.
    """
    import geopandas
    import numpy as np
    from matplotlib.colors import to_hex
    from matplotlib.figure import Figure

    sample = _Sample.of(table, target.schema)
    if sample is None:
        return None
    below = [layer for layer in grounds if layer.name != table.name]
    with target.session(f"preview {table.name}") as session:
        spread = geopandas.GeoSeries.from_wkb(sample.spread(session, rows), crs=4326)
        if spread.empty:
            return None
        bounds = spread.bounds.to_numpy()
        corners = *np.quantile(bounds[:, :2], 0.002, axis=0), *np.quantile(bounds[:, 2:], 0.998, axis=0)
        whole = Window(*corners).squared(least=5e-4, margin=1.06)
        drawn = [(spread, whole)]
        if (spot := _dense_spot(spread, whole)) is not None:
            drawn.append((geopandas.GeoSeries.from_wkb(sample.within(session, spot), crs=4326), spot))
        basemaps = [_basemap(session, target.schema, below, window, _PANEL) for _, window in drawn]
    figure = Figure(figsize=(3 * len(drawn), 3), dpi=_PANEL / 3, facecolor=_PAPER)
    panels = [Panel(figure, window, side=_PANEL, left=at * _PANEL) for at, (_, window) in enumerate(drawn)]
    for panel, (features, _), basemap in zip(panels, drawn, basemaps, strict=True):
        _draw_basemap(panel, basemap)
        _draw_features(panel, features, table.draw)
    if spot is not None:
        _frame(panels[0], spot)
    line = to_hex(_darker(table.draw, _LINE))
    return png(figure, [_PAPER, _INK, table.draw, line, *(str(layer.ground) for layer in below)])


def draw_live(table: DynamicTable, target: Target, grounds: Sequence[StaticTable] = ()) -> bytes | None:
    """Return a PNG with a legend, of at most 20 kB; None when the table has no picture, or no row has a position."""
    from matplotlib.figure import Figure

    picture = table.picture
    if picture is None:
        return None
    with target.session(f"preview {table.name}") as session:
        find_postgis(session)
        found = Point.of(session, LiveTable(target.schema, table), picture)
        if not found:
            return None
        xs, ys = sorted(point.longitude for point in found), sorted(point.latitude for point in found)
        spare = len(found) // 50  # outliers
        window = Window(xs[spare], ys[spare], xs[-1 - spare], ys[-1 - spare]).squared(least=0.01, margin=1.12)
        basemap = _basemap(session, target.schema, grounds, window, _MAP)
    figure = Figure(figsize=(_MAP / 100, (_MAP + _LEGEND) / 100), dpi=100, facecolor=_PAPER)
    panel = Panel(figure, window, side=_MAP, bottom=_LEGEND)
    _draw_basemap(panel, basemap)
    _draw_points(panel, picture, found)
    _write_legend(figure, picture, found)
    shown = [_PAPER, _INK, _OTHER, *(colour for _, colour in picture.colours)]
    return png(figure, [*shown, *(str(layer.ground) for layer in grounds)])


def draw_changes(places: Sequence[tuple[str, float, float]], target: Target, grounds: Sequence[StaticTable]) -> bytes:
    """Return a PNG with a legend of where rows change: each place is a word for the change, and its degrees."""
    import numpy as np
    from matplotlib.figure import Figure

    xs, ys = [place[1] for place in places], [place[2] for place in places]
    window = Window(min(xs), min(ys), max(xs), max(ys)).squared(least=0.01, margin=1.12)
    with target.session("preview changes") as session:
        find_postgis(session)
        basemap = _basemap(session, target.schema, grounds, window, _MAP)
    figure = Figure(figsize=(_MAP / 100, (_MAP + _LEGEND) / 100), dpi=100, facecolor=_PAPER)
    panel = Panel(figure, window, side=_MAP, bottom=_LEGEND)
    legend = Panel(figure, Window(0, 0, _MAP, _MAP), side=_MAP)
    _draw_basemap(panel, basemap)
    left = 12.0
    for word, colour in _CHANGES.items():
        if found := [place[1:] for place in places if place[0] == word]:
            panel.add_dots(np.array(found), [_CHANGE], [colour])
            legend.add_dots(np.array([[left, 22.0]]), [26.0], [colour])
            left = _write(figure, word, left + 8, 22) + 14
    return png(figure, [_PAPER, _INK, *_CHANGES.values(), *(str(layer.ground) for layer in grounds)])


def _basemap(session: Connection, schema: str, grounds: Sequence[StaticTable], window: Window, side: float) -> _Basemap:
    pixel = (window.north - window.south) / side
    return [(str(layer.ground), _largest_shapes(session, schema, layer.name, window, pixel)) for layer in grounds]


def _largest_shapes(session: Connection, schema: str, layer: str, window: Window, tolerance: float) -> list[bytes]:
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


def _draw_basemap(panel: Panel, basemap: _Basemap) -> None:
    import shapely

    for colour, shapes in basemap:
        panel.add_shapes(shapely.from_wkb(shapes), area=colour, edge="none", line=colour)


def _sizes(features: GeoSeries) -> Numbers:
    """Return the longer side of each feature's bounds, in degrees."""
    bounds = features.bounds.to_numpy()
    sizes: Numbers = (bounds[:, 2:] - bounds[:, :2]).max(axis=1)
    return sizes


def _middles(features: GeoSeries) -> Numbers:
    middles: Numbers = features.bounds.to_numpy().reshape(-1, 2, 2).mean(axis=1)
    return middles


def _dense_spot(features: GeoSeries, whole: Window) -> Window | None:
    """Return the window in which shapes can be seen; None when the whole already shows them, or they are points."""
    import numpy as np

    size = float(np.median(_sizes(features)))
    if size == 0 or size >= _SEEN * (whole.north - whole.south) / _PANEL:
        return None
    middle = _middles(features)
    counts, xs, ys = np.histogram2d(middle[:, 0], middle[:, 1], bins=24)
    x, y = np.unravel_index(int(counts.argmax()), counts.shape)
    inside = (xs[x] <= middle[:, 0]) & (middle[:, 0] <= xs[x + 1])
    inside &= (ys[y] <= middle[:, 1]) & (middle[:, 1] <= ys[y + 1])
    east, north = map(float, np.median(middle[inside], axis=0))
    return Window(east, north, east, north).squared(least=size * _PANEL / _NEAR / 2)


def _draw_features(panel: Panel, features: GeoSeries, color: str) -> None:
    """Fill a panel: shapes that can be seen as shapes, the others as dots."""
    small = _sizes(features) < _DOT * panel.pixel
    seen = features[~small].simplify(panel.pixel / 4).to_numpy()
    panel.add_shapes(seen, area=color, edge=_darker(color, 0.5), line=_darker(color, _LINE))
    if small.any():
        dots = _middles(features[small])
        size = 2.5 * _DOT if small.all() and len(dots) < 500 else _DOT
        panel.add_dots(dots, [math.pi / 4 * size**2], [_darker(color, 0.7)])


def _frame(panel: Panel, spot: Window) -> None:
    """Mark the second panel's window in the first, large enough to be found, and draw the border between them."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Rectangle

    seen, whole = spot.squared(least=5 * panel.pixel), panel.window
    corner, width, height = (seen.west, seen.south), seen.east - seen.west, seen.north - seen.south
    panel.add(Rectangle(corner, width, height, fill=False, edgecolor=_INK, linewidth=1.2))
    panel.add(Line2D([whole.east, whole.east], [whole.south, whole.north], color=_INK, linewidth=1.5))


def _darker(color: str, by: float) -> tuple[float, float, float]:
    from matplotlib.colors import to_rgb

    red, green, blue = to_rgb(color)
    return by * red, by * green, by * blue


def _draw_points(panel: Panel, picture: Picture, found: Sequence[Point]) -> None:
    """Draw points without a declared colour below the others, and small ones above large ones."""
    import numpy as np

    colours = dict(picture.colours)
    others = [point for point in found if point.colour not in colours]
    panel.add_dots(np.array([point[:2] for point in others]).reshape(-1, 2), [7.0], [_OTHER])
    shown = sorted((point for point in found if point.colour in colours), key=lambda point: -point.size)
    if shown:
        most = shown[0].size or 1.0
        areas = [_SMALLEST + (_LARGEST - _SMALLEST) * max(0.0, point.size) / most for point in shown]
        filled = [colours[str(point.colour)] for point in shown]
        panel.add_dots(np.array([point[:2] for point in shown]), areas, filled, edge=_PAPER)


def _write_legend(figure: Figure, picture: Picture, found: Sequence[Point]) -> None:
    """Write how many there are of each colour, and what the size of a dot means."""
    import numpy as np

    counts = Counter(point.colour for point in found)
    sizes = [point.size for point in found if point.colour in dict(picture.colours)]
    entries = [(_in_words(name), colour, counts[name]) for name, colour in picture.colours]
    legend = Panel(figure, Window(0, 0, _MAP, _MAP), side=_MAP)
    left = 12.0
    for name, colour, count in [*entries, ("other", _OTHER, len(found) - len(sizes))]:
        if count:
            legend.add_dots(np.array([[left, 31.0]]), [26.0], [colour])
            left = _write(figure, f"{name} {count:,}", left + 8, 31) + 14
    if most := max(sizes, default=0.0):
        more = _in_words(picture.size_column)
        _write(figure, f"the larger, the more {more}: at most {most:,.0f}, {sum(sizes):,.0f} in all", 8, 12)


def _write(figure: Figure, text: str, left: float, middle: float) -> float:
    """Write a text, `middle` pixels above the figure's lower edge; returns where it ends."""
    across, up = _MAP, _MAP + _LEGEND
    figure.text(left / across, middle / up, text, fontsize=7.5, color=_INK, va="center_baseline")
    return left + 5.4 * len(text)


def _in_words(name: str) -> str:
    return name.replace("_", " ").lower()
