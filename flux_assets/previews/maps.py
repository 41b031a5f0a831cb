"""A small picture of a published layer or of a dynamic table as it is now, over the layers declared as ground."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from flux_assets.postgis.relations import LiveTable
from flux_assets.postgis.session import Target, find_postgis
from flux_assets.previews.features import Point, Window, largest_shapes, points, sample_features
from flux_assets.previews.panel import INK, PAPER, Panel, Square, around, compact, rendered, stretch
from flux_assets.spec import Declaration, DynamicTable, StaticTable
from flux_assets.spec.facts import Picture

if TYPE_CHECKING:
    from geopandas import GeoSeries
    from matplotlib.figure import Figure

    from flux_assets.previews.panel import Numbers

    Basemap = Sequence[tuple[str, list[bytes]]]

_PANEL = 300  # pixels of a panel's sides
_SEEN = 3.0  # pixels below which a feature's shape cannot be seen
_NEAR = 16  # pixels of a usual feature in the second panel
_LINE = 0.8  # of a layer's colour: a thin line needs more of it than an area
_DOT = 1.6  # pixels of the dot for a smaller feature


def draw(table: StaticTable, target: Target, rows: int, grounds: Sequence[StaticTable] = ()) -> bytes | None:
    """Return a PNG of at most panel.MOST_BYTES of the published table; None when no row has a place on the map."""
    import geopandas
    from matplotlib.colors import to_hex

    features = sample_features(table, target.schema)
    if features is None:
        return None
    with target.session(f"preview {table.name}") as session:
        spread = geopandas.GeoSeries.from_wkb(features.spread(session, rows), crs=4326)
        if spread.empty:
            return None
        whole = _around(spread)
        drawn = [(spread, whole)]
        if (spot := _dense_spot(spread, whole)) is not None:
            drawn.append((geopandas.GeoSeries.from_wkb(features.within(session, spot), crs=4326), spot))
        below = [layer for layer in grounds if layer.name != table.name]
        basemaps = [
            [(str(g.ground), largest_shapes(session, target.schema, g.name, window, _pixel(window))) for g in below]
            for _, window in drawn
        ]
    kept = [PAPER, INK, table.draw, to_hex(_darker(table.draw, _LINE)), *(str(g.ground) for g in below)]
    return compact(rendered(_figure(drawn, basemaps, table.draw)), kept)


def as_markdown(table: Declaration, picture: bytes) -> str:
    """Return Markdown that contains the whole picture."""
    return f"![{table.name}](data:image/png;base64,{base64.b64encode(picture).decode()})"


def draw_basemap(panel: Panel, basemap: Basemap) -> None:
    """Draw shapes in their layer's one quiet colour, the first layer lowest."""
    import shapely

    for colour, features in basemap:
        panel.add_shapes(shapely.from_wkb(features), area=colour, edge="none", line=colour)


def _around(features: GeoSeries) -> Window:
    """Return a window around all features but outliers."""
    import numpy as np

    bounds = features.bounds.to_numpy()
    west, south = np.quantile(bounds[:, :2], 0.002, axis=0)
    east, north = np.quantile(bounds[:, 2:], 0.998, axis=0)
    half = max((east - west) / stretch((south + north) / 2), north - south, 1e-3) * 0.53
    return around((west + east) / 2, (south + north) / 2, half)


def _pixel(window: Window) -> float:
    """Return the degrees of latitude to a pixel."""
    return (window.north - window.south) / _PANEL


def _sizes(features: GeoSeries) -> Numbers:
    """Return the longer side of each feature's bounds, in degrees."""
    bounds = features.bounds.to_numpy()
    sizes: Numbers = (bounds[:, 2:] - bounds[:, :2]).max(axis=1)
    return sizes


