"""The plan of the sample city before anything is built: cells between streets, waters, freeways, districts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from flux_assets.sample.city.bend import Bend
from flux_assets.sample.city.districts import District
from flux_assets.sample.city.frame import Floats, Frame, Ints, to_degrees
from flux_assets.sample.city.freeways import Freeways
from flux_assets.sample.city.streets import Blocks, Cell, blocks_of
from flux_assets.sample.city.waters import Waters


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A plan. Cells are numbered row by row from the south-west; arrays are by cell number."""

    seed: int
    counts: Mapping[str, int]
    frame: Frame
    bend: Bend
    waters: Waters
    freeways: Freeways
    columns: int
    district: Ints
    density: Floats
    land: Floats

    @property
    def areas(self) -> Floats:
        """Areas of the cells in km²."""
        return np.outer(np.diff(self.bend.edges_y), np.diff(self.bend.edges_x)).ravel() / 1e6

    @property
    def middle_x(self) -> Floats:
        return np.tile((self.bend.edges_x[1:] + self.bend.edges_x[:-1]) / 2, self.cell_count // self.columns)

    @property
    def middle_y(self) -> Floats:
        return np.repeat((self.bend.edges_y[1:] + self.bend.edges_y[:-1]) / 2, self.columns)

    @property
    def cell_count(self) -> int:
        return len(self.district)

    def bare_cell(self, number: int) -> Cell:
        """Return a cell with nothing in it but streets."""
        row, column = divmod(number, self.columns)
        return Cell(
            number=number,
            west=float(self.bend.edges_x[column]),
            east=float(self.bend.edges_x[column + 1]),
            south=float(self.bend.edges_y[row]),
            north=float(self.bend.edges_y[row + 1]),
            district=District(self.district[number]),
            buildings=0,
            ponds=0,
            clearings=np.empty((0, 3)),
        )

    def blocks(self, cell: Cell) -> Blocks:
        return blocks_of(cell, self.waters, self.freeways, self.seed)

    def degrees(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Return longitude and latitude of plan metres, rounded as stored."""
        return to_degrees(*self.bend.ground(x, y))
