"""Rows of osm_water: reaches of bayous, creeks, lakes, the bay, and ponds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import shapely

from flux_assets.sample.city import csv_text, ewkb, names
from flux_assets.sample.city.bayous import Bayou, Creek
from flux_assets.sample.city.blobs import blob
from flux_assets.sample.city.chunks import Chunk
from flux_assets.sample.city.city import City
from flux_assets.sample.city.districts import District
from flux_assets.sample.city.frame import Floats, Frame, random_stream, ring_area
from flux_assets.sample.city.streets import Blocks, Cell
from flux_assets.sample.city.waters import Bay, Lake

_STREAM = 11
_CHUNK = 2000
_SQUARE_METRES_PER_ACRE = 4046.8564224


@dataclass(frozen=True, kw_only=True)
class Body:
    """A water body on the plan: parts of closed rings (points, 2), shells first."""

    kind: str
    name: str | None
    parts: Sequence[Sequence[Floats]]


def water_chunks(city: City) -> Iterator[Chunk]:
    """Yield all waters, numbered from 1; OpenStreetMap's identifiers are beyond 32 bits, as many real ones are."""
    random = random_stream(city.seed, _STREAM, 0)
    total = city.counts["osm_water"]
    osm_ids = 3_000_000_000 + np.cumsum(random.integers(1, 90_000, total))
    random.shuffle(osm_ids)
    done, waiting = 0, []
    for body in _bodies(city):
        waiting.append(body)
        if len(waiting) == _CHUNK or done + len(waiting) == total:
            yield _chunk(city, waiting, done, osm_ids[done : done + len(waiting)].tolist())
            done, waiting = done + len(waiting), []
            if done == total:
                return


def _chunk(city: City, bodies: Sequence[Body], done: int, osm_ids: Sequence[int]) -> Chunk:
    ground = [[[_ring_on_ground(city, ring) for ring in rings] for rings in body.parts] for body in bodies]
    acres = [sum(_area(rings) for rings in parts) / _SQUARE_METRES_PER_ACRE for parts in ground]
    return Chunk(
        count=len(bodies),
        columns={
            "id": [str(number) for number in range(done + 1, done + len(bodies) + 1)],
            "osm_id": [str(number) for number in osm_ids],
            "name": csv_text.texts(body.name for body in bodies),
            "water_type": [body.kind for body in bodies],
            "acres": [f"{area:.2f}" for area in acres],
            "geom": [ewkb.polygon(parts[0]) if len(parts) == 1 else ewkb.multipolygon(parts) for parts in ground],
        },
    )


def _ring_on_ground(city: City, ring: Floats) -> Floats:
    return np.column_stack(city.degrees(ring[:, 0], ring[:, 1]))


def _area(rings: Sequence[Floats]) -> float:
    shell, *holes = (ring_area(ring[:, 0], ring[:, 1]) for ring in rings)
    return shell - sum(holes)


def _bodies(city: City) -> Iterator[Body]:
    random = random_stream(city.seed, _STREAM, 1)
    waters = city.waters
    for number, (bayou, reaches) in enumerate(zip(waters.bayous, waters.reaches, strict=True)):
        yield from _reaches(bayou, reaches, names.BAYOUS[number % len(names.BAYOUS)])
    for lake in waters.lakes:
        yield _lake(random, lake)
    if waters.bay:
        yield _bay(city.frame, waters.bay)
    for creek in waters.creeks:
        yield _creek(random, creek)
    for cell, blocks in city.cells():
        yield from _ponds(city, cell, blocks)


def _reaches(bayou: Bayou, count: int, name: str) -> Iterator[Body]:
    ends = np.linspace(-bayou.frame.width / 2, bayou.end, count + 1)
    for west, east in pairwise(ends.tolist()):
        x = np.linspace(west, east, int(np.clip((east - west) / 35, 4, 400)))
        kind = "river" if bayou.main and bayou.half_width(np.array([west]))[0] > 45 else "stream"
        yield Body(kind=kind, name=name, parts=[[_banks(x, bayou.course(x), bayou.half_width(x))]])


