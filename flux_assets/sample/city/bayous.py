"""Running water: bayous that cross the city from west to east, and creeks that feed them.

A course is a function of x (bayous) or of the way up (creeks), so that its banks never cross.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flux_assets.sample.city.frame import Flags, Floats, Frame, random_stream

_STREAM = 2
_LENGTHS = np.array([6000.0, 1900.0, 700.0])
_HEIGHTS = np.array([380.0, 150.0, 48.0])
_WIDEST = 110.0


@dataclass(frozen=True, kw_only=True)
class Bayou:
    """A course y(x) from the western edge to `end`; main marks the one that passes downtown."""

    frame: Frame
    base: float
    sway_phase: float
    phases: Floats
    end: float
    main: bool

    @property
    def box(self) -> tuple[float, float, float, float]:
        """West, east, south, north of all of it."""
        away = 0.03 * self.frame.height + float(_HEIGHTS.sum()) + _WIDEST
        return -np.inf, self.end, self.base - away, self.base + away

    def course(self, x: Floats) -> Floats:
        sway = 0.03 * self.frame.height * np.sin(2 * np.pi * x / (0.9 * self.frame.width) + self.sway_phase)
        meanders = _HEIGHTS * np.sin(2 * np.pi * x[..., None] / _LENGTHS + self.phases)
        return np.asarray(self.base + sway + meanders.sum(axis=-1))

    def half_width(self, x: Floats) -> Floats:
        """Half the width measured northwards; the main bayou becomes a ship channel in the east."""
        downstream = np.clip(x / self.frame.width + 0.5, 0, 1)
        grown = 9 + 16 * downstream**1.5
        if self.main:
            # A tiny city has no room for a ship channel.
            grown = 13 + min(_WIDEST - 35, self.frame.width / 250) * downstream**3 + 14 * downstream
        return np.asarray(grown)

    def covers(self, x: Floats, y: Floats, margin: float) -> Flags:
        slope = (self.course(x + 5) - self.course(x - 5)) / 10
        reach = self.half_width(x) + margin * np.sqrt(1 + slope**2)
        return np.asarray((np.abs(y - self.course(x)) < reach) & (x < self.end + margin))


@dataclass(frozen=True, kw_only=True)
class Creek:
    """A course x(t) that leaves a bayou's bank at (x, y) northwards (direction 1) or southwards (-1)."""

    x: float
    y: float
    direction: int
    length: float
    sway: float
    phase: float

    @property
    def box(self) -> tuple[float, float, float, float]:
        """West, east, south, north of all of it."""
        side, far = 2 * self.sway + 7, self.y + self.direction * self.length
        return self.x - side, self.x + side, min(self.y, far), max(self.y, far)

    def course(self, way: Floats) -> Floats:
        share = np.clip(way / self.length, 0, 1)
        swing = np.sin(2 * np.pi * way / 900 + self.phase) - np.sin(self.phase)
        return np.asarray(self.x + self.sway * share * swing)

    def half_width(self, way: Floats) -> Floats:
        return np.asarray(6.5 - 4.5 * np.clip(way / self.length, 0, 1))

    def covers(self, x: Floats, y: Floats, margin: float) -> Flags:
        way = (y - self.y) * self.direction
        near = np.abs(x - self.course(way)) < self.half_width(way) + margin
        return np.asarray(near & (way > -margin) & (way < self.length + margin))


def bayous_of(frame: Frame, most: int, seed: int) -> tuple[Bayou, ...]:
    """Bayous about 9 km apart, at most `most`; the one nearest to the centre passes just north of it."""
    random = random_stream(seed, _STREAM, 0)
    count = max(1, min(most, round(frame.height / 9000)))
    spacing = frame.height / count
    bases = (np.arange(count) + 0.5) * spacing - frame.height / 2 + random.uniform(-0.12, 0.12, count) * spacing
    main = int(np.argmin(np.abs(bases)))
    sway_phase = float(random.uniform(0, 2 * np.pi))
    drawn = [
        Bayou(
            frame=frame,
            base=float(bases[number]),
            sway_phase=sway_phase,
            phases=random.uniform(0, 2 * np.pi, 3),
            end=frame.width / 2,
            main=number == main,
        )
        for number in range(count)
    ]
    return tuple(_past_downtown(bayou) if bayou.main else bayou for bayou in drawn)


def _past_downtown(bayou: Bayou) -> Bayou:
    """Return the same course, moved so that it runs by the centre at a respectful distance."""
    here = float(bayou.course(np.zeros(1))[0])
    wanted = min(620.0, 0.14 * bayou.frame.height)
    return Bayou(
        frame=bayou.frame,
        base=bayou.base + wanted - here,
        sway_phase=bayou.sway_phase,
        phases=bayou.phases,
        end=bayou.end,
        main=True,
    )


def creeks_of(bayous: tuple[Bayou, ...], count: int, seed: int) -> tuple[Creek, ...]:
    """`count` creeks, spread evenly along both banks of the bayous."""
    random = random_stream(seed, _STREAM, 1)
    found = []
    banks = [(bayou, direction) for bayou in bayous for direction in (1, -1)]
    for number in range(count):
        bayou, direction = banks[number % len(banks)]
        on_bank = max(1, -(-(count - number % len(banks)) // len(banks)))
        west, room = -bayou.frame.width / 2, 0.96 * (bayou.end + bayou.frame.width / 2)
        spacing = room / on_bank
        x = west + spacing * (number // len(banks) + random.uniform(0.25, 0.75))
        at = np.array([x])
        y = float(bayou.course(at)[0] + direction * (bayou.half_width(at)[0] + 14))
        longest = 0.28 * bayou.frame.height / len(bayous)
        found.append(
            Creek(
                x=float(x),
                y=y,
                direction=direction,
                phase=float(random.uniform(0, 2 * np.pi)),
                length=float(random.uniform(0.3, 1.0) * min(2600.0, longest)),
                sway=float(min(110.0, spacing / 6)),
            )
        )
    return tuple(found)
