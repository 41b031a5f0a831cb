"""Lots: the blocks of a cell parted along their streets, and the ones that are built on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flux_assets.sample.city.districts import District, Use, settling_of
from flux_assets.sample.city.frame import Flags, Floats, Ints, random_stream
from flux_assets.sample.city.freeways import Freeways
from flux_assets.sample.city.streets import Blocks, Cell
from flux_assets.sample.city.waters import Waters

_STREAM = 7
# Lot widths in metres for each use; houses take what the density leaves them.
_WIDTHS = np.array([0.0, 34.0, 44.0, 82.0, 96.0, 38.0])
_WIDEST_HOUSE_LOT = {District.INNER: 20.0, District.SUBURB: 21.0, District.EXURB: 27.0}
_NARROWEST = 9.0
_SMALL, _LARGE = 24.0, 62.0


@dataclass(frozen=True, kw_only=True)
class Lots:
    """Lots of a cell, an array entry each: plan metres of the middle, size, use.

    `side` is 1 where the street lies at the lower coordinate, -1 where at the higher; `turned` as in Blocks.
    """

    x: Floats
    y: Floats
    width: Floats
    depth: Floats
    side: Ints
    use: Ints
    turned: bool

    def __len__(self) -> int:
        return len(self.x)

    def taken(self, which: Ints) -> Lots:
        return Lots(
            x=self.x[which],
            y=self.y[which],
            width=self.width[which],
            depth=self.depth[which],
            side=self.side[which],
            use=self.use[which],
            turned=self.turned,
        )


def built_lots(cell: Cell, blocks: Blocks, waters: Waters, freeways: Freeways, seed: int) -> Lots:
    """Exactly `cell.buildings` lots. Where they do not fit, house lots become narrower until they do."""
    random = random_stream(seed, _STREAM, cell.number)
    width = _first_width(cell, blocks, random)
    liking = _liking(cell, blocks, random, seed)
    while True:
        lots, block = _parted(blocks, width)
        # Narrower than this nothing can be lived in: then even wet lots and freeways are built on.
        free = np.ones(len(lots), bool) if width < 3 else _free(cell, lots, waters, freeways)
        if np.count_nonzero(free) >= cell.buildings:
            break
        width *= 0.8
    candidates = np.flatnonzero(free)
    score = liking[block[candidates]] + 0.02 * random.random(len(candidates))
    score[random.random(len(candidates)) < 0.04] += 10
    return lots.taken(np.sort(candidates[np.argsort(score, kind="stable")[: cell.buildings]]))


def _first_width(cell: Cell, blocks: Blocks, random: np.random.Generator) -> float:
    widest = _WIDEST_HOUSE_LOT.get(cell.district, 22.0) * float(random.uniform(0.92, 1.08))
    length = blocks.north - blocks.south if blocks.turned else blocks.east - blocks.west
    frontage = 2 * float(length[(blocks.use == Use.HOUSES) & ~blocks.pond].sum())
    return float(np.clip(0.8 * frontage / max(cell.buildings, 1), _NARROWEST, widest))


def _liking(cell: Cell, blocks: Blocks, random: np.random.Generator, seed: int) -> Floats:
    """In which order blocks were settled, low first: where the field of the whole plan is high; downtown, the core."""
    x, y = blocks.middle_x, blocks.middle_y
    field = np.hypot(x, y) / 400 if cell.district == District.DOWNTOWN else -1.3 * settling_of(seed).at(x, y)
    return np.asarray(field + random.normal(0, 0.14, len(x)))


def _parted(blocks: Blocks, house_width: float) -> tuple[Lots, Ints]:
    """Return all lots of the blocks that are no ponds, with each one's block number."""
    keep = np.flatnonzero(~blocks.pond)
    use = blocks.use[keep]
    south, north, west, east = blocks.south[keep], blocks.north[keep], blocks.west[keep], blocks.east[keep]
    start, end, low, high = (south, north, west, east) if blocks.turned else (west, east, south, north)
    # Once houses are as narrow as they get, everything else shrinks in proportion.
    wanted = np.where(use == Use.HOUSES, house_width, _WIDTHS[use] * min(1.0, house_width / _NARROWEST))
    across = np.maximum(1, np.floor((end - start) / wanted)).astype(np.int64)
    deep = np.where((use == Use.CIVIC) | ((use == Use.WORKS) & (high - low < 110)), 1, 2)
    block = np.repeat(np.arange(len(keep)), across * deep)
    place = np.arange(len(block)) - np.repeat(np.cumsum(across * deep) - across * deep, across * deep)
    column, row = place % across[block], place // across[block]
    width, depth = ((end - start) / across)[block], ((high - low) / deep)[block]
    along, over = start[block] + (column + 0.5) * width, low[block] + (row + 0.5) * depth
    x, y = (over, along) if blocks.turned else (along, over)
    lots = Lots(x=x, y=y, width=width, depth=depth, side=1 - 2 * row, use=use[block], turned=blocks.turned)
    return lots, keep[block]


def _free(cell: Cell, lots: Lots, waters: Waters, freeways: Freeways) -> Flags:
    """Return which lots are dry, off the freeways and off the grounds of substations."""
    large = lots.width > 50
    taken = waters.covers(lots.x, lots.y, _SMALL) | freeways.covers(lots.x, lots.y, 16.0)
    if large.any():
        taken[large] |= waters.covers(lots.x[large], lots.y[large], _LARGE)
        taken[large] |= freeways.covers(lots.x[large], lots.y[large], 45.0)
    for x, y, radius in cell.clearings:
        taken |= np.hypot(lots.x - x, lots.y - y) < radius + lots.width / 2
    return ~taken
