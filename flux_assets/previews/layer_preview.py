"""A small picture of a published layer, over the layers declared as ground.

Where features are too small to be told apart, a second panel shows the densest spot closer.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from flux_assets.postgis.connect import Target
from flux_assets.previews.features import Window, largest_shapes, sample_features
from flux_assets.previews.panel import INK, PAPER, Panel, Square, around, compact, rendered, stretch
from flux_assets.spec import Declaration, StaticTable

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
