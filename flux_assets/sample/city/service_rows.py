"""Rows of transformers, meter_locations_enhanced and customers_spatial: the way from a circuit to a customer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from flux_assets.sample.city import csv_text, ewkb
from flux_assets.sample.city.chunks import Chunk, blocks_of_rows
from flux_assets.sample.city.customers import postal_details
from flux_assets.sample.city.equipment import transformer_equipment
from flux_assets.sample.city.frame import Ints
from flux_assets.sample.city.line_rows import substation_ids
from flux_assets.sample.city.network import Network


def transformer_ids(numbers: Ints) -> list[str]:
    """Identifiers of transformers by number."""
    return csv_text.identifiers("XFMR-", numbers + 1, 7)


def meter_ids(numbers: Ints) -> list[str]:
    """Identifiers of meters by number."""
    return csv_text.identifiers("MTR-", numbers + 1, 8)


def transformer_chunks(network: Network) -> Iterator[Chunk]:
    """Transformers in the order of the network."""
    equipment = transformer_equipment(network)
    for start, end in blocks_of_rows(len(network.transformers)):
        longitude, latitude = network.transformers.longitude[start:end], network.transformers.latitude[start:end]
        circuit = network.transformer_circuit[start:end]
        yield Chunk(
            count=end - start,
            columns={
                "transformer_id": transformer_ids(np.arange(start, end)),
                "latitude": csv_text.floats(latitude),
                "longitude": csv_text.floats(longitude),
                "substation_id": substation_ids(network.circuit_substation[circuit]),
                "rated_kva": csv_text.floats(equipment.rated_kva[start:end]),
                "install_year": csv_text.integers(equipment.install_year[start:end]),
                "health_score": csv_text.floats(equipment.health[start:end]),
                "age_years": csv_text.integers(equipment.age[start:end]),
                "location_area": network.places.towns(longitude, latitude),
                "feeder_id": network.circuit_names(circuit),
            },
        )


def meter_chunks(network: Network) -> Iterator[Chunk]:
    """Meters in the order of their transformers."""
    for start, end in blocks_of_rows(len(network.meters)):
        longitude, latitude = network.meters.longitude[start:end], network.meters.latitude[start:end]
        postal = postal_details(network, start, end)
        yield Chunk(
            count=end - start,
            columns={
                "meter_id": meter_ids(np.arange(start, end)),
                "transformer_id": transformer_ids(network.meters.on[start:end]),
                "latitude": csv_text.floats(latitude),
                "longitude": csv_text.floats(longitude),
                "circuit_id": network.circuit_names(network.meter_circuit[start:end]),
                "city": postal.town,
                "zip_code": postal.postal_code,
                "county_name": postal.county,
                "geom": ewkb.points(longitude, latitude),
            },
        )


def customer_chunks(network: Network) -> Iterator[Chunk]:
    """Customers, one a meter; where the plan has more customers than meters, the meters come round again."""
    total, meters = network.city.counts["customers_spatial"], len(network.meters)
    done = 0
    while done < total:
        for start, end in blocks_of_rows(min(meters, total - done)):
            yield _customers(network, done + start, start, end)
        done += min(meters, total - done)


def _customers(network: Network, number: int, start: int, end: int) -> Chunk:
    longitude, latitude = network.meters.longitude[start:end], network.meters.latitude[start:end]
    postal = postal_details(network, start, end)
    return Chunk(
        count=end - start,
        columns={
            "customer_id": csv_text.identifiers("CUST-", range(number + 1, number + 1 + end - start), 8),
            "full_name": postal.customer,
            "customer_segment": postal.segment,
            "service_address": postal.address,
            "city": postal.town,
            "county": postal.county,
            "meter_id": meter_ids(np.arange(start, end)),
            "transformer_id": transformer_ids(network.meters.on[start:end]),
            "latitude": csv_text.floats(latitude),
            "longitude": csv_text.floats(longitude),
            "geom": ewkb.points(longitude, latitude),
        },
    )
