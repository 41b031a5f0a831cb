"""Streets and blocks within a cell: arterials around it, a grid of local streets inside, ponds on some blocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flux_assets.sample.city.districts import CHARACTERS, District, Use
from flux_assets.sample.city.frame import Flags, Floats, Ints, random_stream
from flux_assets.sample.city.freeways import Freeways
from flux_assets.sample.city.waters import Waters

ARTERIAL = 34.0
STREET = 16.0
_STREAM = 6


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell of the plan: its bounds in plan metres, its district, and what the plan wants in it."""

    number: int
    west: float
    east: float
    south: float
    north: float
    district: District
    buildings: int
    ponds: int
    clearings: Floats


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """Blocks of a cell, an array entry each; `turned` when their long sides run northwards.

    `streets_x` and `streets_y` are the middles of the local streets that run northwards and eastwards.
    """

    west: Floats
    east: Floats
    south: Floats
    north: Floats
    use: Ints
    pond: Flags
    turned: bool
    streets_x: Floats
    streets_y: Floats

    @property
    def middle_x(self) -> Floats:
        return (self.west + self.east) / 2

    @property
    def middle_y(self) -> Floats:
        return (self.south + self.north) / 2


def blocks_of(cell: Cell, waters: Waters, freeways: Freeways, seed: int) -> Blocks:
    """Return the blocks of a cell; the same for whoever asks."""
    random = random_stream(seed, _STREAM, cell.number)
    character = CHARACTERS[cell.district]
    turned = bool(random.random() < 0.45)
    length, depth = np.array(character.block) * random.uniform(0.9, 1.12, 2)
    sizes = (depth, length) if turned else (length, depth)
    x_from, x_to = _divided(cell.west + ARTERIAL / 2, cell.east - ARTERIAL / 2, sizes[0])
    y_from, y_to = _divided(cell.south + ARTERIAL / 2, cell.north - ARTERIAL / 2, sizes[1])
    column, row = (grid.ravel() for grid in np.meshgrid(np.arange(len(x_from)), np.arange(len(y_from))))
    frontage = (column == 0) | (column == len(x_from) - 1) | (row == 0) | (row == len(y_from) - 1)
    bounds = {"west": x_from[column], "east": x_to[column], "south": y_from[row], "north": y_to[row]}
    return Blocks(
        **bounds,
        use=_uses(random, cell.district, frontage),
        pond=_pond_blocks(random, cell, bounds, waters, freeways),
        turned=turned,
        streets_x=(x_to[:-1] + x_from[1:]) / 2,
        streets_y=(y_to[:-1] + y_from[1:]) / 2,
    )


def _divided(start: float, end: float, size: float) -> tuple[Floats, Floats]:
    """Bounds of blocks of about `size` between two arterials, streets between them; two blocks at least."""
    count = max(2, round((end - start + STREET) / (size + STREET)))
    width = (end - start - (count - 1) * STREET) / count
    begin = start + np.arange(count) * (width + STREET)
    return np.asarray(begin, float), np.asarray(begin + width, float)


def _uses(random: np.random.Generator, district: District, frontage: Flags) -> Ints:
    character = CHARACTERS[district]
    drawn = random.random(len(frontage))
    inside = np.searchsorted(np.cumsum(character.uses), drawn, "right")
    outside = np.searchsorted(np.cumsum(character.frontage_uses), drawn, "right")
    return np.minimum(np.where(frontage, outside, inside), len(Use) - 1).astype(np.int64)


def _pond_blocks(
    random: np.random.Generator, cell: Cell, bounds: dict[str, Floats], waters: Waters, freeways: Freeways
) -> Flags:
    """Return the blocks given up to ponds: as many as the plan wants, dry ones first."""
    order = random.random(len(bounds["west"]))
    chosen = np.zeros(len(order), bool)
    if cell.ponds:
        x, y = (bounds["west"] + bounds["east"]) / 2, (bounds["south"] + bounds["north"]) / 2
        order = order + 4 * waters.covers(x, y, 85.0) + 2 * freeways.covers(x, y, 40.0)
        for clear_x, clear_y, _ in cell.clearings:
            order = order + 8 * (np.hypot(x - clear_x, y - clear_y) < 130)
        chosen[np.argsort(order, kind="stable")[: cell.ponds]] = True
    return chosen
