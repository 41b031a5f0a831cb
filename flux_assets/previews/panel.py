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

from flux_assets.previews.features import Window

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure
    from matplotlib.path import Path
    from PIL.Image import Image

    Numbers = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
    Shapes = np.ndarray[tuple[int, ...], np.dtype[np.object_]]
    Colour = str | tuple[float, ...]

MOST_BYTES = 20_000
_COLORS = (32, 12, 6)
PAPER, INK = "#fbfaf7", "#333333"


@dataclass(frozen=True)
class Square:
    """Where in the figure, in pixels from its lower left corner."""

    left: float
    bottom: float
    side: float


class Panel:
    """A square of the figure, and where a window's degrees lie in it."""

    def __init__(self, figure: Figure, square: Square, window: Window) -> None:
        from matplotlib.transforms import Affine2D, Bbox

        self._figure, self.window, self.square = figure, window, square
        self._clip = Bbox.from_bounds(square.left, square.bottom, square.side, square.side)
        across, up = square.side / (window.east - window.west), square.side / (window.north - window.south)
        moved = Affine2D().translate(-window.west, -window.south)
        self._pixels = moved.scale(across, up).translate(square.left, square.bottom)

    @property
    def pixel(self) -> float:
        """Degrees of latitude to a pixel."""
        return (self.window.north - self.window.south) / self.square.side

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


def around(x: float, y: float, half: float) -> Window:
    """Return a window that reaches equally far to each side on the ground; `half` in degrees of latitude."""
    return Window(x - half * stretch(y), y - half, x + half * stretch(y), y + half)


def stretch(latitude: float) -> float:
    """Return how many degrees of longitude are as long as one of latitude."""
    return 1 / max(0.1, math.cos(math.radians(latitude)))


def rendered(figure: Figure) -> Image:
    """Return the figure's pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas: Any = FigureCanvasAgg(figure)  # matplotlib declares no types of its drawing
    canvas.draw()
    pixels = canvas.buffer_rgba()
    return Image.frombuffer("RGBA", canvas.get_width_height(), pixels).convert("RGB")


def compact(picture: Image, kept: Sequence[str] = ()) -> bytes:
    """Return the PNG in at most MOST_BYTES: with fewer colours if need be, but always the `kept` ones, or else smaller.

    A few dots of a colour would otherwise lose it to the shades of what lies behind them.
    """
    encoded = b""
    for colors in _COLORS:
        encoded = _encoded(picture, colors, kept)
        if len(encoded) <= MOST_BYTES:
            return encoded
    while len(encoded) > MOST_BYTES:
        picture = _smaller(picture, 0.95 * math.sqrt(MOST_BYTES / len(encoded)))
        encoded = _encoded(picture, _COLORS[-1], kept)
    return encoded


def _encoded(picture: Image, colors: int, kept: Sequence[str]) -> bytes:
    """Return the PNG in so many colours and the `kept` ones; zlib's last level costs far more time than it saves."""
    from PIL import Image, ImageColor

    shades = picture.quantize(colors)
    palette = [*(shades.getpalette() or [])[: 3 * colors], *(v for name in kept for v in ImageColor.getrgb(name))]
    buffer, chosen = io.BytesIO(), Image.new("P", (1, 1))
    chosen.putpalette(palette)
    shown = picture.quantize(palette=chosen, dither=Image.Dither.NONE) if kept else shades
    shown.save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def _smaller(picture: Image, scale: float) -> Image:
    return picture.resize((max(1, int(picture.width * scale)), max(1, int(picture.height * scale))))


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
