"""Where substations are, and which cells each of them feeds."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from flux_assets.sample.city.frame import Floats, Ints, random_stream
from flux_assets.sample.city.plan import Plan
from flux_assets.sample.city.streets import Blocks
from flux_assets.sample.city.waters import Waters

# Poles stand at the kerb, not in the middle of the street.
KERB = 6.5
_STREAM = 9
_GROUNDS = 40.0


@dataclass(frozen=True, kw_only=True)
class Sites:
    """Substations by number (plan metres, own cell); by cell: the feeding substation and the cell it is fed through.

    `order` lists the fed cells so that a cell comes after the one that it is fed through; -1 is none.
    """

    x: Floats
    y: Floats
    cell: Ints
    substation: Ints
    through: Ints
    order: Ints

    def clearings(self, cell: int) -> Floats:
        """Return rows (x, y, radius) of the grounds kept free in a cell."""
        here = np.flatnonzero(self.cell == cell)
        return np.column_stack([self.x[here], self.y[here], np.full(len(here), _GROUNDS)])


def sites_of(city: Plan) -> Sites:
    """Return the sites of a plan: more where it is dense, apart from each other, each feeding the nearest cells."""
    cells = _chosen_cells(city, city.counts.get("substations", 1))
    substation, through, order = _fed_cells(city, cells)
    hubs = np.array([hub(city.blocks(city.bare_cell(cell)), city.waters) for cell in cells.tolist()])
    # Several in one cell stand side by side.
    repeats = np.array([list(cells[:number]).count(cell) for number, cell in enumerate(cells)])
    grounds = np.array([_dry_ground(place, city.waters) for place in hubs.tolist()])
    return Sites(
        x=grounds[:, 0] + 90.0 * repeats,
        y=grounds[:, 1],
        cell=cells,
        substation=substation,
        through=through,
        order=order,
    )


def hub(blocks: Blocks, waters: Waters) -> tuple[float, float]:
    """Return the crossing of a cell's two main streets: those nearest to the middle that are dry."""
    x = _dry_street(blocks.streets_x, blocks.streets_y, waters, northwards=True)
    y = _dry_street(blocks.streets_y, blocks.streets_x, waters, northwards=False)
    return x + KERB, y + KERB


def _dry_ground(hub: list[float], waters: Waters) -> tuple[float, float]:
    """Return a place for a substation beside the crossing, or a little way off where that is wet."""
    corners = [(34, 30), (-47, 30), (34, -43), (-47, -43)]
    places = [(hub[0] + reach * x, hub[1] + reach * y) for reach in (1, 2.4, 4, 6) for x, y in corners]
    x, y = np.array(places).T
    wet = waters.covers(x, y, _GROUNDS)
    return places[int(np.argmin(wet))]


def wetness(streets: Floats, ends: Floats, waters: Waters, *, northwards: bool) -> Floats:
    """For each parallel street the share of its length that is in water."""
    samples = np.linspace(ends.min() - 60, ends.max() + 60, 13)
    along, across = np.meshgrid(samples, streets)
    x, y = (across, along) if northwards else (along, across)
    return np.asarray(waters.covers(x.ravel(), y.ravel(), 3.0).reshape(x.shape).mean(axis=1))


def _dry_street(streets: Floats, ends: Floats, waters: Waters, *, northwards: bool) -> float:
    from_middle = np.abs(np.arange(len(streets)) - (len(streets) - 1) / 2) / len(streets)
    wet = wetness(streets, ends, waters, northwards=northwards)
    return float(streets[int(np.argmin(from_middle + 3 * np.where(wet > 0.2, wet, 0)))])


def _chosen_cells(city: Plan, count: int) -> Ints:
    random = random_stream(city.seed, _STREAM)
    weight = np.sqrt(city.density + 40) * city.land * (city.land > 0.55) + 1e-9
    ranking = np.argsort(-np.log(1 - random.random(city.cell_count)) / weight, kind="stable")
    chosen: list[int] = []
    for apart in (2, 1, 0):
        # Cells that touch a chosen one get their turn only when no others are left.
        blocked = np.zeros(city.cell_count, bool)
        for cell in chosen:
            blocked[_around(city, cell, apart)] = True
        for cell in ranking.tolist():
            if len(chosen) < count and not blocked[cell]:
                chosen.append(cell)
                blocked[_around(city, cell, apart)] = True
        if len(chosen) == count:
            break
    while len(chosen) < count:
        chosen.append(chosen[len(chosen) % city.cell_count])
    return np.array(chosen, np.int64)


def _around(city: Plan, cell: int, apart: int) -> Ints:
    """Return the cells less than `apart` away from one, itself included; none for 0 but itself."""
    row, column = divmod(cell, city.columns)
    rows, reach = city.cell_count // city.columns, max(0, apart - 1)
    near_rows = np.arange(max(0, row - reach), min(rows, row + reach + 1))
    near_columns = np.arange(max(0, column - reach), min(city.columns, column + reach + 1))
    return np.asarray((near_rows[:, None] * city.columns + near_columns).ravel())


def _fed_cells(city: Plan, sites: Ints) -> tuple[Ints, Ints, Ints]:
    """Substation and feeding neighbour of each cell, spreading from all sites at once over dry cells."""
    substation, through = np.full(city.cell_count, -1), np.full(city.cell_count, -1)
    waiting: deque[int] = deque()
    for number, cell in enumerate(sites.tolist()):
        if substation[cell] < 0:
            substation[cell] = number
            waiting.append(cell)
    order = []
    while waiting:
        cell = waiting.popleft()
        order.append(cell)
        for neighbour in _neighbours(city, cell):
            if substation[neighbour] < 0 and city.land[neighbour] > 0.3:
                substation[neighbour], through[neighbour] = substation[cell], cell
                waiting.append(neighbour)
    return substation, through, np.array(order, np.int64)


def _neighbours(city: Plan, cell: int) -> list[int]:
    row, column = divmod(cell, city.columns)
    sides = []
    if column > 0:
        sides.append(cell - 1)
    if column + 1 < city.columns:
        sides.append(cell + 1)
    if row > 0:
        sides.append(cell - city.columns)
    if row + 1 < city.cell_count // city.columns:
        sides.append(cell + city.columns)
    return sides
