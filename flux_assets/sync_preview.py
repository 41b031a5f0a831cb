"""A small map of a dynamic table as it stands, for its asset's page.

Here: how its points and what lies behind them are drawn. Not here: which are drawn (postgis/live_map.py), when
(sync_step.py), pictures of layers (preview.py).

Drawing libraries are imported when a picture is drawn: they cost more than most syncs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from flux_assets.postgis.connect import Target
from flux_assets.postgis.glimpse import Window
from flux_assets.postgis.layer import LiveTable
from flux_assets.postgis.live_map import Point, points, shapes
from flux_assets.postgis.prerequisites import find_postgis
from flux_assets.preview import compact
from flux_assets.spec import DynamicTable, Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from PIL.Image import Image

    Line = Sequence[tuple[float, float]]

_PIXELS = 420  # of the map's sides
_LEGEND = 26  # pixels below it
_PAPER, _INK, _OTHER = "#fbfaf7", "#333333", "#9a9a9a"
_SMALLEST, _LARGEST = 12.0, 260.0  # areas of dots, in square points
_LEAST_HALF = 0.01  # degrees of latitude to each side: a single point has no extent


def draw_live(table: DynamicTable, target: Target) -> bytes | None:
    """A PNG of at most preview.MOST_BYTES; None when the table has no picture, or no row has a place on the map."""
    picture = table.picture
    if picture is None:
        return None
    with target.session(f"preview {table.name}") as session:
        find_postgis(session)
        found = points(session, LiveTable(target.schema, table), picture)
        if not found:
            return None
        window = _around(found)
        tolerance = (window.north - window.south) / _PIXELS
        behind = [(colour, shapes(session, target.schema, name, window, tolerance)) for name, colour in picture.behind]
    return compact(_render(picture, found, window, behind))


def _around(found: Sequence[Point]) -> Window:
    """A square on the ground around all points but the strays."""
    xs, ys = sorted(point.longitude for point in found), sorted(point.latitude for point in found)
    spare = len(found) // 50
    west, east = xs[spare], xs[-1 - spare]
    south, north = ys[spare], ys[-1 - spare]
    x, y = (west + east) / 2, (south + north) / 2
    stretch = 1 / max(0.1, math.cos(math.radians(y)))
    half = max((east - west) / stretch / 2, (north - south) / 2, _LEAST_HALF) * 1.12
    return Window(x - half * stretch, y - half, x + half * stretch, y + half)


def _render(
    picture: Picture, found: Sequence[Point], window: Window, behind: Sequence[tuple[str, list[bytes]]]
) -> Image:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    height = _PIXELS + _LEGEND
    figure = Figure(figsize=(_PIXELS / 100, height / 100), dpi=100, facecolor=_PAPER)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, _LEGEND / height, 1, _PIXELS / height))
    axes.set_axis_off()
    for order, (colour, features) in enumerate(behind):
        _draw_behind(axes, features, colour, order)
    _draw_points(axes, picture, found)
    axes.set(xlim=(window.west, window.east), ylim=(window.south, window.north), aspect="auto")
    _write_legend(figure.add_axes((0, 0, 1, _LEGEND / height)), picture, found)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = canvas.buffer_rgba()  # type: ignore[no-untyped-call]
    return Image.frombuffer("RGBA", canvas.get_width_height(), pixels).convert("RGB")


def _draw_behind(axes: Axes, features: Sequence[bytes], colour: str, order: int) -> None:
    """Areas filled, lines drawn; points are left out."""
    import shapely
    from matplotlib.collections import LineCollection, PolyCollection

    lines: list[Line] = []
    areas: list[Line] = []
    for shape in shapely.get_parts(shapely.from_wkb(features)):
        if shape.geom_type == "Polygon" and not shape.is_empty:
            areas.append(shape.exterior.coords)
        elif shape.geom_type == "LineString":
            lines.append(shape.coords)
    axes.add_collection(PolyCollection(areas, facecolors=colour, zorder=order))
    axes.add_collection(LineCollection(lines, colors=colour, linewidths=0.7, zorder=order))


def _draw_points(axes: Axes, picture: Picture, found: Sequence[Point]) -> None:
    """Those without a colour of their own below the others, and small ones above large ones."""
    colours = dict(picture.colours)
    others = [point for point in found if point.colour not in colours]
    axes.scatter([p.longitude for p in others], [p.latitude for p in others], s=7, color=_OTHER, linewidths=0, zorder=8)
    shown = sorted((point for point in found if point.colour in colours), key=lambda point: -point.size)
    axes.scatter(
        [point.longitude for point in shown], [point.latitude for point in shown], s=list(_areas(shown)),
        color=[colours[str(point.colour)] for point in shown], edgecolors=_PAPER, linewidths=0.6, alpha=0.9, zorder=9,
    )  # fmt: skip


def _areas(shown: Sequence[Point]) -> Iterator[float]:
    """Areas of dots in proportion to what they stand for."""
    most = max((point.size for point in shown), default=0.0) or 1.0
    return (_SMALLEST + (_LARGEST - _SMALLEST) * max(0.0, point.size) / most for point in shown)


def _write_legend(axes: Axes, picture: Picture, found: Sequence[Point]) -> None:
    """How many there are of each colour."""
    axes.set_axis_off()
    axes.set(xlim=(0, _PIXELS), ylim=(0, _LEGEND))
    counts = [(name, colour, sum(point.colour == name for point in found)) for name, colour in picture.colours]
    other = sum(point.colour not in dict(picture.colours) for point in found)
    left = 10.0
    for name, colour, count in [
        *(entry for entry in counts if entry[2]),
        *([("other", _OTHER, other)] if other else []),
    ]:
        axes.scatter([left], [_LEGEND / 2], s=26, color=colour, linewidths=0)
        said = f"{name.replace('_', ' ').lower()} {count:,}"
        axes.text(left + 8, _LEGEND / 2, said, fontsize=7.5, color=_INK, va="center_baseline")
        left += 20 + 5.4 * len(said)
