"""Who is supplied through a meter: name, segment, address; the same for every layer that shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flux_assets.sample.city import csv_text, names
from flux_assets.sample.city.chunks import BLOCK
from flux_assets.sample.city.frame import random_stream
from flux_assets.sample.city.network import Network

_STREAM = 17
SEGMENTS = ("RESIDENTIAL", "COMMERCIAL", "INDUSTRIAL")


@dataclass(frozen=True, kw_only=True)
class Postal:
    """Fields of a block of meters, CSV-quoted."""

    customer: Sequence[str]
    segment: Sequence[str]
    address: Sequence[str]
    town: Sequence[str]
    county: Sequence[str]
    postal_code: Sequence[str]


def postal_details(network: Network, start: int, end: int) -> Postal:
    """Details of the meters from `start` up to `end`, which are the bounds of a block."""
    random = random_stream(network.city.seed, _STREAM, start // BLOCK)
    count = end - start
    longitude, latitude = network.meters.longitude[start:end], network.meters.latitude[start:end]
    segment = np.searchsorted([0.87, 0.98], random.random(count)).astype(np.int64)
    persons = names.people(random, count)
    firms = names.picked(names.COMPANIES, random.integers(0, len(names.COMPANIES), count))
    who = [firm if kind else person for kind, person, firm in zip(segment.tolist(), persons, firms, strict=True)]
    return Postal(
        customer=csv_text.texts(who),
        segment=names.picked(SEGMENTS, segment),
        address=csv_text.texts(_addresses(network, random, start, end)),
        town=network.places.towns(longitude, latitude),
        county=network.places.counties(longitude, latitude),
        postal_code=network.places.postal_codes(longitude, latitude),
    )


def _addresses(network: Network, random: np.random.Generator, start: int, end: int) -> list[str]:
    """House numbers rise along the street; one address in twelve is a unit of a larger house."""
    transformer = network.meters.on[start:end]
    line = network.transformers.on[transformer]
    number = 100 + (network.transformers.share[transformer] * network.lines.length[line] / 2.4).astype(np.int64)
    number = 2 * number + random.integers(0, 2, end - start)
    unit = np.where(random.random(end - start) < 1 / 12, random.integers(1, 60, end - start), 0)
    streets = [names.street_name(street) for street in network.lines.street[line].tolist()]
    return [
        f"{house} {street}, Unit {door}" if door else f"{house} {street}"
        for house, street, door in zip(number.tolist(), streets, unit.tolist(), strict=True)
    ]
