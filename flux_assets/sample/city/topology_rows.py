"""Rows of topology_connections_cache: a tree for every circuit, from its substation to its meters."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from flux_assets.sample.city import csv_text
from flux_assets.sample.city.chunks import Chunk, blocks_of_rows
from flux_assets.sample.city.frame import Floats, Ints, random_stream
from flux_assets.sample.city.line_rows import substation_ids
from flux_assets.sample.city.network import Network
from flux_assets.sample.city.service_rows import meter_ids, transformer_ids

_STREAM = 19
_DERIVED = "2025-01-15 03:45:00"


def topology_chunks(network: Network) -> Iterator[Chunk]:
    """Yield the edge that feeds each transformer, then those of as many meters as the plan has edges left for."""
    total = network.city.counts["topology_connections_cache"]
    parents = feeding_transformers(network)[:total]
    meters = _metered(network, total - len(parents))
    done = 0
    for start, end in blocks_of_rows(len(parents)):
        yield _transformer_edges(network, parents, start, end)
        done += end - start
    while done < total:
        for start, end in blocks_of_rows(min(len(meters), total - done)):
            yield _meter_edges(network, meters[start:end])
        done += min(len(meters), total - done)


def feeding_transformers(network: Network) -> Ints:
    """Return the transformer upstream of each transformer, -1 where the substation feeds it itself."""
    on, share = network.transformers.on, network.transformers.share
    bounds = np.searchsorted(on, np.arange(len(network.lines) + 1))
    feeding = np.arange(-1, len(on) - 1)
    for line in np.flatnonzero(np.diff(bounds)).tolist():
        feeding[bounds[line]] = _upstream(network, line, bounds, share)
    return feeding


def _upstream(network: Network, line: int, bounds: Ints, share: Floats) -> int:
    """Return the last transformer before the place where a line hangs, on its parent or farther up."""
    lines = network.lines
    while (parent := int(lines.parent[line])) >= 0:
        start, end = int(bounds[parent]), int(bounds[parent + 1])
        passed = int(np.searchsorted(share[start:end], lines.at[line], "right"))
        if passed:
            return start + passed - 1
        line = parent
    return -1


def _metered(network: Network, count: int) -> Ints:
    """Return which meters have an edge, in order."""
    order = random_stream(network.city.seed, _STREAM).permutation(len(network.meters))
    return np.sort(order[:count])


def _transformer_edges(network: Network, parents: Ints, start: int, end: int) -> Chunk:
    to, source = np.arange(start, end), parents[start:end]
    circuit = network.transformer_circuit[to]
    feeding = network.circuit_substation[circuit]
    first, upstream = source < 0, np.maximum(source, 0)
    places, hung = network.substations, network.transformers
    choices = zip(first.tolist(), substation_ids(feeding), transformer_ids(upstream), strict=True)
    return Chunk(
        count=end - start,
        columns={
            **_ends(network, circuit),
            "from_asset_id": [substation if head else transformer for head, substation, transformer in choices],
            "to_asset_id": transformer_ids(to),
            "from_latitude": csv_text.floats(np.where(first, places.latitude[feeding], hung.latitude[upstream])),
            "from_longitude": csv_text.floats(np.where(first, places.longitude[feeding], hung.longitude[upstream])),
            "to_latitude": csv_text.floats(hung.latitude[to]),
            "to_longitude": csv_text.floats(hung.longitude[to]),
            "connection_type": [f"{'SUBSTATION' if head else 'TRANSFORMER'}_TO_TRANSFORMER" for head in first.tolist()],
        },
    )


def _meter_edges(network: Network, to: Ints) -> Chunk:
    source, hung, meters = network.meters.on[to], network.transformers, network.meters
    return Chunk(
        count=len(to),
        columns={
            **_ends(network, network.meter_circuit[to]),
            "from_asset_id": transformer_ids(source),
            "to_asset_id": meter_ids(to),
            "from_latitude": csv_text.floats(hung.latitude[source]),
            "from_longitude": csv_text.floats(hung.longitude[source]),
            "to_latitude": csv_text.floats(meters.latitude[to]),
            "to_longitude": csv_text.floats(meters.longitude[to]),
            "connection_type": ["TRANSFORMER_TO_METER"] * len(to),
        },
    )


def _ends(network: Network, circuit: Ints) -> dict[str, list[str]]:
    names = network.circuit_names(circuit)
    return {"from_circuit_id": names, "to_circuit_id": names, "last_updated": [_DERIVED] * len(circuit)}
