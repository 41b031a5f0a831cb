"""Footprints: which outline stands on a lot, how large, and where its corners are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from flux_assets.sample.city.bend import Bend
from flux_assets.sample.city.districts import Use
from flux_assets.sample.city.frame import Flags, Floats, Ints, to_degrees
from flux_assets.sample.city.lots import Lots


class Outline(IntEnum):
    """Shapes of a footprint."""

    RECTANGLE = 0
    L_SHAPE = 1
    U_SHAPE = 2
    COURTYARD = 3


# Shares of the outlines for each use, in Use's order.
_SHARES = np.array(
    [
        (0.60, 0.35, 0.05, 0.00),
        (0.40, 0.22, 0.22, 0.16),
        (0.72, 0.21, 0.07, 0.00),
        (0.84, 0.13, 0.03, 0.00),
        (0.22, 0.28, 0.30, 0.20),
        (0.66, 0.14, 0.09, 0.11),
    ]
)
# Smallest and largest share of the lot's width and depth that the building takes.
_WIDE = np.array([(0.58, 0.80), (0.68, 0.88), (0.55, 0.86), (0.55, 0.86), (0.45, 0.75), (0.74, 0.92)])
_DEEP = np.array([(0.30, 0.50), (0.58, 0.80), (0.42, 0.72), (0.45, 0.80), (0.42, 0.70), (0.72, 0.90)])
_LARGEST_HOUSE = 17.0


@dataclass(frozen=True, kw_only=True)
class Shaped:
    """Buildings of one outline: which lots (indexes), and closed rings (buildings, points, 2) of degrees."""

    outline: Outline
    lots: Ints
    rings: tuple[Floats, ...]
    area: Floats


@dataclass(frozen=True, kw_only=True)
class _Placed:
    """Width and depth (metres), middle (n, 2), unit vectors along the street and square away from it (n, 2)."""

    wide: Floats
    deep: Floats
    middle: Floats
    street: Floats
    away: Floats

    def taken(self, which: Ints) -> _Placed:
        return _Placed(
            wide=self.wide[which],
            deep=self.deep[which],
            middle=self.middle[which],
            street=self.street[which],
            away=self.away[which],
        )


def footprints(random: np.random.Generator, lots: Lots, bend: Bend) -> Iterator[Shaped]:
    """Yield the building of every lot, grouped by outline. Corners are square on the ground, whatever the bend."""
    outline = _outlines(random, lots)
    placed = _placed(random, lots, bend)
    for shape in Outline:
        which = np.flatnonzero(outline == shape)
        if not len(which):
            continue
        corners, share = _corners(random, shape, len(which))
        here = placed.taken(which)
        rings = tuple(_on_ground(ring, here, hole=number > 0) for number, ring in enumerate(corners))
        yield Shaped(outline=shape, lots=which, rings=rings, area=here.wide * here.deep * share)


def _outlines(random: np.random.Generator, lots: Lots) -> Ints:
    limits = np.cumsum(_SHARES, axis=1)[lots.use]
    drawn = (random.random(len(lots))[:, None] > limits).sum(axis=1)
    return np.asarray(np.minimum(drawn, len(Outline) - 1), np.int64)


def _placed(random: np.random.Generator, lots: Lots, bend: Bend) -> _Placed:
    houses = lots.use == Use.HOUSES
    wide, deep = _between(random, _WIDE[lots.use]) * lots.width, _between(random, _DEEP[lots.use]) * lots.depth
    wide = np.where(houses, np.minimum(wide, _LARGEST_HOUSE), wide)
    deep = np.where(houses, np.minimum(deep, _LARGEST_HOUSE), deep)
    east_x, east_y, north_x, north_y = bend.axes(lots.x, lots.y)
    street, away = np.column_stack([east_x, east_y]), np.column_stack([north_x, north_y])
    if lots.turned:
        street, away = away, street
    stretch_along, stretch_away = np.hypot(*street.T), np.hypot(*away.T)
    street = street / stretch_along[:, None]
    square = np.column_stack([-street[:, 1], street[:, 0]])
    # Square to the street, on the side that the bend gives it.
    square *= np.sign((square * away).sum(axis=1) * lots.side)[:, None]
    slack = np.maximum(0.0, lots.depth / 2 - deep / 2 - 1)
    setback = -slack * np.where(houses, 0.15 + 0.5 * random.random(len(lots)), 0.3 * random.random(len(lots)))
    ground = np.column_stack(bend.ground(lots.x, lots.y))
    # Where the bend slants lots, buildings shrink so that they keep off their neighbours.
    slant = 1 - 0.35 * np.abs((street * away).sum(axis=1)) / stretch_away
    return _Placed(
        wide=wide * stretch_along * slant,
        deep=deep * stretch_away * slant,
        middle=ground + square * (setback * stretch_away)[:, None],
        street=street,
        away=square,
    )


def _between(random: np.random.Generator, bounds: Floats) -> Floats:
    return np.asarray(bounds[:, 0] + (bounds[:, 1] - bounds[:, 0]) * random.random(len(bounds)))


def _corners(random: np.random.Generator, shape: Outline, count: int) -> tuple[tuple[Floats, ...], Floats]:
    """Rings (count, points, 2) within the unit square around 0, and the share of the square that they cover."""
    half, full = np.full(count, 0.5), np.ones(count)
    mirrored = random.random(count) < 0.5
    if shape is Outline.L_SHAPE:
        s, t = random.uniform(0.38, 0.66, (2, count))
        shell = [(-half, -half), (half, -half), (half, t - 0.5), (s - 0.5, t - 0.5), (s - 0.5, half), (-half, half)]
        share = t + s * (1 - t)
    elif shape is Outline.U_SHAPE:
        p, q = random.uniform(0.24, 0.36, count), random.uniform(0.28, 0.5, count)
        shell = [
            (-half, -half),
            (half, -half),
            (half, half),
            (0.5 - p, half),
            (0.5 - p, q - 0.5),
            (p - 0.5, q - 0.5),
            (p - 0.5, half),
            (-half, half),
        ]
        share = q + 2 * p * (1 - q)
    else:
        shell, share = [(-half, -half), (half, -half), (half, half), (-half, half)], full
    rings = [shell]
    if shape is Outline.COURTYARD:
        m = random.uniform(0.2, 0.31, count)
        rings.append([(m - 0.5, m - 0.5), (m - 0.5, 0.5 - m), (0.5 - m, 0.5 - m), (0.5 - m, m - 0.5)])
        share = 1 - (1 - 2 * m) ** 2
    arrays = tuple(np.stack([np.stack(corner, axis=-1) for corner in ring], axis=1) for ring in rings)
    for ring in arrays:
        ring[mirrored, :, 0] *= -1
    return arrays, share


def _on_ground(ring: Floats, placed: _Placed, *, hole: bool) -> Floats:
    """Closed rings of degrees, shells counterclockwise and holes clockwise."""
    along, across = ring[..., 0] * placed.wide[:, None], ring[..., 1] * placed.deep[:, None]
    x = placed.middle[:, :1] + along * placed.street[:, :1] + across * placed.away[:, :1]
    y = placed.middle[:, 1:] + along * placed.street[:, 1:] + across * placed.away[:, 1:]
    points = np.stack(to_degrees(x, y), axis=-1)
    flipped = _clockwise(points) != hole
    points[flipped] = points[flipped][:, ::-1]
    return np.concatenate([points, points[:, :1]], axis=1)


def _clockwise(ring: Floats) -> Flags:
    x, y = ring[..., 0] - ring[:, :1, 0], ring[..., 1] - ring[:, :1, 1]
    return np.asarray((x * np.roll(y, -1, axis=1) - np.roll(x, -1, axis=1) * y).sum(axis=1) < 0)
