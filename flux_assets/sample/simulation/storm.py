"""A storm: the track that it takes over the city, and the places that lie in its way.

A storm is known by the moment it began, which draws its track, so that later ticks find it again.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta

import numpy as np

from flux_assets.sample.city.frame import random_stream
from flux_assets.sample.simulation.grid import Device, Grid

_STREAM = 31
# Of the city's extent: half the width in which most of the damage lies.
_HALF_WIDTH = 0.08
_EPOCH = datetime(1970, 1, 1)
LONGEST = timedelta(hours=12)


def storm_size(grid: Grid) -> int:
    """Outages of a storm: about 200 where there are 60 circuits, 600 from 500 circuits on, a few in a hamlet."""
    return min(600, max(10, round(27 * math.sqrt(grid.size))))


def struck(grid: Grid, began: datetime, count: int, random: np.random.Generator) -> list[Device]:
    """`count` places along the track, or as many as there are, the nearer the likelier."""
    weights = _nearness(grid, began)
    possible = int(np.count_nonzero(weights))
    chosen = random.choice(len(weights), min(count, possible), replace=False, p=weights / weights.sum())
    return [grid.devices[int(index)] for index in np.sort(chosen)]


def _nearness(grid: Grid, began: datetime) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """For each device: 1 on the track, falling off like a bell curve, 0 from three half-widths on."""
    random = random_stream(int((began - _EPOCH).total_seconds()), _STREAM)
    latitude = np.array([device.latitude for device in grid.devices])
    longitude = np.array([device.longitude for device in grid.devices])
    y = latitude - latitude.mean()
    x = (longitude - longitude.mean()) * math.cos(math.radians(float(latitude.mean())))
    extent = max(float(np.hypot(np.ptp(x), np.ptp(y))), 1e-9)
    angle, aside = random.uniform(0, math.pi), random.normal(0, 0.08) * extent
    away = (x * math.sin(angle) - y * math.cos(angle) - aside) / (_HALF_WIDTH * extent)
    nearness = np.where(np.abs(away) < 3, np.exp(-(away**2) / 2), 0.0)
    # A city too small for its storm is struck as a whole.
    return nearness if np.count_nonzero(nearness) else np.ones(len(nearness))