def _dense_spot(features: GeoSeries, whole: Window) -> Window | None:
    """Return the window in which shapes can be seen; None when the whole already shows them, or they are points."""
    import numpy as np

    size = float(np.median(_sizes(features)))
    if size == 0 or size >= _SEEN * _pixel(whole):
        return None
    middle = features.bounds.to_numpy().reshape(-1, 2, 2).mean(axis=1)
    counts, xs, ys = np.histogram2d(middle[:, 0], middle[:, 1], bins=24)
    x, y = np.unravel_index(int(counts.argmax()), counts.shape)
    inside = (xs[x] <= middle[:, 0]) & (middle[:, 0] <= xs[x + 1])
    inside &= (ys[y] <= middle[:, 1]) & (middle[:, 1] <= ys[y + 1])
    east, north = np.median(middle[inside], axis=0)
    return around(float(east), float(north), size * _PANEL / _NEAR / 2)


def _figure(drawn: Sequence[tuple[GeoSeries, Window]], basemaps: Sequence[Basemap], color: str) -> Figure:
    """Draw the panels side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3 * len(drawn), 3), dpi=_PANEL / 3, facecolor=PAPER)
    panels = [Panel(figure, Square(at * _PANEL, 0, _PANEL), window) for at, (_, window) in enumerate(drawn)]
    for panel, (features, _), basemap in zip(panels, drawn, basemaps, strict=True):
        draw_basemap(panel, basemap)
        _draw_features(panel, features, color)
    if len(panels) == 2:
        _frame(panels[0], panels[1].window)
    return figure


def _draw_features(panel: Panel, features: GeoSeries, color: str) -> None:
    """Fill a panel: shapes that can be seen as shapes, the others as dots."""
    small = _sizes(features) < _DOT * panel.pixel
    seen = features[~small].simplify(panel.pixel / 4).to_numpy()
    panel.add_shapes(seen, area=color, edge=_darker(color, 0.5), line=_darker(color, _LINE))
    if small.any():
        dots = features[small].bounds.to_numpy().reshape(-1, 2, 2).mean(axis=1)
        size = 2.5 * _DOT if small.all() and len(dots) < 500 else _DOT
        panel.add_dots(dots, [math.pi / 4 * size**2], [_darker(color, 0.7)])


def _frame(panel: Panel, spot: Window) -> None:
    """Mark the second panel's window in the first, large enough to be found, and draw the border between them."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Rectangle

    x, y = (spot.west + spot.east) / 2, (spot.south + spot.north) / 2
    seen = around(x, y, max(spot.north - spot.south, 10 * panel.pixel) / 2)
    corner, width, height = (seen.west, seen.south), seen.east - seen.west, seen.north - seen.south
    panel.add(Rectangle(corner, width, height, fill=False, edgecolor=INK, linewidth=1.2))
    whole = panel.window
    panel.add(Line2D([whole.east, whole.east], [whole.south, whole.north], color=INK, linewidth=1.5))


def _darker(color: str, by: float) -> tuple[float, float, float]:
    from matplotlib.colors import to_rgb

    red, green, blue = to_rgb(color)
    return by * red, by * green, by * blue


if TYPE_CHECKING:
    from matplotlib.figure import Figure


_PIXELS = 420  # of the map's sides
_LEGEND = 44  # pixels below it, for two lines
_OTHER = "#9a9a9a"
_SMALLEST, _LARGEST = 12.0, 260.0  # areas of dots, in square points
_LEAST_HALF = 0.01  # degrees of latitude to each side: a single point has no extent


def draw_live(table: DynamicTable, target: Target, grounds: Sequence[StaticTable] = ()) -> bytes | None:
    """Return a PNG of at most panel.MOST_BYTES; None when the table has no picture, or no row has a position."""
    picture = table.picture
    if picture is None:
        return None
    with target.session(f"preview {table.name}") as session:
        find_postgis(session)
        found = points(session, LiveTable(target.schema, table), picture)
        if not found:
            return None
        window = _around_points(found)
        pixel = (window.north - window.south) / _PIXELS
        basemaps = [(str(g.ground), largest_shapes(session, target.schema, g.name, window, pixel)) for g in grounds]
    kept = [PAPER, INK, _OTHER, *(colour for _, colour in picture.colours), *(str(g.ground) for g in grounds)]
    return compact(rendered(_live_figure(picture, found, window, basemaps)), kept)


