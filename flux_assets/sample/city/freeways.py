"""Freeways: rings and spokes that no lot stands on. They are not a layer; they show as gaps between buildings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flux_assets.sample.city.frame import Flags, Floats, Frame, random_stream

_STREAM = 4
_HALF_WIDTH = 38.0
_RINGS = (0.1, 0.36, 0.72)


@dataclass(frozen=True, kw_only=True)
class Freeways:
    """Rings by radius, spokes by direction, in metres and radians on the plan."""

    rings: tuple[float, ...]
    spokes: Floats
    inner: float
    wave: float

    def covers(self, x: Floats, y: Floats, margin: float) -> Flags:
        """Return which points lie on a freeway or within `margin` metres of one."""
        distance, angle = np.hypot(x, y), np.arctan2(y, x)
        wide = _HALF_WIDTH + margin
        taken = np.zeros(x.shape, bool)
        for ring in self.rings:
            taken |= np.abs(distance - ring * (1 + 0.05 * np.sin(3 * angle + ring))) < wide
        for spoke in self.spokes:
            direction = spoke + 0.1 * np.sin(distance / self.wave + 5 * spoke)
            turned = angle - direction
            beside = np.abs(distance * np.sin(turned)) < wide
            taken |= beside & (np.cos(turned) > 0) & (distance > self.inner)
        return taken


def freeways_of(frame: Frame, seed: int) -> Freeways:
    """Return the freeways of a seed; a city too small for one has none."""
    random = random_stream(seed, _STREAM)
    rings = tuple(share * frame.radius for share in _RINGS if share * frame.radius > 700)
    spokes = int(random.integers(5, 8)) if frame.radius > 3000 else 0
    turned = float(random.uniform(0, 2 * np.pi)) + np.arange(spokes) * 2 * np.pi / max(spokes, 1)
    return Freeways(
        rings=rings,
        spokes=turned + random.uniform(-0.2, 0.2, spokes),
        inner=min(rings, default=0.0),
        wave=0.35 * frame.radius,
    )
