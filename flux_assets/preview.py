"""A small picture of a published layer, for the asset's page.

Here: how the features are drawn. Where they are too small to be told apart, a second panel shows the densest spot
closer. Not here: which features are drawn (postgis/glimpse.py), Dagster.

Drawing libraries are imported when the first picture is drawn: they cost more than a small layer's load.
"""

from __future__ import annotations

import base64
import io
import math
from typing import TYPE_CHECKING

from flux_assets.postgis.connect import Target
from flux_assets.postgis.glimpse import Window, glimpse_of
from flux_assets.spec import Declaration, StaticTable

if TYPE_CHECKING:
    import numpy as np
    from geopandas import GeoSeries
    from matplotlib.axes import Axes
    from PIL.Image import Image

    Numbers = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

MOST_BYTES = 20_000
_PANEL = 300  # pixels of a panel's sides
_SEEN = 3.0  # pixels below which a feature's shape cannot be told
_NEAR = 16  # pixels of a usual feature in the second panel
_DOT = 1.6  # pixels of what stands for a feature that is smaller
_PAPER, _FRAME = "#fbfaf7", "#333333"


def draw(table: StaticTable, target: Target, rows: int) -> bytes | None:
    """A PNG of at most MOST_BYTES of the published table; None when no row has a place on the map."""
    import geopandas

    glimpse = glimpse_of(table, target.schema)
    if glimpse is None:
        return None
    with target.session(f"preview {table.name}") as session:
        spread = geopandas.GeoSeries.from_wkb(glimpse.spread(session, rows), crs=4326)
        if spread.empty:
            return None
        whole = _around(spread)
        panels = [(spread, whole)]
        if (spot := _dense_spot(spread, whole)) is not None:
            panels.append((geopandas.GeoSeries.from_wkb(glimpse.within(session, spot), crs=4326), spot))
    return _compact(_render(panels, table.draw))


def as_markdown(table: Declaration, picture: bytes) -> str:
    """The picture as Markdown that carries it whole."""
    return f"![{table.name}](data:image/png;base64,{base64.b64encode(picture).decode()})"


def _around(features: GeoSeries) -> Window:
    """All but the strays of the features."""
    import numpy as np

    bounds = features.bounds.to_numpy()
    west, south = np.quantile(bounds[:, :2], 0.002, axis=0)
    east, north = np.quantile(bounds[:, 2:], 0.998, axis=0)
    half = max((east - west) / _stretch((south + north) / 2), north - south, 1e-3) * 0.53
    return _square((west + east) / 2, (south + north) / 2, half)


def _square(x: float, y: float, half: float) -> Window:
    """As far to each side on the ground; `half` in degrees of latitude."""
    return Window(x - half * _stretch(y), y - half, x + half * _stretch(y), y + half)


def _stretch(latitude: float) -> float:
    """How many degrees of longitude are as long as one of latitude."""
    return 1 / max(0.1, math.cos(math.radians(latitude)))


def _pixel(window: Window) -> float:
    """Degrees of latitude to a pixel."""
    return (window.north - window.south) / _PANEL


def _sizes(features: GeoSeries) -> Numbers:
    """The longer side of each feature's bounds, in degrees."""
    bounds = features.bounds.to_numpy()
    sizes: Numbers = (bounds[:, 2:] - bounds[:, :2]).max(axis=1)
    return sizes


def _dense_spot(features: GeoSeries, whole: Window) -> Window | None:
    """Where and how near to look to see shapes; None when the whole already shows them, or they are points."""
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
    return _square(float(east), float(north), size * _PANEL / _NEAR / 2)


def _render(panels: list[tuple[GeoSeries, Window]], color: str) -> Image:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    figure = Figure(figsize=(3 * len(panels), 3), dpi=_PANEL / 3, facecolor=_PAPER)
    canvas = FigureCanvasAgg(figure)
    for place, (features, window) in enumerate(panels):
        axes = figure.add_axes((place / len(panels), 0, 1 / len(panels), 1))
        _draw_panel(axes, features, window, color)
    if len(panels) == 2:
        _frame(figure.axes[0], panels[0][1], panels[1][1])
        figure.axes[1].axvline(panels[1][1].west, color=_FRAME, linewidth=1.5)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = canvas.buffer_rgba()  # type: ignore[no-untyped-call]
    return Image.frombuffer("RGBA", canvas.get_width_height(), pixels).convert("RGB")


def _draw_panel(axes: Axes, features: GeoSeries, window: Window, color: str) -> None:
    """Fills a panel: shapes that can be seen as shapes, the others as dots."""
    axes.set_axis_off()
    small = _sizes(features) < _DOT * _pixel(window)
    shapes = features[~small].simplify(_pixel(window) / 4)
    areas = shapes.geom_type.isin(["Polygon", "MultiPolygon"])
    if areas.any():
        shapes[areas].plot(ax=axes, facecolor=color, edgecolor=_darker(color, 0.5), linewidth=0.4, aspect=None)
    if (~areas).any():
        shapes[~areas].plot(ax=axes, color=_darker(color, 0.8), linewidth=0.7, markersize=2, aspect=None)
    if small.any():
        dots = features[small].bounds
        size = 2.5 * _DOT if small.all() and len(dots) < 500 else _DOT
        place = (dots.minx + dots.maxx) / 2, (dots.miny + dots.maxy) / 2
        axes.scatter(*place, s=size**2, color=_darker(color, 0.7), linewidths=0)
    axes.set(xlim=(window.west, window.east), ylim=(window.south, window.north), aspect="auto")


def _frame(axes: Axes, whole: Window, spot: Window) -> None:
    """Marks the second panel's window in the first, large enough to be found."""
    from matplotlib.patches import Rectangle

    x, y = (spot.west + spot.east) / 2, (spot.south + spot.north) / 2
    seen = _square(x, y, max(spot.north - spot.south, 10 * _pixel(whole)) / 2)
    corner, width, height = (seen.west, seen.south), seen.east - seen.west, seen.north - seen.south
    axes.add_patch(Rectangle(corner, width, height, fill=False, edgecolor=_FRAME, linewidth=1.2))


def _darker(color: str, by: float) -> tuple[float, ...]:
    from matplotlib.colors import to_rgb

    return tuple(by * part for part in to_rgb(color))


def _compact(picture: Image) -> bytes:
    """The PNG with as many colours as MOST_BYTES allow."""
    encoded = b""
    for colors in (64, 32, 16, 8, 4, 2):
        buffer = io.BytesIO()
        picture.quantize(colors).save(buffer, "PNG", optimize=True)
        encoded = buffer.getvalue()
        if len(encoded) <= MOST_BYTES:
            break
    return encoded
