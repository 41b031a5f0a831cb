"""Districts: what kind of place each cell of the plan is, and how densely it is built."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from flux_assets.sample.city.frame import Floats, Frame, Ints, random_stream

_STREAM = 5


class District(IntEnum):
    """Kinds of cell."""

    DOWNTOWN = 0
    INNER = 1
    SUBURB = 2
    EXURB = 3
    INDUSTRY = 4
    CENTRE = 5
    PARK = 6


class Use(IntEnum):
    """Kinds of block."""

    HOUSES = 0
    FLATS = 1
    SHOPS = 2
    WORKS = 3
    CIVIC = 4
    TOWERS = 5


@dataclass(frozen=True, kw_only=True)
class Character:
    """A district in figures: buildings per km², block size in metres, the share of each use in Use's order."""

    density: float
    block: tuple[float, float]
    uses: tuple[float, ...]
    frontage_uses: tuple[float, ...]


_STRIP = (0.40, 0.12, 0.42, 0.0, 0.06, 0.0)
CHARACTERS = {
    District.DOWNTOWN: Character(
        density=300, block=(84, 80), uses=(0, 0.04, 0.14, 0, 0.07, 0.75), frontage_uses=(0, 0.04, 0.2, 0, 0.06, 0.7)
    ),
    District.INNER: Character(density=1300, block=(150, 74), uses=(0.72, 0.18, 0.06, 0, 0.04, 0), frontage_uses=_STRIP),
    District.SUBURB: Character(density=920, block=(205, 74), uses=(0.92, 0.04, 0.01, 0, 0.03, 0), frontage_uses=_STRIP),
    District.EXURB: Character(
        density=190,
        block=(230, 92),
        uses=(0.95, 0.01, 0.01, 0.01, 0.02, 0),
        frontage_uses=(0.8, 0.02, 0.15, 0.01, 0.02, 0),
    ),
    District.INDUSTRY: Character(
        density=88, block=(250, 150), uses=(0.04, 0, 0.06, 0.88, 0.02, 0), frontage_uses=(0, 0, 0.4, 0.6, 0, 0)
    ),
    District.CENTRE: Character(
        density=280, block=(180, 110), uses=(0.15, 0.4, 0.2, 0, 0.05, 0.2), frontage_uses=(0, 0.2, 0.4, 0, 0.05, 0.35)
    ),
    District.PARK: Character(density=14, block=(230, 92), uses=(0.7, 0, 0.1, 0, 0.2, 0), frontage_uses=_STRIP),
}


# Where lots are large their number is what fits; the rest of a city's buildings is shared out among the other kinds.
FULL_DISTRICTS = (District.DOWNTOWN, District.INDUSTRY, District.CENTRE)


def districts_of(frame: Frame, x: Floats, y: Floats, channel: Floats, seed: int) -> tuple[Ints, Floats]:
    """District and density of cells with middles (x, y); `channel` is each one's distance to the main bayou."""
    random = random_stream(seed, _STREAM)
    outwards = np.hypot(x / (frame.width / 2), y / (frame.height / 2)) * (1 + 0.16 * _rolling(random, frame, x, y))
    kinds = np.where(outwards < 0.26, int(District.INNER), int(District.SUBURB))
    kinds = np.where(outwards > 0.68, int(District.EXURB), kinds)
    factory_land = (x > 0.1 * frame.width) & (channel < max(900.0, 0.03 * frame.height)) & (outwards > 0.2)
    kinds[factory_land] = District.INDUSTRY
    kinds[random.random(len(x)) < 0.03 * (outwards > 0.15)] = District.PARK
    _place_centres(random, kinds, outwards)
    kinds[np.hypot(x, y) <= max(0.075 * frame.radius, np.hypot(x, y).min() + 1)] = District.DOWNTOWN
    density = np.array([CHARACTERS[District(kind)].density for kind in kinds])
    settled = 0.6 * _rolling(random, frame, x, y) + 0.8 * settling_of(seed).at(x, y) + random.normal(0, 0.2, len(x))
    return kinds.astype(np.int64), density * _patches(settled, kinds, outwards)


@dataclass(frozen=True, kw_only=True)
class Settling:
    """A smooth field over the plan, about -1..1: where it is high, land was settled first."""

    directions: Floats
    lengths: Floats
    phases: Floats

    def at(self, x: Floats, y: Floats) -> Floats:
        along = x[..., None] * np.cos(self.directions) + y[..., None] * np.sin(self.directions)
        return np.asarray(np.sin(2 * np.pi * along / self.lengths + self.phases).sum(axis=-1) / 3)


def settling_of(seed: int) -> Settling:
    """Return the field of a seed, with features of one to four kilometres, so that towns ignore the arterials."""
    random = random_stream(seed, _STREAM, 1)
    return Settling(
        directions=random.uniform(0, 2 * np.pi, 8),
        lengths=np.geomspace(1500, 6500, 8),
        phases=random.uniform(0, 2 * np.pi, 8),
    )


def _rolling(random: np.random.Generator, frame: Frame, x: Floats, y: Floats) -> Floats:
    """Return a smooth field of about -1..1 with features of a quarter of the city."""
    field = np.zeros(len(x))
    for _ in range(6):
        angle, phase = random.uniform(0, 2 * np.pi, 2)
        length = random.uniform(0.25, 0.6) * frame.width
        field += np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / length + phase)
    return field / 3


def _place_centres(random: np.random.Generator, kinds: Ints, outwards: Floats) -> None:
    """Towns within the city: a few cells in a hundred of the middle belt get a centre of their own."""
    candidates = np.flatnonzero((outwards > 0.25) & (outwards < 0.85) & (kinds != District.INDUSTRY))
    chosen = random.permutation(candidates)[: round(0.035 * len(kinds))]
    kinds[chosen] = District.CENTRE


def _patches(settled: Floats, kinds: Ints, outwards: Floats) -> Floats:
    """Factor on a cell's density: subdivisions and prairie alternate the more, the farther out."""
    rough = np.where(kinds == District.EXURB, 0.95, np.where(kinds == District.SUBURB, 0.22, 0.06))
    fading = np.where(kinds == District.EXURB, 3.2 * np.exp(-4.5 * np.clip(outwards - 0.66, 0, 1)) + 0.35, 1.0)
    return np.asarray(np.exp(rough * settled) * fading)
