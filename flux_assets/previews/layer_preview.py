"""A small picture of a published layer, for the asset's page.

Here: how the features are drawn, over the layers declared as ground. Where they are too small to be told apart,
a second panel shows the densest spot closer. Not here: which features are drawn (features.py), the strokes
(panel.py), Dagster.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from flux_assets.postgis.connect import Target
from flux_assets.previews.basemap import shapes
from flux_assets.previews.features import Window, sample_features
from flux_assets.previews.panel import INK, PAPER, Panel, Square, around, compact, rendered, stretch
from flux_assets.spec import Declaration, StaticTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from flux_assets.previews.panel import Numbers, Shapes

    Ground = Sequence[tuple[str, list[bytes]]]

_PANEL = 300  # pixels of a panel's sides
_SEEN = 3.0  # pixels below which a feature's shape cannot be told
_NEAR = 16  # pixels of a usual feature in the second panel
_LINE = 0.8  # of a layer's colour: a thin line needs more of it than an area
_DOT = 1.6  # pixels of what stands for a feature that is smaller


def draw(table: StaticTable, target: Target, rows: int, grounds: Sequence[StaticTable] = ()) -> bytes | None:
    """A PNG of at most panel.MOST_BYTES of the published table; None when no row has a place on the map."""
    import shapely
    from matplotlib.colors import to_hex

    features = sample_features(table, target.schema)
    if features is None:
        return None
    with target.session(f"preview {table.name}") as session:
        spread = shapely.from_wkb(features.spread(session, rows))
        if not spread.size:
            return None
        whole = _around(spread)
        drawn = [(spread, whole)]
        if (spot := _dense_spot(spread, whole)) is not None:
            drawn.append((shapely.from_wkb(features.within(session, spot)), spot))
        below = [layer for layer in grounds if layer.name != table.name]
        behind = [
            [(str(g.ground), shapes(session, target.schema, g.name, window, _pixel(window))) for g in below]
            for _, window in drawn
        ]
    kept = [PAPER, INK, table.draw, to_hex(_darker(table.draw, _LINE)), *(str(g.ground) for g in below)]
    return compact(rendered(_figure(drawn, behind, table.draw)), kept)


def as_markdown(table: Declaration, picture: bytes) -> str:
    """The picture as Markdown that carries it whole."""
    return f"![{table.name}](data:image/png;base64,{base64.b64encode(picture).decode()})"


def draw_ground(panel: Panel, ground: Ground) -> None:
    """Shapes in their layer's one quiet colour, the first layer lowest."""
    import shapely

    for colour, features in ground:
        panel.add_shapes(shapely.from_wkb(features), area=colour, edge="none", line=colour)


def _around(features: Shapes) -> Window:
    """All but the strays of the features."""
    import numpy as np
    import shapely

    bounds = shapely.bounds(features)
    west, south = np.quantile(bounds[:, :2], 0.002, axis=0)
    east, north = np.quantile(bounds[:, 2:], 0.998, axis=0)
    half = max((east - west) / stretch((south + north) / 2), north - south, 1e-3) * 0.53
    return around((west + east) / 2, (south + north) / 2, half)


def _pixel(window: Window) -> float:
    """Degrees of latitude to a pixel."""
    return (window.north - window.south) / _PANEL


def _sizes(features: Shapes) -> Numbers:
    """The longer side of each feature's bounds, in degrees."""
    import shapely

    bounds = shapely.bounds(features)
    sizes: Numbers = (bounds[:, 2:] - bounds[:, :2]).max(axis=1)
    return sizes


def _middles(features: Shapes) -> Numbers:
    """The middle of each feature's bounds."""
    import shapely

    middles: Numbers = shapely.bounds(features).reshape(-1, 2, 2).mean(axis=1)
    return middles


def _dense_spot(features: Shapes, whole: Window) -> Window | None:
    """Where and how near to look to see shapes; None when the whole already shows them, or they are points."""
    import numpy as np

    size = float(np.median(_sizes(features)))
    if size == 0 or size >= _SEEN * _pixel(whole):
        return None
    middle = _middles(features)
    counts, xs, ys = np.histogram2d(middle[:, 0], middle[:, 1], bins=24)
    x, y = np.unravel_index(int(counts.argmax()), counts.shape)
    inside = (xs[x] <= middle[:, 0]) & (middle[:, 0] <= xs[x + 1])
    inside &= (ys[y] <= middle[:, 1]) & (middle[:, 1] <= ys[y + 1])
    east, north = np.median(middle[inside], axis=0)
    return around(float(east), float(north), size * _PANEL / _NEAR / 2)


def _figure(drawn: Sequence[tuple[Shapes, Window]], behind: Sequence[Ground], color: str) -> Figure:
    """The panels side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3 * len(drawn), 3), dpi=_PANEL / 3, facecolor=PAPER)
    panels = [Panel(figure, Square(at * _PANEL, 0, _PANEL), window) for at, (_, window) in enumerate(drawn)]
    for panel, (features, _), ground in zip(panels, drawn, behind, strict=True):
        draw_ground(panel, ground)
        _draw_features(panel, features, color)
    if len(panels) == 2:
        _frame(panels[0], panels[1].window)
    return figure


def _draw_features(panel: Panel, features: Shapes, color: str) -> None:
    """Fills a panel: shapes that can be seen as shapes, the others as dots."""
    import shapely

    small = _sizes(features) < _DOT * panel.pixel
    seen = shapely.simplify(features[~small], panel.pixel / 4)
    panel.add_shapes(seen, area=color, edge=_darker(color, 0.5), line=_darker(color, _LINE))
    if small.any():
        dots = _middles(features[small])
        size = 2.5 * _DOT if small.all() and len(dots) < 500 else _DOT
        panel.add_dots(dots, [math.pi / 4 * size**2], [_darker(color, 0.7)])


def _frame(panel: Panel, spot: Window) -> None:
    """Marks the second panel's window in the first, large enough to be found, and the border between them."""
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
