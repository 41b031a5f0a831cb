"""Rows of grid_assets_cache: every substation, transformer, meter and pole, agreeing with the tables it caches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from flux_assets.sample.city import csv_text, ewkb, names
from flux_assets.sample.city.chunks import BLOCK, Chunk, blocks_of_rows
from flux_assets.sample.city.customers import postal_details
from flux_assets.sample.city.equipment import transformer_equipment
from flux_assets.sample.city.frame import Floats, Ints, random_stream
from flux_assets.sample.city.line_rows import capacities, substation_ids, substation_names, substation_voltages
from flux_assets.sample.city.network import VOLTAGES, Network, Points
from flux_assets.sample.city.service_rows import meter_ids, transformer_ids

_STREAM = 18
_STATES = ("IN_SERVICE", "MAINTENANCE", "OUT_OF_SERVICE")
_COMPUTED = np.datetime64("2025-01-15T02:00:00")


def asset_chunks(network: Network) -> Iterator[Chunk]:
    """Substations, transformers, meters, poles."""
    feeding = csv_text.texts(substation_names(network))
    yield from _substations(network, feeding)
    yield from _transformers(network, feeding)
    yield from _meters(network, feeding)
    yield from _poles(network, feeding)


def pole_ids(numbers: Ints) -> list[str]:
    """Identifiers of poles by number."""
    return csv_text.identifiers("POLE-", numbers + 1, 8)


def _substations(network: Network, feeding: Sequence[str]) -> Iterator[Chunk]:
    equipment = transformer_equipment(network)
    circuits = np.bincount(network.circuit_substation, minlength=len(network.substations))
    customers = np.bincount(network.circuit_substation[network.meter_circuit], minlength=len(network.substations))
    load = np.bincount(network.circuit_substation, equipment.circuit_load, minlength=len(network.substations))
    load = np.divide(load, circuits, out=np.full(len(load), np.nan), where=circuits > 0)
    for start, end in blocks_of_rows(len(network.substations)):
        random = random_stream(network.city.seed, _STREAM, 0, start // BLOCK)
        part = slice(start, end)
        yield _chunk(
            network,
            random,
            network.substations,
            part,
            {
                "asset_id": substation_ids(np.arange(start, end)),
                "asset_name": feeding[part],
                "asset_type": ["substation"] * (end - start),
                "load_percent": csv_text.floats(np.round(load[part], 1)),
                "health_score": csv_text.floats(np.round(random.uniform(62, 100, end - start), 1)),
                "voltage": substation_voltages(network)[part],
                "connected_customers": csv_text.integers(customers[part]),
                "circuits_served": csv_text.integers(circuits[part]),
                "capacity_mva": csv_text.floats(capacities(network, equipment)[part]),
                "substation_name": feeding[part],
            },
        )


def _transformers(network: Network, feeding: Sequence[str]) -> Iterator[Chunk]:
    equipment = transformer_equipment(network)
    for start, end in blocks_of_rows(len(network.transformers)):
        random = random_stream(network.city.seed, _STREAM, 1, start // BLOCK)
        part = slice(start, end)
        yield _chunk(
            network,
            random,
            network.transformers,
            part,
            {
                **_on_circuit(network, network.transformer_circuit[part], feeding),
                "asset_id": transformer_ids(np.arange(start, end)),
                "asset_name": csv_text.identifiers("Transformer ", range(start + 1, end + 1), 1),
                "asset_type": ["transformer"] * (end - start),
                "load_percent": csv_text.floats(equipment.load[part]),
                "health_score": csv_text.floats(equipment.health[part]),
                "connected_customers": csv_text.integers(network.meters_of_transformer[part]),
            },
        )


def _meters(network: Network, feeding: Sequence[str]) -> Iterator[Chunk]:
    for start, end in blocks_of_rows(len(network.meters)):
        random = random_stream(network.city.seed, _STREAM, 2, start // BLOCK)
        part = slice(start, end)
        postal = postal_details(network, start, end)
        yield _chunk(
            network,
            random,
            network.meters,
            part,
            {
                **_on_circuit(network, network.meter_circuit[part], feeding),
                "asset_id": meter_ids(np.arange(start, end)),
                "asset_name": csv_text.identifiers("Meter ", range(start + 1, end + 1), 1),
                "asset_type": ["meter"] * (end - start),
                "health_score": csv_text.floats(_scores(100 - random.gamma(1.5, 4.0, end - start))),
                "voltage": ["240V"] * (end - start),
                "connected_customers": ["1"] * (end - start),
                "service_address": postal.address,
                "customer_name": postal.customer,
                "customer_segment": postal.segment,
            },
        )


def _poles(network: Network, feeding: Sequence[str]) -> Iterator[Chunk]:
    for start, end in blocks_of_rows(len(network.poles)):
        random = random_stream(network.city.seed, _STREAM, 3, start // BLOCK)
        part = slice(start, end)
        age = random.gamma(2.2, 9.0, end - start)
        yield _chunk(
            network,
            random,
            network.poles,
            part,
            {
                **_on_circuit(network, network.lines.circuit[network.poles.on[part]], feeding),
                "asset_id": pole_ids(np.arange(start, end)),
                "asset_name": csv_text.identifiers("Pole ", range(start + 1, end + 1), 1),
                "asset_type": ["pole"] * (end - start),
                "health_score": csv_text.floats(_scores(100 - age)),
            },
        )


def _on_circuit(network: Network, circuit: Ints, feeding: Sequence[str]) -> dict[str, Sequence[str]]:
    return {
        "circuit_id": network.circuit_names(circuit),
        "voltage": names.picked(VOLTAGES, network.circuit_voltage(circuit)),
        "substation_name": [feeding[number] for number in network.circuit_substation[circuit].tolist()],
    }


def _chunk(
    network: Network, random: np.random.Generator, points: Points, part: slice, columns: dict[str, Sequence[str]]
) -> Chunk:
    """Return a chunk of one kind of asset with what every asset has; columns that a kind has not are NULL."""
    longitude, latitude = points.longitude[part], points.latitude[part]
    count = len(longitude)
    state = np.searchsorted([0.97, 0.992], random.random(count)).astype(np.int64)
    places = network.places
    shared: dict[str, Sequence[str]] = {
        "latitude": csv_text.floats(latitude),
        "longitude": csv_text.floats(longitude),
        "status": names.picked(_STATES, state),
        "last_updated": csv_text.times(_COMPUTED + random.integers(0, 5400, count)),
        "geom": ewkb.points(longitude, latitude),
        "rotation_rad": csv_text.floats(_rounded(points.direction[part])),
        "city": places.towns(longitude, latitude),
        "zip_code": places.postal_codes(longitude, latitude),
        "county_name": places.counties(longitude, latitude),
    }
    return Chunk(count=count, columns={**shared, **columns})


def _scores(condition: Floats) -> Floats:
    return np.asarray(np.round(np.clip(condition, 5, 100), 1), float)


def _rounded(angles: Floats) -> Floats:
    return np.round(angles, 4) + 0.0
