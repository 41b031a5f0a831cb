"""Which part of the sample city makes which layer. The one place here that knows the layers by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from flux_assets.sample.city.asset_rows import asset_chunks
from flux_assets.sample.city.buildings import building_chunks
from flux_assets.sample.city.chunks import Chunk
from flux_assets.sample.city.city import City, planned_city
from flux_assets.sample.city.line_rows import line_chunks, substation_chunks
from flux_assets.sample.city.network import Network, network_of
from flux_assets.sample.city.service_rows import customer_chunks, meter_chunks, transformer_chunks
from flux_assets.sample.city.topology_rows import topology_chunks
from flux_assets.sample.city.tree_rows import tree_chunks
from flux_assets.sample.city.water_rows import water_chunks

_OF_THE_LAND: Mapping[str, Callable[[City], Iterator[Chunk]]] = {
    "building_footprints": building_chunks,
    "osm_water": water_chunks,
}
_OF_THE_GRID: Mapping[str, Callable[[Network], Iterator[Chunk]]] = {
    "substations": substation_chunks,
    "grid_power_lines": line_chunks,
    "transformers": transformer_chunks,
    "meter_locations_enhanced": meter_chunks,
    "customers_spatial": customer_chunks,
    "vegetation_risk": tree_chunks,
    "grid_assets_cache": asset_chunks,
    "topology_connections_cache": topology_chunks,
}
KNOWN_LAYERS = (*_OF_THE_LAND, *_OF_THE_GRID)


@dataclass(frozen=True, kw_only=True)
class Layers:
    """A city from which layers are made. `counts` must hold every known layer: each is planned with the others."""

    counts: Mapping[str, int]
    scale: float
    seed: int

    @cached_property
    def city(self) -> City:
        return planned_city(self.counts, scale=self.scale, seed=self.seed)

    @cached_property
    def network(self) -> Network:
        return network_of(self.city)

    def chunks(self, layer: str) -> Iterator[Chunk]:
        """Return the rows of a known layer, in chunks."""
        if layer in _OF_THE_LAND:
            return _OF_THE_LAND[layer](self.city)
        return _OF_THE_GRID[layer](self.network)
