"""Routes of the power lines along the streets of the plan, cell by cell.

A cell is fed by a trunk that comes from the cell before it and ends at its hub; mains run from the hub along the
cell's middle street, laterals leave the mains along the cross streets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from flux_assets.sample.city.city import City
from flux_assets.sample.city.counts import shared_out
from flux_assets.sample.city.frame import Floats, random_stream
from flux_assets.sample.city.sites import KERB, hub, wetness
from flux_assets.sample.city.streets import Blocks, Cell

_STREAM = 12
_VERGE = 12.0
_STEP = 70.0

Place = tuple[float, float]


class Role(IntEnum):
    """What a line is for."""

    TRUNK = 0
    MAIN = 1
    LATERAL = 2


@dataclass(frozen=True, kw_only=True)
class Route:
    """One line: corners on the plan from the source outwards, and where it hangs: on line `parent` (-1: the
    substation) at share `at` of that line's length. `street` numbers the street for addresses."""

    corners: Sequence[Place]
    role: Role
    circuit: int
    parent: int
    at: float
    street: int

    def points(self) -> Floats:
        """Return the corners with points between them, close enough that the bend shows."""
        legs = []
        for (from_x, from_y), (to_x, to_y) in zip(self.corners[:-1], self.corners[1:], strict=True):
            steps = max(1, int(np.hypot(to_x - from_x, to_y - from_y) / _STEP))
            share = np.arange(steps)[:, None] / steps
            legs.append(np.array([from_x, from_y]) + share * np.array([to_x - from_x, to_y - from_y]))
        return np.vstack([*legs, [self.corners[-1]]])


@dataclass(frozen=True, kw_only=True)
class Routes:
    """All lines; `circuit_substation` holds the substation of each circuit by number."""

    lines: tuple[Route, ...]
    circuit_substation: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class _Fed:
    """What is known of a cell while its lines are drawn: hub, the trunk that feeds it and the side it comes from."""

    hub: Place
    circuit: int
    trunk: int
    side: str
    trunk_length: float


def routes_of(city: City) -> Routes:
    """Exactly as many lines as the plan wants, cells nearer to their substation first."""
    sites = city.sites
    order = sites.order
    total = city.counts["grid_power_lines"]
    cells = order[:total]
    wanted = 1 + shared_out(total - len(cells), np.sqrt(city.buildings[cells] + 20.0))
    lines: list[Route] = []
    circuits: list[int] = []
    fed: dict[int, _Fed] = {}
    for number, count in zip(cells.tolist(), wanted.tolist(), strict=True):
        cell, through = city.cell(number), int(sites.through[number])
        if through < 0 or sites.through[through] < 0:
            circuits.append(int(sites.substation[number]))
        circuit = fed[through].circuit if through >= 0 and sites.through[through] >= 0 else len(circuits) - 1
        drawn = _cell_lines(city, cell, count, circuit, fed, len(lines))
        lines.extend(drawn)
    return Routes(lines=tuple(lines), circuit_substation=tuple(circuits))


def _cell_lines(city: City, cell: Cell, count: int, circuit: int, fed: dict[int, _Fed], first: int) -> list[Route]:
    random = random_stream(city.seed, _STREAM, cell.number)
    blocks = city.blocks(cell)
    middle = hub(blocks, city.waters)
    through = int(city.sites.through[cell.number])
    lines: list[Route] = []
    if through >= 0:
        corners, side = _trunk(city, cell, city.bare_cell(through), fed[through].hub, middle)
        if fed[through].trunk < 0:
            corners = [_substation(city, cell), *corners]
        at = Route(
            corners=corners,
            role=Role.TRUNK,
            circuit=circuit,
            parent=fed[through].trunk,
            at=1.0,
            street=cell.number * 64 + 63,
        )
        lines.append(at)
        fed[cell.number] = _Fed(hub=middle, circuit=circuit, trunk=first, side=side, trunk_length=_length(corners))
    else:
        fed[cell.number] = _Fed(hub=middle, circuit=circuit, trunk=-1, side="", trunk_length=0.0)
    here = fed[cell.number]
    mains = _mains(city, cell, here, first + len(lines))
    lines.extend(main for main, _ in mains.values())
    if len(lines) < count:
        laterals = _laterals(random, city, cell, blocks, here, mains)
        lines.extend(next(laterals) for _ in range(count - len(lines)))
    return lines[:count]


def _substation(city: City, cell: Cell) -> Place:
    number = int(city.sites.substation[cell.number])
    return float(city.sites.x[number]), float(city.sites.y[number])


