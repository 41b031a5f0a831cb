"""All water but the ponds within blocks: bayous, creeks, lakes and the bay, on the plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from flux_assets.sample.city.bayous import Bayou, Creek, bayous_of, creeks_of
from flux_assets.sample.city.blobs import Blob, blob
from flux_assets.sample.city.frame import Flags, Floats, Frame, random_stream

_STREAM = 3
_BAY_FROM = 12_000.0


@dataclass(frozen=True, kw_only=True)
class Bay:
    """Open water in the south-east: beyond `distance` from the centre in direction `angle`, with a wavy coast."""

    angle: float
    distance: float
    phases: Floats
    islands: tuple[Blob, ...]

    @property
    def box(self) -> tuple[float, float, float, float]:
        """It may be anywhere."""
        return -np.inf, np.inf, -np.inf, np.inf

    def coast(self, along: Floats) -> Floats:
        """Return how far out the coast is, `along` metres to the left of the direction."""
        d = self.distance
        return np.asarray(
            d
            + 0.07 * d * np.sin(along / (0.16 * d) + self.phases[0])
            + 0.03 * d * np.sin(along / (0.05 * d) + self.phases[1])
            + 0.008 * d * np.sin(along / (0.014 * d) + self.phases[2])
        )

    def covers(self, x: Floats, y: Floats, margin: float) -> Flags:
        out = x * np.cos(self.angle) + y * np.sin(self.angle)
        along = -x * np.sin(self.angle) + y * np.cos(self.angle)
        return np.asarray(out > self.coast(along) - margin)


@dataclass(frozen=True, kw_only=True)
class Lake:
    """One water body of one or more basins; islands lie in the first basin."""

    basins: tuple[Blob, ...]
    islands: tuple[Blob, ...]


@dataclass(frozen=True, kw_only=True)
class Waters:
    """The water of the plan. `reaches` is the number of rows that each bayou is cut into."""

    bayous: tuple[Bayou, ...]
    reaches: tuple[int, ...]
    creeks: tuple[Creek, ...]
    lakes: tuple[Lake, ...]
    bay: Bay | None

    @property
    def bodies(self) -> int:
        """How many rows these waters make, ponds not counted."""
        return sum(self.reaches) + len(self.creeks) + len(self.lakes) + (self.bay is not None)

    def covers(self, x: Floats, y: Floats, margin: float) -> Flags:
        """Return which points are in water or within `margin` metres of it; quick for points close together."""
        wet = np.zeros(x.shape, bool)
        if not x.size:
            return wet
        bodies, boxes = self._boxed
        near = (boxes[:, 0] < x.max() + margin) & (boxes[:, 1] > x.min() - margin)
        near &= (boxes[:, 2] < y.max() + margin) & (boxes[:, 3] > y.min() - margin)
        for index in np.flatnonzero(near).tolist():
            wet |= bodies[index].covers(x, y, margin)
        return wet

    @cached_property
    def _boxed(self) -> tuple[list[Bay | Bayou | Creek | Blob], Floats]:
        """Every body with a box (west, east, south, north) that it does not leave."""
        basins = [basin for lake in self.lakes for basin in lake.basins]
        bodies: list[Bay | Bayou | Creek | Blob] = [*self.bayous, *self.creeks, *basins]
        if self.bay:
            bodies.append(self.bay)
        return bodies, np.array([body.box for body in bodies]).reshape(-1, 4)


def waters_of(frame: Frame, count: int, seed: int) -> Waters:
    """Waters for a layer of `count` rows: about a quarter of them are here, the others are ponds."""
    bay = _bay(frame, seed) if frame.width > _BAY_FROM and count > 100 else None
    reaches, creeks, lakes = max(1, round(0.07 * count)), round(0.06 * count), round(0.05 * count)
    lakes = max(lakes, 1) if count > 1 else 0
    bayous = tuple(_ended(bayou, bay) for bayou in bayous_of(frame, reaches, seed))
    others: list[Bay | Bayou] = [*bayous, *([bay] if bay else [])]
    bare = Waters(
        bayous=bayous,
        reaches=tuple(reaches // len(bayous) + (n < reaches % len(bayous)) for n in range(len(bayous))),
        creeks=tuple(_clear_of(others, creek) for creek in creeks_of(bayous, creeks, seed)),
        lakes=(),
        bay=bay,
    )
    return replace(bare, lakes=_lakes(frame, bare, lakes, seed))


def _bay(frame: Frame, seed: int) -> Bay:
    random = random_stream(seed, _STREAM, 0)
    angle = float(random.uniform(-0.75, -0.5))
    corner = frame.width / 2 * np.cos(angle) - frame.height / 2 * np.sin(angle)
    bay = Bay(angle=angle, distance=0.74 * float(corner), phases=random.uniform(0, 2 * np.pi, 3), islands=())
    islands: list[Blob] = []
    for along in (-0.3, -0.05, 0.2):
        far = 1.2 * bay.distance
        x, y = far * np.cos(angle) - along * far * np.sin(angle), far * np.sin(angle) + along * far * np.cos(angle)
        island = blob(random, float(x), float(y), 0.018 * bay.distance)
        if abs(x) < frame.width / 2 - 2 * island.reach and abs(y) < frame.height / 2 - 2 * island.reach:
            islands.append(island)
    return replace(bay, islands=tuple(islands))


def _ended(bayou: Bayou, bay: Bay | None) -> Bayou:
    """Return the bayou, ending where it meets the bay."""
    if bay is None:
        return bayou
    x = np.linspace(-bayou.frame.width / 2, bayou.frame.width / 2, 4000)
    met = np.flatnonzero(bay.covers(x, bayou.course(x), 0.0))
    return replace(bayou, end=float(x[met[0]])) if len(met) else bayou


def _clear_of(others: Sequence[Bay | Bayou], creek: Creek) -> Creek:
    """Return the creek, shorter where it would run into other water than the bayou that it leaves."""
    while creek.length > 80:
        way = np.linspace(60, creek.length, 24)
        x, y = creek.course(way), creek.y + creek.direction * way
        if not any(other.covers(x, y, 20.0).any() for other in others):
            break
        creek = replace(creek, length=0.7 * creek.length)
    return creek


def _lakes(frame: Frame, others: Waters, count: int, seed: int) -> tuple[Lake, ...]:
    random = random_stream(seed, _STREAM, 1)
    largest = 0.035 * frame.radius
    lakes: list[Lake] = []
    circles = np.empty((0, 3))
    for number in range(count):
        size = float(np.clip(random.lognormal(4.6, 0.75), 40, max(50.0, largest)))
        for _ in range(60):
            x = float(random.uniform(-0.48, 0.48) * frame.width)
            y = float(random.uniform(-0.48, 0.48) * frame.height)
            lake = _lake(random, x, y, size, grand=number == 0)
            reach = max(float(np.hypot(b.x - x, b.y - y)) + b.reach for b in lake.basins)
            crowded = bool((np.hypot(circles[:, 0] - x, circles[:, 1] - y) < circles[:, 2] + reach + 40).any())
            if not crowded and not _touches(others, x, y, reach) and np.hypot(x, y) > 0.12 * frame.radius + reach:
                break
            # Where there is no room, a smaller lake may find some.
            size = max(25.0, 0.95 * size)
        lakes.append(lake)
        circles = np.vstack([circles, [x, y, reach]])
    return tuple(lakes)


def _lake(random: np.random.Generator, x: float, y: float, size: float, *, grand: bool) -> Lake:
    """Return a lake around a place; a grand one has two basins and an island."""
    first = blob(random, x, y, size)
    basins, islands = [first], []
    if grand or random.random() < 0.3:
        away, part = float(random.uniform(0, 2 * np.pi)), blob(random, 0, 0, size * float(random.uniform(0.35, 0.6)))
        far = first.reach + part.reach + 9
        basins.append(replace(part, x=x + far * float(np.cos(away)), y=y + far * float(np.sin(away))))
    if grand or (size > 110 and random.random() < 0.6):
        turn = float(random.uniform(0, 2 * np.pi))
        for number in range(int(random.integers(1, 4))):
            angle = turn + 2.1 * number
            place = x + 0.55 * first.core * float(np.cos(angle)), y + 0.55 * first.core * float(np.sin(angle))
            islands.append(blob(random, *place, 0.17 * first.core))
    return Lake(basins=tuple(basins), islands=tuple(islands))


def _touches(others: Waters, x: float, y: float, reach: float) -> bool:
    turn = np.linspace(0, 2 * np.pi, 24)
    out = np.concatenate([reach * 0.3 * np.ones(24), reach * 0.65 * np.ones(24), reach * np.ones(24)])
    around = np.tile(turn, 3)
    return bool(others.covers(x + out * np.cos(around), y + out * np.sin(around), 30.0).any())
