"""Rows of vegetation_risk: trees along the lines, with distances and risks that follow from geometry."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import shapely

from flux_assets.sample.city import csv_text, ewkb, names
from flux_assets.sample.city.chunks import BLOCK, Chunk, blocks_of_rows
from flux_assets.sample.city.frame import Floats, Ints, random_stream, to_degrees, to_metres, true_distances
from flux_assets.sample.city.line_rows import line_ids
from flux_assets.sample.city.network import KILOVOLTS, Lines, Network

_STREAM = 20
# Trees are looked for within this many metres of a line.
CORRIDOR = 30.0
# By voltage class: metres of air that must stay free around a conductor.
REQUIRED_CLEARANCE = np.array([3.0, 4.5, 2.5])
# By role of the line: height of the conductors above the ground.
CONDUCTOR_HEIGHT = np.array([11.5, 11.5, 9.0])
LONGEST_OUTLOOK = 40.0
LEVELS = ("safe", "monitor", "warning", "critical")
LEVEL_LIMITS = (0.35, 0.6, 0.82)
_SOURCES = ("LiDAR survey 2024", "Aerial imagery 2023", "Field inspection")
# Species: name, mean height (m), crown radius per metre of height, growth (m a year), share.
_SPECIES = (
    ("Southern live oak", 11.0, 0.48, 0.45, 0.24),
    ("Water oak", 15.0, 0.34, 0.65, 0.15),
    ("Loblolly pine", 19.0, 0.18, 0.7, 0.16),
    ("Pecan", 15.5, 0.36, 0.45, 0.08),
    ("American elm", 14.0, 0.33, 0.6, 0.08),
    ("Sweetgum", 15.0, 0.27, 0.55, 0.06),
    ("Southern magnolia", 11.0, 0.3, 0.35, 0.05),
    ("Bald cypress", 16.0, 0.2, 0.5, 0.05),
    ("Sabal palm", 8.0, 0.18, 0.2, 0.05),
    ("Crape myrtle", 5.0, 0.36, 0.4, 0.08),
)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Trees of a block against their nearest lines: metres, and the numbers of the lines."""

    line: Ints
    distance: Floats


def tree_chunks(network: Network) -> Iterator[Chunk]:
    """Trees in the order of the lines that they were planted along."""
    lines = network.lines
    tree = shapely.STRtree(shapely.linestrings(np.column_stack([lines.x, lines.y]), indices=_line_of_vertex(lines)))
    total = network.city.counts["vegetation_risk"]
    random = random_stream(network.city.seed, _STREAM, 0)
    along = np.sort(random.random(total)) * float(lines.length.sum())
    for start, end in blocks_of_rows(total):
        yield _chunk(network, tree, along[start:end], start)


def measured(tree: shapely.STRtree, longitude: Floats, latitude: Floats) -> Measured:
    """Return the nearest line of each place and the true distance to it."""
    x, y = to_metres(longitude, latitude)
    spots = shapely.points(x, y)
    found = tree.query_nearest(spots, all_matches=False)[1].astype(np.int64)
    gap = shapely.get_coordinates(shapely.shortest_line(spots, tree.geometries[found])).reshape(-1, 2, 2)
    step = gap[:, 1] - gap[:, 0]
    return Measured(line=found, distance=true_distances(step[:, 0], step[:, 1], latitude))


def risk_scores(gap: Floats, required: Floats, height: Floats, distance: Floats, kilovolts: Floats) -> Floats:
    """Risk 0..1: mostly how little air is left, then whether the tree would reach the line in falling, then voltage."""
    air = np.clip(1 - gap / (2.4 * required), 0, 1)
    falling = np.clip((height - distance) / 20, 0, 1)
    return np.asarray(np.round(np.clip(0.62 * air + 0.28 * falling + 0.1 * kilovolts / 34.5, 0, 1), 3), float)


def _line_of_vertex(lines: Lines) -> Ints:
    return np.repeat(np.arange(len(lines)), np.diff(lines.first))


def _planted(network: Network, random: np.random.Generator, along: Floats) -> tuple[Floats, Floats]:
    """Places beside the lines, most of them near."""
    lines = network.lines
    ends = np.cumsum(lines.length)
    line = np.minimum(np.searchsorted(ends, along, "right"), len(lines) - 1)
    share = np.clip(1 - (ends[line] - along) / lines.length[line], 0, 1)
    x, y, direction = lines.along(line, share)
    aside = np.minimum(1.5 + random.gamma(2.1, 5.0, len(along)), CORRIDOR) * random.choice([-1.0, 1.0], len(along))
    return to_degrees(x - aside * np.sin(direction), y + aside * np.cos(direction))


def _chunk(network: Network, tree: shapely.STRtree, along: Floats, start: int) -> Chunk:
    random = random_stream(network.city.seed, _STREAM, 1, start // BLOCK)
    count = len(along)
    longitude, latitude = _planted(network, random, along)
    near = measured(tree, longitude, latitude)
    kinds = random.choice(len(_SPECIES), count, p=[species[4] for species in _SPECIES])
    mean, crown, growth = (np.array([species[field] for species in _SPECIES])[kinds] for field in (1, 2, 3))
    height = np.asarray(np.round(np.clip(mean * random.lognormal(-0.05, 0.3, count), 1.5, 38), 1), float)
    canopy = np.round(height * crown * random.uniform(0.8, 1.2, count), 2)
    distance = np.round(near.distance, 2)
    voltage = network.circuit_voltage(network.lines.circuit[near.line])
    required = REQUIRED_CLEARANCE[voltage]
    conductor = CONDUCTOR_HEIGHT[network.lines.role[near.line]]
    gap = np.hypot(np.maximum(distance - canopy, 0), np.maximum(conductor - height, 0))
    score = risk_scores(gap, required, height, distance, KILOVOLTS[voltage])
    deficit = np.round(np.maximum(required - gap, 0), 2)
    years = np.round(np.clip((gap - required) / growth, 0, LONGEST_OUTLOOK), 1)
    return Chunk(
        count=count,
        columns={
            "tree_id": csv_text.identifiers("TREE-", range(start + 1, start + 1 + count), 7),
            "class": ["tree"] * count,
            "subtype": [_SPECIES[kind][0] for kind in kinds.tolist()],
            "longitude": csv_text.floats(longitude),
            "latitude": csv_text.floats(latitude),
            "height_m": csv_text.floats(height),
            "canopy_radius_m": csv_text.floats(canopy),
            "risk_score": csv_text.floats(score),
            "risk_level": names.picked(LEVELS, np.searchsorted(LEVEL_LIMITS, score, "right").astype(np.int64)),
            "distance_to_line_m": csv_text.floats(distance),
            "nearest_line_id": line_ids(near.line),
            "nearest_line_voltage_kv": csv_text.floats(KILOVOLTS[voltage]),
            "clearance_deficit_m": csv_text.floats(deficit),
            "years_to_encroachment": csv_text.floats(years),
            "data_source": names.picked(_SOURCES, random.integers(0, len(_SOURCES), count)),
            "geom": ewkb.points(longitude, latitude),
        },
    )
