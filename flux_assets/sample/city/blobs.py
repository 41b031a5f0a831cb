"""Rounded shapes: the outlines of lakes, ponds and islands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flux_assets.sample.city.frame import Flags, Floats

_WAVES = np.arange(2, 6)
_HEIGHTS = np.array([0.26, 0.13, 0.08, 0.05])


@dataclass(frozen=True, kw_only=True)
class Blob:
    """An outline around (x, y): at angle a the radius is size * (1 + sum of harmonics), never below 0.45 size."""

    x: float
    y: float
    size: float
    heights: Floats
    phases: Floats

    @property
    def reach(self) -> float:
        """No point of the outline is farther from the middle."""
        return self.size * (1 + float(np.abs(self.heights).sum()))

    @property
    def core(self) -> float:
        """No point of the outline is nearer to the middle."""
        return self.size * (1 - float(np.abs(self.heights).sum()))

    @property
    def box(self) -> tuple[float, float, float, float]:
        """West, east, south, north of all of it."""
        return self.x - self.reach, self.x + self.reach, self.y - self.reach, self.y + self.reach

    def radius(self, angle: Floats) -> Floats:
        waves = self.heights * np.cos(angle[..., None] * _WAVES + self.phases)
        return np.asarray(self.size * (1 + waves.sum(axis=-1)))

    def covers(self, x: Floats, y: Floats, margin: float) -> Flags:
        """Return which points are inside or within `margin` of the outline."""
        away_x, away_y = x - self.x, y - self.y
        within = (np.abs(away_x) < self.reach + margin) & (np.abs(away_y) < self.reach + margin)
        if within.any():
            near_x, near_y = away_x[within], away_y[within]
            edge = self.radius(np.arctan2(near_y, near_x)) + margin
            within[within] = np.hypot(near_x, near_y) < edge
        return np.asarray(within)

    def ring(self, step: float) -> Floats:
        """Return the closed outline (points, 2), counterclockwise, with points about `step` metres apart."""
        count = int(np.clip(2 * np.pi * self.size / step, 10, 160))
        angle = np.linspace(0, 2 * np.pi, count + 1)
        angle[-1] = 0.0
        radius = self.radius(angle)
        return np.column_stack([self.x + radius * np.cos(angle), self.y + radius * np.sin(angle)])


def blob(random: np.random.Generator, x: float, y: float, size: float) -> Blob:
    """Return a blob of random shape."""
    heights = _HEIGHTS * random.uniform(0.4, 1.0, len(_WAVES))
    return Blob(x=x, y=y, size=size, heights=heights, phases=random.uniform(0, 2 * np.pi, len(_WAVES)))
