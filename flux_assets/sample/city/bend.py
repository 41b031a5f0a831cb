"""The bend of the land: what turns the straight grid that the city is planned on into streets that curve.

Planning is done on the straight grid and everything passes through the same bend, so that streets, lots, lines and
water still fit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flux_assets.sample.city.frame import Floats, Frame, random_stream

_STREAM = 1


@dataclass(frozen=True, kw_only=True)
class Bend:
    """A smooth map of the plane: a twist around the centre, a long wave, and a bulge within each cell.

    `edges_x` and `edges_y` bound the cells; `bulge` is (rows, columns, 2) metres. Borders of cells stay straight.
    """

    frame: Frame
    twist: float
    phases: Floats
    edges_x: Floats
    edges_y: Floats
    bulge: Floats

    def ground(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Ground metres of plan metres."""
        x, y = self._bulged(x, y)
        angle = self.twist * np.exp(-(x**2 + y**2) / (0.22 * self.frame.radius) ** 2)
        x, y = x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)
        length = 1.1 * self.frame.width
        height = 0.09 * length / (2 * np.pi)
        return (
            x + height * np.sin(2 * np.pi * y / length + self.phases[0]),
            y + height * np.sin(2 * np.pi * x / length + self.phases[1]),
        )

    def axes(self, x: Floats, y: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Ground vectors (eastward x, y; northward x, y) of a metre of plan, by differences over 2 m."""
        west, east = self.ground(x - 1, y), self.ground(x + 1, y)
        south, north = self.ground(x, y - 1), self.ground(x, y + 1)
        return (
            (east[0] - west[0]) / 2,
            (east[1] - west[1]) / 2,
            (north[0] - south[0]) / 2,
            (north[1] - south[1]) / 2,
        )

    def _bulged(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        column = np.clip(np.searchsorted(self.edges_x, x, "right") - 1, 0, len(self.edges_x) - 2)
        row = np.clip(np.searchsorted(self.edges_y, y, "right") - 1, 0, len(self.edges_y) - 2)
        across = (x - self.edges_x[column]) / (self.edges_x[column + 1] - self.edges_x[column])
        along = (y - self.edges_y[row]) / (self.edges_y[row + 1] - self.edges_y[row])
        inside = np.sin(np.pi * np.clip(across, 0, 1)) ** 2 * np.sin(np.pi * np.clip(along, 0, 1)) ** 2
        push = self.bulge[row, column] * inside[..., None]
        return x + push[..., 0], y + push[..., 1]


def bend_of(frame: Frame, edges_x: Floats, edges_y: Floats, seed: int) -> Bend:
    """Return the bend of a seed; local streets bulge little near the centre, where the grid is old and straight."""
    random = random_stream(seed, _STREAM)
    middle_x, middle_y = (edges_x[1:] + edges_x[:-1]) / 2, (edges_y[1:] + edges_y[:-1]) / 2
    distance = np.hypot(*np.meshgrid(middle_x, middle_y)) / frame.radius
    size = 0.055 * min(np.diff(edges_x).min(), np.diff(edges_y).min())
    bulge = random.uniform(-1, 1, (len(middle_y), len(middle_x), 2)) * size
    return Bend(
        frame=frame,
        twist=float(random.choice([-1, 1]) * random.uniform(0.3, 0.45)),
        phases=random.uniform(0, 2 * np.pi, 2),
        edges_x=edges_x,
        edges_y=edges_y,
        bulge=bulge * np.clip((distance - 0.15) / 0.3, 0.05, 1)[..., None],
    )
