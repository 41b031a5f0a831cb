"""Rows of grid_power_lines and substations."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from flux_assets.sample.city import csv_text, ewkb, names
from flux_assets.sample.city.chunks import BLOCK, Chunk, blocks_of_rows
from flux_assets.sample.city.equipment import Equipment, transformer_equipment
from flux_assets.sample.city.frame import Floats, Ints, random_stream, to_degrees
from flux_assets.sample.city.network import VOLTAGES, Network

_STREAM = 15
_ROLES = ("PRIMARY", "PRIMARY", "LATERAL")
_SIZES_MVA = np.array([10, 15, 20, 28, 40, 60, 80, 100, 150, 200, 300, 450], float)
_TRANSMISSION = ("138", "345", "69")


def line_chunks(network: Network) -> Iterator[Chunk]:
    """Power lines in the order of the network."""
    lines = network.lines
    transformers = np.bincount(network.transformers.on, minlength=len(lines))
    meters = np.bincount(network.transformers.on[network.meters.on], minlength=len(lines))
    for start, end in blocks_of_rows(len(lines)):
        which = np.arange(start, end)
        x, y, _ = lines.along(which, np.full(len(which), 0.5))
        longitude, latitude = to_degrees(x, y)
        circuit = lines.circuit[which]
        yield Chunk(
            count=len(which),
            columns={
                "line_id": line_ids(which),
                "circuit_id": network.circuit_names(circuit),
                "substation_id": substation_ids(network.circuit_substation[circuit]),
                "line_type": names.picked(_ROLES, lines.role[which]),
                "voltage_class": names.picked(VOLTAGES, network.circuit_voltage(circuit)),
                "transformer_count": csv_text.integers(transformers[which]),
                "meters_served": csv_text.integers(meters[which]),
                "line_length_m": csv_text.floats(np.round(lines.length[which], 2)),
                "geom": [_path(network, line) for line in which.tolist()],
                "centroid_lat": csv_text.floats(latitude),
                "centroid_lon": csv_text.floats(longitude),
                "created_at": _created(network.city.seed, start, len(which)),
            },
        )


def substation_chunks(network: Network) -> Iterator[Chunk]:
    """Yield all substations at once; there are few."""
    places = network.substations
    which = np.arange(len(places))
    random = random_stream(network.city.seed, _STREAM, 0)
    days = np.datetime64("1949-01-01") + random.integers(0, 27_000, len(which))
    state = np.searchsorted([0.95, 0.98], random.random(len(which)))
    yield Chunk(
        count=len(which),
        columns={
            "substation_id": substation_ids(which),
            "substation_name": csv_text.texts(substation_names(network)),
            "latitude": csv_text.floats(places.latitude),
            "longitude": csv_text.floats(places.longitude),
            "capacity_mva": csv_text.floats(capacities(network, transformer_equipment(network))),
            "voltage_level": substation_voltages(network),
            "commissioned_date": csv_text.times(days),
            "operational_status": names.picked(("ACTIVE", "MAINTENANCE", "PLANNED"), state.astype(np.int64)),
            "geom": ewkb.points(places.longitude, places.latitude),
        },
    )


def line_ids(numbers: Ints) -> list[str]:
    """Identifiers of lines by number."""
    return csv_text.identifiers("LINE-", numbers + 1, 6)


def substation_ids(numbers: Ints) -> list[str]:
    """Identifiers of substations by number."""
    return csv_text.identifiers("SUB-", numbers + 1, 5)


def substation_names(network: Network) -> list[str]:
    """Return a name for each substation, told apart by a number where street names run out."""
    count = len(network.substations)
    order = random_stream(network.city.seed, _STREAM, 1).permutation(len(names.STREETS))
    found = []
    for number in range(count):
        again, index = divmod(number, len(names.STREETS))
        found.append(f"{names.STREETS[order[index]]}{f' {again + 1}' if again else ''} Substation")
    return found


def substation_voltages(network: Network) -> list[str]:
    """High and low side, as dispatchers write them."""
    return [
        f"{_TRANSMISSION[index % 3 if voltage else 0]}/{VOLTAGES[voltage].removesuffix('kV')} kV"
        for index, voltage in enumerate(network.substation_voltage.tolist())
    ]


def capacities(network: Network, equipment: Equipment) -> Floats:
    """Installed MVA: the next standard size above what hangs on the substation."""
    substation = network.circuit_substation[network.transformer_circuit]
    need = np.bincount(substation, equipment.rated_kva, minlength=len(network.substations)) / 1000 * 1.25
    return np.asarray(_SIZES_MVA[np.minimum(np.searchsorted(_SIZES_MVA, need), len(_SIZES_MVA) - 1)])


def _path(network: Network, line: int) -> str:
    lines = network.lines
    part = slice(int(lines.first[line]), int(lines.first[line + 1]))
    return ewkb.line(np.column_stack([lines.longitude[part], lines.latitude[part]]))


def _created(seed: int, start: int, count: int) -> list[str]:
    random = random_stream(seed, _STREAM, 2, start // BLOCK)
    return csv_text.times(np.datetime64("2012-01-01T00:00:00") + random.integers(0, 12 * 365 * 86_400, count))
