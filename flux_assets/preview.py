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
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure
    from matplotlib.path import Path
    from PIL.Image import Image

    Numbers = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
    Shapes = np.ndarray[tuple[int, ...], np.dtype[np.object_]]

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
    return compact(_render(panels, table.draw))


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
    """The panels side by side, drawn without axes: making those takes longer than drawing most layers."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    figure = Figure(figsize=(3 * len(panels), 3), dpi=_PANEL / 3, facecolor=_PAPER)
    canvas = FigureCanvasAgg(figure)
    for place, (features, window) in enumerate(panels):
        _draw_panel(_Panel(figure, place, window), features, color)
    if len(panels) == 2:
        _frame(_Panel(figure, 0, panels[0][1]), panels[1][1])
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = canvas.buffer_rgba()  # type: ignore[no-untyped-call]
    return Image.frombuffer("RGBA", canvas.get_width_height(), pixels).convert("RGB")


class _Panel:
    """A square of the figure, and where a window's degrees lie in it."""

    def __init__(self, figure: Figure, place: int, window: Window) -> None:
        from matplotlib.transforms import Affine2D, Bbox

        self._figure, self.window = figure, window
        self._square = Bbox.from_bounds(place * _PANEL, 0, _PANEL, _PANEL)
        across, up = _PANEL / (window.east - window.west), _PANEL / (window.north - window.south)
        moved = Affine2D().translate(-window.west, -window.south)
        self.pixels = moved.scale(across, up).translate(place * _PANEL, 0)

    def add(self, artist: Artist) -> None:
        """Draws what is given in degrees, as far as it lies in the panel."""
        self.add_drawn(artist)
        artist.set_transform(self.pixels)

    def add_drawn(self, artist: Artist) -> None:
        """The same for what knows where it is drawn."""
        self._figure.add_artist(artist)
        artist.set_clip_box(self._square)


def _draw_panel(panel: _Panel, features: GeoSeries, color: str) -> None:
    """Fills a panel: shapes that can be seen as shapes, the others as dots."""
    import shapely
    from matplotlib.collections import CircleCollection, LineCollection, PathCollection
    from matplotlib.transforms import IdentityTransform

    pixel = _pixel(panel.window)
    small = _sizes(features) < _DOT * pixel
    parts = shapely.get_parts(shapely.get_parts(features[~small].simplify(pixel / 4).to_numpy()))
    dimension = shapely.get_dimensions(parts)
    if (areas := parts[dimension == 2]).size:
        edge = _darker(color, 0.5)
        panel.add(PathCollection(_outlines(areas), facecolors=color, edgecolors=[edge], linewidths=0.4))
    if (lines := parts[dimension == 1]).size:
        panel.add(LineCollection(_runs(lines), colors=[_darker(color, 0.8)], linewidths=0.7))
    if small.any():
        dots = features[small].bounds.to_numpy().reshape(-1, 2, 2).mean(axis=1)
        size = 2.5 * _DOT if small.all() and len(dots) < 500 else _DOT
        circles = CircleCollection(
            [math.pi / 4 * size**2], offsets=dots, offset_transform=panel.pixels,
            facecolors=[_darker(color, 0.7)], edgecolors="face", linewidths=0,
        )  # fmt: skip
        panel.add_drawn(circles)
        circles.set_transform(IdentityTransform())


def _outlines(areas: Shapes) -> list[Path]:
    """A path for each polygon, its holes included."""
    import numpy as np
    import shapely
    from matplotlib.path import Path

    rings, polygon = shapely.get_rings(areas, return_index=True)
    corners, ring = shapely.get_coordinates(rings, return_index=True)
    begins = np.flatnonzero(np.diff(ring, prepend=-1))
    codes = np.full(len(corners), Path.LINETO, Path.code_type)
    codes[begins] = Path.MOVETO
    codes[np.append(begins[1:], len(corners)) - 1] = Path.CLOSEPOLY
    cuts = np.flatnonzero(np.diff(polygon[ring])) + 1
    return [Path(*path) for path in zip(np.split(corners, cuts), np.split(codes, cuts), strict=True)]


def _runs(lines: Shapes) -> list[Numbers]:
    """The points of each line."""
    import numpy as np
    import shapely

    points, line = shapely.get_coordinates(lines, return_index=True)
    return np.split(points, np.flatnonzero(np.diff(line)) + 1)


def _frame(panel: _Panel, spot: Window) -> None:
    """Marks the second panel's window in the first, large enough to be found, and the border between them."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Rectangle

    x, y = (spot.west + spot.east) / 2, (spot.south + spot.north) / 2
    seen = _square(x, y, max(spot.north - spot.south, 10 * _pixel(panel.window)) / 2)
    corner, width, height = (seen.west, seen.south), seen.east - seen.west, seen.north - seen.south
    panel.add(Rectangle(corner, width, height, fill=False, edgecolor=_FRAME, linewidth=1.2))
    whole = panel.window
    panel.add(Line2D([whole.east, whole.east], [whole.south, whole.north], color=_FRAME, linewidth=1.5))


def _darker(color: str, by: float) -> tuple[float, ...]:
    from matplotlib.colors import to_rgb

    return tuple(by * part for part in to_rgb(color))


def compact(picture: Image) -> bytes:
    """The PNG with as many colours as MOST_BYTES allow; zlib's last effort costs ten times what it saves in bytes."""
    encoded = b""
    for colors in (64, 32, 16, 8, 4, 2):
        buffer = io.BytesIO()
        picture.quantize(colors).save(buffer, "PNG", compress_level=6)
        encoded = buffer.getvalue()
        if len(encoded) <= MOST_BYTES:
            break
    return encoded
