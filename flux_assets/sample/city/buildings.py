"""Rows of building_footprints, cell by cell."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from flux_assets.sample.city import csv_text, ewkb, names
from flux_assets.sample.city.chunks import Chunk
from flux_assets.sample.city.city import City
from flux_assets.sample.city.districts import District, Use
from flux_assets.sample.city.footprints import Shaped, footprints
from flux_assets.sample.city.frame import Floats, Ints, random_stream
from flux_assets.sample.city.lots import Lots, built_lots
from flux_assets.sample.city.streets import Cell

_STREAM = 10
_TYPES = {
    Use.HOUSES: ("house", "house", "house", "residential", "residential", "garage"),
    Use.FLATS: ("apartments", "apartments", "residential"),
    Use.SHOPS: ("commercial", "retail", "retail", "supermarket", "office"),
    Use.WORKS: ("industrial", "warehouse", "warehouse"),
    Use.CIVIC: ("school", "church", "hospital", "public", "university"),
    Use.TOWERS: ("office", "office", "commercial", "hotel", "apartments", "parking"),
}
# Typical floors and the height of one in metres, for each use.
_FLOORS = np.array([1.35, 2.9, 1.15, 1.0, 1.7, 7.0])
_SPREAD = np.array([0.28, 0.38, 0.3, 0.1, 0.35, 0.75])
_STOREY = np.array([3.0, 3.1, 4.6, 8.5, 4.0, 3.7])
_NAMED = np.array([0.0008, 0.05, 0.09, 0.04, 0.45, 0.22])
_TALLEST = 75


def building_chunks(city: City) -> Iterator[Chunk]:
    """Yield all buildings, a chunk for every cell that has any."""
    number = 1
    for cell, blocks in city.cells():
        if cell.buildings:
            lots = built_lots(cell, blocks, city.waters, city.freeways, city.seed)
            yield _chunk(city, cell, lots, number)
            number += len(lots)


def _chunk(city: City, cell: Cell, lots: Lots, first: int) -> Chunk:
    random = random_stream(city.seed, _STREAM, cell.number)
    shapes = list(footprints(random, lots, city.bend))
    order = np.concatenate([shape.lots for shape in shapes])
    geometry = [text for shape in shapes for text in ewkb.polygons(shape.rings)]
    use = lots.use[order]
    floors = _floors(random, _typical_floors(city, cell, lots)[order], use, _areas(shapes))
    height = np.round(
        floors * _STOREY[use] * random.uniform(0.92, 1.1, len(use)) + random.uniform(0.6, 2.4, len(use)), 1
    )
    # Surveys leave the number of floors open here and there.
    floors = np.where(random.random(len(use)) < 0.03, -1, floors)
    return Chunk(
        count=len(order),
        columns={
            # As in registers that hand out GUIDs or hashes: rows lie in the file by place, and ids do not follow it.
            "building_id": csv_text.scattered_identifiers("BLDG-", range(first, first + len(order))),
            "building_name": _names(random, use),
            "building_type": _types(random, use),
            "height_meters": csv_text.floats(height),
            "num_floors": csv_text.integers(floors),
            "geom": geometry,
        },
    )


def _areas(shapes: list[Shaped]) -> Floats:
    return np.concatenate([shape.area for shape in shapes])


def _typical_floors(city: City, cell: Cell, lots: Lots) -> Floats:
    """Floors usual on each lot: towers grow towards the centre of downtown."""
    typical = _FLOORS[lots.use]
    if cell.district == District.DOWNTOWN:
        core = np.exp(-((np.hypot(lots.x, lots.y) / max(350.0, 0.045 * city.frame.radius)) ** 2))
        return np.where(lots.use == Use.TOWERS, 3.5 + 21 * core, typical)
    if cell.district == District.INNER:
        return np.where(lots.use == Use.HOUSES, 1.75, typical)
    return np.asarray(typical)


def _floors(random: np.random.Generator, typical: Floats, use: Ints, area: Floats) -> Ints:
    """Floors above the ground; high ones want ground enough."""
    floors = typical * random.lognormal(0, _SPREAD[use], len(use))
    most = np.where(use == Use.HOUSES, 3, np.clip(area / 14, 2, _TALLEST))
    return np.clip(np.rint(floors), 1, most).astype(np.int64)


def _types(random: np.random.Generator, use: Ints) -> list[str]:
    drawn = random.integers(0, 1 << 16, len(use))
    chosen = [_TYPES[Use(kind)] for kind in range(len(Use))]
    return [chosen[kind][draw % len(chosen[kind])] for kind, draw in zip(use.tolist(), drawn.tolist(), strict=True)]


def _names(random: np.random.Generator, use: Ints) -> list[str]:
    """Return names as fields: NULL for most, and for a few the empty text that surveyors type."""
    drawn = random.random(len(use))
    fields = [csv_text.NULL] * len(use)
    named = np.flatnonzero(drawn < _NAMED[use])
    for index, name in zip(named.tolist(), names.filled(random, names.BUILDINGS, len(named)), strict=True):
        fields[index] = csv_text.quoted(name)
    for index in np.flatnonzero(drawn > 0.9995).tolist():
        fields[index] = csv_text.quoted("")
    return fields
