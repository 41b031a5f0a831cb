"""A small map of a dynamic table as it is now, with a legend, for its asset's page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from flux_assets.postgis.bootstrap import find_postgis
from flux_assets.postgis.connect import Target
from flux_assets.postgis.names import LiveTable
from flux_assets.previews.features import Point, Window, largest_shapes, points
from flux_assets.previews.layer_preview import draw_basemap
from flux_assets.previews.panel import INK, PAPER, Panel, Square, around, compact, rendered, stretch
from flux_assets.spec import DynamicTable, Picture, StaticTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from flux_assets.previews.layer_preview import Basemap

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
        window = _around(found)
        pixel = (window.north - window.south) / _PIXELS
        basemaps = [(str(g.ground), largest_shapes(session, target.schema, g.name, window, pixel)) for g in grounds]
    kept = [PAPER, INK, _OTHER, *(colour for _, colour in picture.colours), *(str(g.ground) for g in grounds)]
    return compact(rendered(_figure(picture, found, window, basemaps)), kept)


def _around(found: Sequence[Point]) -> Window:
    """Return a square on the ground around all points but outliers."""
    xs, ys = sorted(point.longitude for point in found), sorted(point.latitude for point in found)
    spare = len(found) // 50
    west, east = xs[spare], xs[-1 - spare]
    south, north = ys[spare], ys[-1 - spare]
    x, y = (west + east) / 2, (south + north) / 2
    half = max((east - west) / stretch(y) / 2, (north - south) / 2, _LEAST_HALF) * 1.12
    return around(x, y, half)


def _figure(picture: Picture, found: Sequence[Point], window: Window, basemaps: Basemap) -> Figure:
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