def _around_points(found: Sequence[Point]) -> Window:
    """Return a square on the ground around all points but outliers."""
    xs, ys = sorted(point.longitude for point in found), sorted(point.latitude for point in found)
    spare = len(found) // 50
    west, east = xs[spare], xs[-1 - spare]
    south, north = ys[spare], ys[-1 - spare]
    x, y = (west + east) / 2, (south + north) / 2
    half = max((east - west) / stretch(y) / 2, (north - south) / 2, _LEAST_HALF) * 1.12
    return around(x, y, half)


def _live_figure(picture: Picture, found: Sequence[Point], window: Window, basemaps: Basemap) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_PIXELS / 100, (_PIXELS + _LEGEND) / 100), dpi=100, facecolor=PAPER)
    panel = Panel(figure, Square(0, _LEGEND, _PIXELS), window)
    draw_basemap(panel, basemaps)
    _draw_points(panel, picture, found)
    _write_legend(figure, picture, found)
    return figure


def _draw_points(panel: Panel, picture: Picture, found: Sequence[Point]) -> None:
    """Draw points without a declared colour below the others, and small ones above large ones."""
    import numpy as np

    colours = dict(picture.colours)
    others = [point for point in found if point.colour not in colours]
    panel.add_dots(np.array([point[:2] for point in others]).reshape(-1, 2), [7.0], [_OTHER])
    shown = sorted((point for point in found if point.colour in colours), key=lambda point: -point.size)
    if shown:
        panel.add_dots(
            np.array([point[:2] for point in shown]),
            _areas(shown),
            [colours[str(point.colour)] for point in shown],
            edge=PAPER,
        )


def _areas(shown: Sequence[Point]) -> list[float]:
    """Return areas of dots in proportion to the numbers that they show."""
    most = _most(shown) or 1.0
    return [_SMALLEST + (_LARGEST - _SMALLEST) * max(0.0, point.size) / most for point in shown]


def _most(shown: Sequence[Point]) -> float:
    return max((point.size for point in shown), default=0.0)


def _write_legend(figure: Figure, picture: Picture, found: Sequence[Point]) -> None:
    """Write how many there are of each colour, and what the size of a dot means."""
    import numpy as np

    counts = [
        (_in_words(name), colour, sum(point.colour == name for point in found)) for name, colour in picture.colours
    ]
    others = sum(point.colour not in dict(picture.colours) for point in found)
    legend = Panel(figure, Square(0, 0, _PIXELS), Window(0, 0, _PIXELS, _PIXELS))
    left = 12.0
    for name, colour, count in [*counts, ("other", _OTHER, others)]:
        if count:
            legend.add_dots(np.array([[left, 31.0]]), [26.0], [colour])
            left = _write(figure, f"{name} {count:,}", left + 8, 31) + 14
    sized = [point for point in found if point.colour in dict(picture.colours)]
    if most := _most(sized):
        total = sum(point.size for point in sized)
        size = f"the larger, the more {_in_words(picture.size_column)}: at most {most:,.0f}, {total:,.0f} in all"
        _write(figure, size, 8, 12)


def _write(figure: Figure, text: str, left: float, middle: float) -> float:
    """Write a text, `middle` pixels above the figure's lower edge; returns where it ends."""
    across, up = _PIXELS, _PIXELS + _LEGEND
    figure.text(left / across, middle / up, text, fontsize=7.5, color=INK, va="center_baseline")
    return left + 5.4 * len(text)


def _in_words(name: str) -> str:
    return name.replace("_", " ").lower()
