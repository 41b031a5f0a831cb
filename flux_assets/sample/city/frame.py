"""Where the sample city lies: metres around its centre, degrees on the Earth, distances and areas in truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

CENTRE_LONGITUDE = -95.39
CENTRE_LATITUDE = 29.76
# 1e-7 degree is a centimetre; what is stored is rounded first and computed from afterwards.
DECIMALS = 7
_WIDTH_AT_ONE = 90_000.0
_HEIGHT_AT_ONE = 72_000.0
_SEMI_MAJOR = 6_378_137.0
_ECCENTRICITY = 0.081819190842622


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The city's extent in metres: x from -width/2 to width/2 eastwards, y likewise northwards."""

    width: float
    height: float

    @property
    def radius(self) -> float:
        """Half the shorter side: what distances from the centre are measured against."""
        return min(self.width, self.height) / 2


def frame_of(scale: float) -> Frame:
    """Return the extent of a scale: the area grows with the scale, so that the density does not."""
    return Frame(width=_WIDTH_AT_ONE * scale**0.5, height=_HEIGHT_AT_ONE * scale**0.5)


def metres_per_degree(latitude: Floats | float) -> tuple[Floats, Floats]:
    """Length in metres of a degree of longitude and of latitude at a latitude."""
    phi = np.radians(latitude)
    east = 111_412.84 * np.cos(phi) - 93.5 * np.cos(3 * phi) + 0.118 * np.cos(5 * phi)
    north = 111_132.92 - 559.82 * np.cos(2 * phi) + 1.175 * np.cos(4 * phi)
    return east, north


_EAST, _NORTH = (float(value) for value in metres_per_degree(CENTRE_LATITUDE))


def to_degrees(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Longitude and latitude, rounded as they are stored."""
    return np.round(CENTRE_LONGITUDE + x / _EAST, DECIMALS), np.round(CENTRE_LATITUDE + y / _NORTH, DECIMALS)


def to_metres(longitude: Floats, latitude: Floats) -> tuple[Floats, Floats]:
    """Return the inverse of to_degrees."""
    return (longitude - CENTRE_LONGITUDE) * _EAST, (latitude - CENTRE_LATITUDE) * _NORTH


def true_lengths(longitude_steps: Floats, latitude_steps: Floats, latitude: Floats) -> Floats:
    """Metres of short steps given in degrees, at a latitude; right to 1e-5 for steps of some kilometres."""
    east, north = metres_per_degree(latitude)
    return np.hypot(longitude_steps * east, latitude_steps * north)


def true_distances(x_steps: Floats, y_steps: Floats, latitude: Floats) -> Floats:
    """Return the same for steps in the city's metres, which are true on the centre's latitude only."""
    return true_lengths(x_steps / _EAST, y_steps / _NORTH, latitude)


def ring_area(longitude: Floats, latitude: Floats) -> float:
    """Area in square metres inside a closed ring, whichever way round it runs."""
    x, y = np.radians(longitude - CENTRE_LONGITUDE), _authalic(np.radians(latitude))
    y = y - y[0]
    return abs(float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]))) / 2


def _authalic(phi: Floats) -> Floats:
    """Return the northing whose product with a step of longitude (radians) is the area of the strip between, in m²."""
    sine = np.sin(phi)
    e = _ECCENTRICITY
    return _SEMI_MAJOR**2 * (1 - e**2) / 2 * (sine / (1 - e**2 * sine**2) + np.arctanh(e * sine) / e)


def random_stream(seed: int, *path: int) -> np.random.Generator:
    """Random numbers of one part of the city: the same for the same seed and path, whatever else is drawn."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy=seed, spawn_key=path)))
