"""Postal facts of a place: town, county, postal code."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flux_assets.sample.city import names
from flux_assets.sample.city.frame import Floats, Frame, random_stream, to_metres

_STREAM = 14
_ZIP_SIDE = 5200.0
_KM2_PER_TOWN = 420.0


@dataclass(frozen=True, kw_only=True)
class Places:
    """Towns by position in ground metres, with a pull: the largest reaches farthest."""

    x: Floats
    y: Floats
    pull: Floats
    frame: Frame

    def towns(self, longitude: Floats, latitude: Floats) -> list[str]:
        x, y = to_metres(longitude, latitude)
        nearest = np.zeros(len(x), np.int64)
        least = np.full(len(x), np.inf)
        for number in range(len(self.x)):
            away = np.hypot(x - self.x[number], y - self.y[number]) / self.pull[number]
            nearest, least = np.where(away < least, number, nearest), np.minimum(away, least)
        return names.picked(names.TOWNS, nearest)

    def counties(self, longitude: Floats, latitude: Floats) -> list[str]:
        x, y = to_metres(longitude, latitude)
        west, north = x < -0.28 * self.frame.width, y > 0.3 * self.frame.height
        south = (y < -0.27 * self.frame.height) & ~west
        which = np.where(west, 1, np.where(north, 2, np.where(south, 3, 0)))
        return names.picked(names.COUNTIES, which.astype(np.int64))

    def postal_codes(self, longitude: Floats, latitude: Floats) -> list[str]:
        x, y = to_metres(longitude, latitude)
        column = np.floor((x + 1.02 * self.frame.width / 2) / _ZIP_SIDE).astype(np.int64)
        row = np.floor((y + 1.02 * self.frame.height / 2) / _ZIP_SIDE).astype(np.int64)
        return [f"{code:05d}" for code in (77001 + (row * 19 + column) % 899).tolist()]


def places_of(frame: Frame, seed: int) -> Places:
    """Towns of a seed: the first in the centre, the others around it."""
    random = random_stream(seed, _STREAM)
    area = frame.width * frame.height / 1e6
    count = min(len(names.TOWNS), 1 + round(area / _KM2_PER_TOWN))
    angle = np.arange(count) * 2.399963 + random.uniform(0, 2 * np.pi)
    out = np.sqrt(np.arange(count) / max(count, 1)) * random.uniform(0.85, 1.0, count)
    pull = random.uniform(0.5, 0.9, count)
    pull[0] = 1.4
    return Places(
        x=out * np.cos(angle) * frame.width / 2, y=out * np.sin(angle) * frame.height / 2, pull=pull, frame=frame
    )
