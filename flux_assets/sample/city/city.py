"""The sample city: everything that more than one of its layers has to agree on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np

from flux_assets.sample.city.bend import bend_of
from flux_assets.sample.city.counts import shared_out
from flux_assets.sample.city.districts import FULL_DISTRICTS, District, districts_of
from flux_assets.sample.city.frame import Flags, Floats, Frame, Ints, frame_of, random_stream
from flux_assets.sample.city.freeways import freeways_of
from flux_assets.sample.city.plan import Plan
from flux_assets.sample.city.sites import Sites, sites_of
from flux_assets.sample.city.streets import Blocks, Cell
from flux_assets.sample.city.waters import Waters, waters_of

_STREAM = 8
_PITCH = 1600.0
_SMALLEST_PITCH = 700.0


@dataclass(frozen=True, kw_only=True)
class City(Plan):
    """A planned city with what is built in its cells."""

    @cached_property
    def sites(self) -> Sites:
        """Substations, and which cells each one feeds."""
        return sites_of(self)

    @cached_property
    def buildings(self) -> Ints:
        """Buildings of each cell: business districts are built full, the others share what is left."""
        total = self.counts.get("building_footprints", 0)
        wanted = self.density * self.areas * self.land * (self.land > 0.12)
        full = np.isin(self.district, FULL_DISTRICTS)
        in_full = min(round(float(wanted[full].sum())), total // 3) if wanted[full].any() else 0
        others = np.where(full, 0.0, wanted)
        if not others.any():
            return shared_out(total, wanted if wanted.any() else self.land + 1)
        return shared_out(in_full, np.where(full, wanted, 0.0) + 1e-12) + shared_out(total - in_full, others)

    @cached_property
    def ponds(self) -> Ints:
        weights = np.where(self.district <= District.INNER, 0.15, 1.0) * self.land * (self.land > 0.4)
        count = max(0, self.counts.get("osm_water", 0) - self.waters.bodies)
        return shared_out(count, weights if weights.any() else self.land + 1)

    def cell(self, number: int) -> Cell:
        return replace(
            self.bare_cell(number),
            buildings=int(self.buildings[number]),
            ponds=int(self.ponds[number]),
            clearings=self.sites.clearings(number),
        )

    def cells(self) -> Iterator[tuple[Cell, Blocks]]:
        for number in range(self.cell_count):
            cell = self.cell(number)
            yield cell, self.blocks(cell)


def planned_city(counts: Mapping[str, int], *, scale: float, seed: int) -> City:
    """Return the city of a scale and seed; `counts` holds the rows of each layer."""
    frame = frame_of(scale)
    edges_x, edges_y = _edges(frame, counts.get("grid_power_lines", 1 << 40), seed)
    waters = waters_of(frame, counts.get("osm_water", 1), seed)
    x, y = (grid.ravel() for grid in np.meshgrid((edges_x[1:] + edges_x[:-1]) / 2, (edges_y[1:] + edges_y[:-1]) / 2))
    main = next(bayou for bayou in waters.bayous if bayou.main)
    district, density = districts_of(frame, x, y, np.abs(y - main.course(x)), seed)
    return City(
        seed=seed,
        counts=counts,
        frame=frame,
        bend=bend_of(frame, edges_x, edges_y, seed),
        waters=waters,
        freeways=freeways_of(frame, seed),
        columns=len(edges_x) - 1,
        district=district,
        density=density,
        land=_land_shares(waters, edges_x, edges_y),
    )


def _edges(frame: Frame, lines: int, seed: int) -> tuple[Floats, Floats]:
    """Return where the arterials run: about a mile apart, but never more cells than there are lines to feed them."""
    random = random_stream(seed, _STREAM)
    pitch = float(np.clip(frame.width / 5, _SMALLEST_PITCH, _PITCH))
    columns, rows = max(1, round(frame.width / pitch)), max(1, round(frame.height / pitch))
    while columns * rows > lines:
        columns, rows = (columns - 1, rows) if columns > rows else (columns, rows - 1)
    return _spaced(random, frame.width, columns), _spaced(random, frame.height, rows)


def _spaced(random: np.random.Generator, length: float, count: int) -> Floats:
    edges = np.linspace(-length / 2, length / 2, count + 1)
    edges[1:-1] += random.uniform(-0.08, 0.08, count - 1) * length / count
    return edges


def _land_shares(waters: Waters, edges_x: Floats, edges_y: Floats) -> Floats:
    """Return the share of each cell that is dry, from a grid of 8 by 8 points."""
    steps = (np.arange(8) + 0.5) / 8
    shares = []
    for south, north in pairwise(edges_y.tolist()):
        for west, east in pairwise(edges_x.tolist()):
            x, y = np.meshgrid(west + (east - west) * steps, south + (north - south) * steps)
            shares.append(1 - _share(waters.covers(x.ravel(), y.ravel(), 15.0)))
    return np.array(shares)


def _share(flags: Flags) -> float:
    return float(np.count_nonzero(flags)) / flags.size
