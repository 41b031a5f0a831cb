"""Draw the published layers as one map: the picture that `make demo` leaves; docs/sample-city.png is a copy of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, LiteralString

import matplotlib as mpl
import numpy as np
import shapely
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from PIL import Image
from psycopg import Connection, sql

from flux_assets.tables import static_tables

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GROUND, TALL = "#f3efe6", "#7f6a55"
# The middle of the city: its whole would need more bytes than a README should carry.
SHOWN = 0.62
COLOURS = {table.name: table.draw for table in static_tables()}


def draw_map(session: Connection, schema: str, picture: Path) -> None:
    """Draw water, buildings, trees, lines and substations over one another, and save few colours in few bytes."""
    city = _City(session, schema)
    west, south, east, north = city.window
    figure = Figure(figsize=(9.2, 7.36), facecolor=GROUND, dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    _add_areas(axes, city.shapes("osm_water"), COLOURS["osm_water"], 1)
    _add_areas(axes, city.shapes("building_footprints"), COLOURS["building_footprints"], 2)
    _add_areas(axes, city.shapes("building_footprints", "num_floors >= 5"), TALL, 3)
    lines = [shapely.get_coordinates(line) for line in city.shapes("grid_power_lines")]
    axes.add_collection(LineCollection(lines, color=COLOURS["grid_power_lines"], lw=0.6, zorder=5))
    trees = shapely.get_coordinates(city.shapes("vegetation_risk"))
    axes.scatter(*trees.T, s=2.4, color=COLOURS["vegetation_risk"], lw=0, zorder=5.5)
    substations = shapely.get_coordinates(city.shapes("substations"))
    axes.scatter(*substations.T, s=48, color=COLOURS["substations"], edgecolor="white", lw=0.9, zorder=6)
    axes.set(xlim=(west, east), ylim=(south, north), aspect=1 / np.cos(np.radians((south + north) / 2)))
    axes.axis("off")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    drawn = Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba()).convert("RGB")
    drawn.quantize(40, Image.Quantize.MAXCOVERAGE, kmeans=1).save(picture, "PNG", optimize=True)


class _City:
    """The published tables, as far as they lie in the window."""

    def __init__(self, session: Connection, schema: str) -> None:
        self._session, self._schema = session, schema
        extent = sql.SQL("SELECT ST_AsBinary(ST_Extent(geom)::geometry) FROM {table}")
        west, south, east, north = shapely.total_bounds(self._geometries(extent, "building_footprints"))
        across, up = (1 - SHOWN) / 2 * (east - west), (1 - SHOWN) / 2 * (north - south)
        self.window = (west + across, south + up, east - across, north - up)

    def shapes(self, layer: str, condition: LiteralString = "true") -> np.ndarray:
        """The parts of the layer's geometries."""
        query = sql.SQL(
            "SELECT ST_AsBinary(ST_ForcePolygonCW(geom::geometry)) FROM {table}"
            " WHERE geom && ST_MakeEnvelope({window}, 4326) AND {condition}"
        )
        window = sql.SQL(", ").join(sql.Literal(float(degrees)) for degrees in self.window)
        return shapely.get_parts(self._geometries(query, layer, window=window, condition=sql.SQL(condition)))

    def _geometries(self, query: sql.SQL, layer: str, **parts: sql.Composable) -> np.ndarray:
        composed = query.format(table=sql.Identifier(self._schema, layer), **parts)
        return shapely.from_wkb([row[0] for row in self._session.execute(composed)])


def _add_areas(axes: Axes, areas: np.ndarray, colour: str, order: int) -> None:
    """One path for all: an outline turns one way round and a hole the other, so that holes stay open."""
    points, ring = shapely.get_coordinates(shapely.get_rings(areas), return_index=True)
    begins = np.flatnonzero(np.diff(ring, prepend=-1))
    codes = np.full(len(points), mpl.path.Path.LINETO, mpl.path.Path.code_type)
    codes[begins] = mpl.path.Path.MOVETO
    codes[np.append(begins[1:], len(points)) - 1] = mpl.path.Path.CLOSEPOLY
    patch = PathPatch(mpl.path.Path(points, codes), facecolor=colour, lw=0, zorder=order, transform=axes.transData)
    # As a patch of the axes it would be measured corner by corner, for limits that are known.
    axes.add_artist(patch)
