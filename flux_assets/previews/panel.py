"""A square of a preview: where degrees lie in it, how shapes and dots are drawn quickest, and the bytes of the PNG.

There are no axes: making those takes longer than drawing most layers. Drawing libraries are imported when the first
picture is drawn: they cost more than loading a small layer.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure
    from matplotlib.path import Path
    from PIL.Image import Image

    Numbers = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
    Shapes = np.ndarray[tuple[int, ...], np.dtype[np.object_]]
    Colour = str | tuple[float, ...]

_MOST_BYTES = 20_000
_COLORS = (32, 12, 6)


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


class Panel:
    """A square of the figure, `side` pixels wide, with its lower left corner at `left` and `bottom`, of one window."""

    def __init__(self, figure: Figure, window: Window, *, side: float, left: float = 0, bottom: float = 0) -> None:
        from matplotlib.transforms import Affine2D, Bbox

        self._figure, self.window = figure, window
        self.pixel = (window.north - window.south) / side  # degrees of latitude
        self._clip = Bbox.from_bounds(left, bottom, side, side)
        across, up = side / (window.east - window.west), side / (window.north - window.south)
        moved = Affine2D().translate(-window.west, -window.south)
        self._pixels = moved.scale(across, up).translate(left, bottom)

    def add(self, artist: Artist) -> None:
        """Draw what is given in degrees, as far as it lies in the panel, over all that was added before."""
        self._put(artist)
        artist.set_transform(self._pixels)

    def add_shapes(self, shapes: Shapes, *, area: Colour, edge: Colour, line: Colour) -> None:
        """Draw polygons with their holes, and lines; points are left out. Without an `edge`, give it as "none"."""
        import shapely
        from matplotlib.collections import LineCollection, PathCollection

        parts = shapely.get_parts(shapely.get_parts(shapes))
        dimension = shapely.get_dimensions(parts)
        if (areas := parts[dimension == 2]).size:
            self.add(PathCollection(_outlines(areas), facecolors=[area], edgecolors=[edge], linewidths=0.4))
        if (lines := parts[dimension == 1]).size:
            # The shades of smoothed lines take more bytes than all the rest of a picture.
            self.add(LineCollection(_runs(lines), colors=[line], linewidths=0.7, antialiaseds=[False]))

    def add_dots(
        self, places: Numbers, areas: Sequence[float], colours: Sequence[Colour], *, edge: Colour = "none"
    ) -> None:
        """Draw a dot at each place in degrees, of an area in square points; one area or colour holds for all."""
        from matplotlib.collections import CircleCollection
        from matplotlib.transforms import IdentityTransform

        circles = CircleCollection(
            areas, offsets=places, offset_transform=self._pixels, facecolors=colours, edgecolors=edge, linewidths=0.6
        )
        self._put(circles)
        circles.set_transform(IdentityTransform())

    def _put(self, artist: Artist) -> None:
        """Keep the order in which artists were added: Matplotlib would draw all lines over all areas."""
        artist.set_zorder(len(self._figure.get_children()))
        self._figure.add_artist(artist)
        artist.set_clip_box(self._clip)


def png(figure: Figure, kept: Sequence[str]) -> bytes:
    """Return the figure in at most _MOST_BYTES: in fewer colours if need be, but always the `kept` ones, or smaller.

    A few dots of a colour would otherwise lose it to the shades of what lies behind them.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas: Any = FigureCanvasAgg(figure)  # matplotlib declares no types of its drawing
    canvas.draw()
    picture = Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba()).convert("RGB")
    encoded = b""
    for colors in _COLORS:
        encoded = _encoded(picture, colors, kept)
        if len(encoded) <= _MOST_BYTES:
            return encoded
    while len(encoded) > _MOST_BYTES:
        scale = 0.95 * math.sqrt(_MOST_BYTES / len(encoded))
        picture = picture.resize((max(1, int(picture.width * scale)), max(1, int(picture.height * scale))))
        encoded = _encoded(picture, _COLORS[-1], kept)
    return encoded


def _encoded(picture: Image, colors: int, kept: Sequence[str]) -> bytes:
    """Return the PNG in so many colours and the `kept` ones; zlib's last level costs far more time than it saves."""
    from PIL import Image, ImageColor

    shades = picture.quantize(colors).getpalette() or []
    palette, buffer = Image.new("P", (1, 1)), io.BytesIO()
    palette.putpalette([*shades[: 3 * colors], *(part for name in kept for part in ImageColor.getrgb(name))])
    picture.quantize(palette=palette, dither=Image.Dither.NONE).save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def _outlines(areas: Shapes) -> list[Path]:
    """Return a path for each polygon, its holes included."""
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
    """Return the points of each line."""
    import numpy as np
    import shapely

    points, line = shapely.get_coordinates(lines, return_index=True)
    return np.split(points, np.flatnonzero(np.diff(line)) + 1)
