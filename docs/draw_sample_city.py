"""Draw docs/sample-city.png: `python docs/draw_sample_city.py RELEASE_FOLDER` on a release of `flux-assets sample`.

Here: the picture of the README. Not here: the previews of layers in Dagster.
"""

from __future__ import annotations

import csv
import gzip
import sys
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import numpy as np
import shapely
from PIL import Image

from flux_assets.tables import static_tables

PICTURE = Path(__file__).with_name("sample-city.png")
GROUND = "#f3efe6"
# The middle of the city: its whole would need more bytes than a README should carry.
SHOWN = 0.62
COLOURS = {table.name: table.draw for table in static_tables()}


def main(release: Path) -> None:
    """Draw water, buildings, trees, lines and substations over one another, and save few colours in few bytes."""
    mpl.use("Agg")
    from matplotlib import pyplot
    from matplotlib.collections import LineCollection, PathCollection

    figure = pyplot.figure(figsize=(9.2, 7.36), facecolor=GROUND)
    axes = figure.add_axes((0, 0, 1, 1))
    for layer, order in (("osm_water", 1), ("building_footprints", 2)):
        paths = [_path(part) for shape in _geometries(release, layer) for part in shapely.get_parts(shape)]
        axes.add_collection(PathCollection(paths, facecolor=COLOURS[layer], lw=0, zorder=order))
    tall = [_path(shape) for shape in _geometries(release, "building_footprints", column="num_floors", least=5)]
    axes.add_collection(PathCollection(tall, facecolor="#7f6a55", lw=0, zorder=3))
    trees = shapely.get_coordinates(_geometries(release, "vegetation_risk"))
    axes.scatter(*trees.T, s=2.4, color=COLOURS["vegetation_risk"], lw=0, zorder=5.5)
    lines = [shapely.get_coordinates(line) for line in _geometries(release, "grid_power_lines")]
    axes.add_collection(LineCollection(lines, color=COLOURS["grid_power_lines"], lw=0.6, zorder=5))
    substations = shapely.get_coordinates(_geometries(release, "substations"))
    axes.scatter(*substations.T, s=48, color=COLOURS["substations"], edgecolor="white", lw=0.9, zorder=6)
    west, south, east, north = shapely.total_bounds(_geometries(release, "building_footprints"))
    margin = (1 - SHOWN) / 2
    axes.set(
        xlim=(west + margin * (east - west), east - margin * (east - west)),
        ylim=(south + margin * (north - south), north - margin * (north - south)),
        aspect=1 / np.cos(np.radians((south + north) / 2)),
    )
    axes.axis("off")
    figure.savefig(PICTURE, dpi=100)
    Image.open(PICTURE).convert("RGB").quantize(40, Image.Quantize.MAXCOVERAGE, kmeans=1).save(PICTURE, optimize=True)


def _geometries(release: Path, layer: str, column: str = "geom", least: float = 0) -> np.ndarray:
    rows = (row for row in _rows(release, layer) if not least or float(row[column] or 0) >= least)
    return shapely.from_wkb([row["geom"] for row in rows])


def _rows(release: Path, layer: str) -> Iterator[dict[str, str]]:
    with gzip.open(release / f"{layer}.csv.gz", "rt", newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def _path(shape: shapely.Polygon) -> mpl.path.Path:
    from matplotlib.path import Path as Outline

    return Outline.make_compound_path(*(Outline(np.array(ring.coords)) for ring in (shape.exterior, *shape.interiors)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