def _banks(x: Floats, y: Floats, half: Floats) -> Floats:
    """Return the ring along one bank and back along the other."""
    south, north = np.column_stack([x, y - half]), np.column_stack([x, y + half])
    return np.vstack([south, north[::-1], south[:1]])


def _creek(random: np.random.Generator, creek: Creek) -> Body:
    way = np.linspace(0, creek.length, int(np.clip(creek.length / 40, 4, 120)))
    turned = _banks(creek.y + creek.direction * way, creek.course(way), creek.half_width(way))
    name = names.filled(random, ("{street} Creek", "{family} Gully"), 1)[0] if random.random() < 0.4 else None
    return Body(kind=("stream", "canal")[int(random.integers(2))], name=name, parts=[[turned[:, ::-1]]])


def _lake(random: np.random.Generator, lake: Lake) -> Body:
    first, *others = lake.basins
    islands = [island.ring(12.0)[::-1] for island in lake.islands]
    name = names.filled(random, names.LAKES, 1)[0] if random.random() < 0.8 else None
    return Body(
        kind="water", name=name, parts=[[first.ring(18.0), *islands], *([basin.ring(18.0)] for basin in others)]
    )


def _bay(frame: Frame, bay: Bay) -> Body:
    """Everything beyond the coast that lies within the extent, islands left out."""
    far = 2 * (frame.width + frame.height)
    along = np.arange(-(frame.width + frame.height), frame.width + frame.height, 90.0)
    out = np.concatenate([bay.coast(along), [far, far]])
    along = np.concatenate([along, [along[-1], along[0]]])
    cosine, sine = np.cos(bay.angle), np.sin(bay.angle)
    shore = shapely.Polygon(np.column_stack([out * cosine - along * sine, out * sine + along * cosine]))
    half = frame.width / 2, frame.height / 2
    water = shapely.intersection(shore, shapely.box(-half[0], -half[1], *half))
    islands = [island.ring(40.0) for island in bay.islands]
    water = shapely.difference(water, shapely.union_all([shapely.Polygon(ring) for ring in islands]))
    parts = [[np.array(ring.coords) for ring in (part.exterior, *part.interiors)] for part in shapely.get_parts(water)]
    return Body(kind="water", name="San Jacobo Bay", parts=parts)


def _ponds(city: City, cell: Cell, blocks: Blocks) -> Iterator[Body]:
    random = random_stream(city.seed, _STREAM, 2, cell.number)
    for block in np.flatnonzero(blocks.pond):
        x, y = float(blocks.middle_x[block]), float(blocks.middle_y[block])
        wide, high = float(blocks.east[block] - blocks.west[block]), float(blocks.north[block] - blocks.south[block])
        room = 0.5 * float(random.uniform(0.55, 0.9))
        if random.random() < 0.35:
            ring = _basin(x, y, wide * room * float(random.uniform(0.5, 1)), high * room)
        else:
            ring = blob(random, 0.0, 0.0, 1.0).ring(0.35)
            ring = ring / np.abs(ring).max(axis=0) * (wide * room * float(random.uniform(0.5, 1)), high * room)
            ring = np.array([x, y]) + ring
        named = random.random() < 0.06 and cell.district != District.INDUSTRY
        yield Body(kind="water", name=names.filled(random, names.LAKES, 1)[0] if named else None, parts=[[ring]])


def _basin(x: float, y: float, wide: float, high: float) -> Floats:
    """Return a dug basin: a rectangle (half sides given) with its corners cut."""
    cut = 0.3 * min(wide, high)
    corners = [
        (-wide + cut, -high),
        (wide - cut, -high),
        (wide, -high + cut),
        (wide, high - cut),
        (wide - cut, high),
        (-wide + cut, high),
        (-wide, high - cut),
        (-wide, -high + cut),
        (-wide + cut, -high),
    ]
    return np.asarray(np.array([x, y]) + np.array(corners))