def _trunk(city: City, cell: Cell, before: Cell, start: Place, end: Place) -> tuple[list[Place], str]:
    """Corners from one hub to the next, on the far kerb of the first cell's street so that mains keep the near one."""
    if cell.number // city.columns == before.number // city.columns:
        westwards = cell.number < before.number
        border = (cell.east - _VERGE) if westwards else (cell.west + _VERGE)
        far = start[1] - 2 * KERB
        corners = [start, (start[0], far), (border, far), (border, end[1]), end]
        return corners, "E" if westwards else "W"
    southwards = cell.number < before.number
    border = (cell.north - _VERGE) if southwards else (cell.south + _VERGE)
    far = start[0] - 2 * KERB
    return [start, (far, start[1]), (far, border), (end[0], border), end], "N" if southwards else "S"


def _mains(city: City, cell: Cell, fed: _Fed, first: int) -> dict[str, tuple[Route, int]]:
    """Return the lines along the middle street that the trunk does not serve already, with their numbers."""
    found: dict[str, tuple[Route, int]] = {}
    for side, end in (("N", cell.north - _VERGE), ("S", cell.south + _VERGE)):
        if side == fed.side:
            continue
        corners = [fed.hub, (fed.hub[0], end)]
        if fed.trunk < 0:
            corners = [_substation(city, cell), *corners]
        route = Route(
            corners=corners,
            role=Role.MAIN,
            circuit=fed.circuit,
            parent=fed.trunk,
            at=1.0,
            street=cell.number * 64 + 62,
        )
        found[side] = route, first + len(found)
    return found


def _laterals(
    random: np.random.Generator, city: City, cell: Cell, blocks: Blocks, fed: _Fed, mains: dict[str, tuple[Route, int]]
) -> Iterator[Route]:
    """Lines along cross streets, dry ones first; when all streets have one, again beside the first ones."""
    wet = wetness(blocks.streets_y, blocks.streets_x, city.waters, northwards=False)
    sides = [(row, side) for row in range(len(wet)) for side in ("W", "E")]
    sides = [pair for pair in sides if pair[1] != fed.side or blocks.streets_y[pair[0]] + KERB != fed.hub[1]]
    ranking = np.argsort([(wet[row] > 0.12) + wet[row] + random.random() for row, _ in sides], kind="stable")
    beside = 0.0
    while True:
        for index in ranking.tolist():
            row, side = sides[index]
            y = float(blocks.streets_y[row]) + KERB + beside
            parent, at = _hanging(fed, mains, y)
            corners = _lateral_corners(random, cell, blocks, fed.hub[0], y, side)
            yield Route(
                corners=corners,
                role=Role.LATERAL,
                circuit=fed.circuit,
                parent=parent,
                at=at,
                street=cell.number * 64 + row % 61,
            )
        beside += 2.5


def _hanging(fed: _Fed, mains: dict[str, tuple[Route, int]], y: float) -> tuple[int, float]:
    """Return the line along the middle street that passes height y, and the share of its length at which it does."""
    away = abs(y - fed.hub[1])
    side = "N" if y >= fed.hub[1] else "S"
    if side not in mains:
        return fed.trunk, max(0.0, 1 - away / fed.trunk_length)
    main, number = mains[side]
    length = _length(main.corners)
    to_hub = length - abs(main.corners[-1][1] - fed.hub[1])
    return number, min(1.0, (to_hub + away) / length)


def _lateral_corners(
    random: np.random.Generator, cell: Cell, blocks: Blocks, start: float, y: float, side: str
) -> list[Place]:
    """Straight to the cell's edge, or, for a third of them, round a corner on the way."""
    end = cell.west + _VERGE if side == "W" else cell.east - _VERGE
    turns = [x + KERB for x in blocks.streets_x.tolist() if min(start, end) + 90 < x < max(start, end) - 20]
    if not turns or random.random() > 0.34:
        return [(start, y), (end, y)]
    turn = turns[int(random.integers(len(turns)))]
    away = float(random.uniform(150, 420)) * (1 if random.random() < 0.5 else -1)
    last = float(np.clip(y + away, cell.south + _VERGE, cell.north - _VERGE))
    if abs(last - y) < 40:
        return [(start, y), (end, y)]
    return [(start, y), (turn, y), (turn, last)]


def _length(corners: Sequence[Place]) -> float:
    points = np.array(corners)
    return float(np.hypot(*np.diff(points, axis=0).T).sum())
