"""What there is to fail and to be worked on: circuits, and places on them, as a release shows them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from flux_assets.errors import ReleaseError
from flux_assets.release.release import Release

if TYPE_CHECKING:
    import pyarrow as pa

DEVICES_PER_CIRCUIT = 24
_METRES_PER_MILE = 1609.344


@dataclass(frozen=True, kw_only=True)
class Circuit:
    """A circuit of the release; `customers` is the number of its meters."""

    circuit_id: str
    name: str
    substation_id: str
    voltage_class: str
    length_miles: float
    customers: int


@dataclass(frozen=True, kw_only=True)
class Device:
    """A transformer of a circuit: where outages sit and crews work. `customers` are those that hang on it."""

    transformer_id: str
    circuit_id: str
    substation_id: str
    latitude: float
    longitude: float
    customers: int
    circuit_customers: int


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The circuits, and up to 24 devices of each."""

    devices: tuple[Device, ...]
    circuits: tuple[Circuit, ...] = ()

    @cached_property
    def customers(self) -> dict[str, int]:
        """Customers of each circuit that has a device."""
        return {device.circuit_id: device.circuit_customers for device in self.devices}

    @property
    def size(self) -> int:
        """Circuits on which something can happen: what rates, crews and storms grow with."""
        return len(self.customers)


def grid_of(release: Release) -> Grid:
    """Return the grid of a release: circuits from its lines, customers from its meters, places from its transformers.

    Raises ReleaseError when a file is unavailable, or when no transformer can be put on a circuit.
    """
    names = {row["substation_id"]: row["substation_name"] for row in _rows(release, "substations", "substation_name")}
    meters = _rows(release, "meter_locations_enhanced", "transformer_id", "circuit_id")
    served = Counter(row["circuit_id"] for row in meters)
    circuits = _circuits(release, names, served)
    devices = _devices(release, {circuit.circuit_id: circuit for circuit in circuits}, meters)
    if not devices:
        raise ReleaseError(
            f"No transformer of {release.address} hangs on a circuit of its power lines, so nothing can be simulated.",
            "Use another release, or FLUX_RELEASE=sample.",
        )
    return Grid(circuits=circuits, devices=devices)


def _circuits(release: Release, names: dict[str, str], served: Counter[str]) -> tuple[Circuit, ...]:
    lines = _rows(release, "grid_power_lines", "circuit_id", "substation_id", "voltage_class", "line_length_m")
    lengths: dict[str, float] = defaultdict(float)
    for line in lines:
        lengths[line["circuit_id"]] += float(line["line_length_m"] or 0)
    first = {line["circuit_id"]: line for line in reversed(lines)}
    return tuple(
        Circuit(
            circuit_id=circuit,
            name=f"{(names.get(line['substation_id']) or line['substation_id']).removesuffix(' Substation')} {circuit}",
            substation_id=line["substation_id"],
            voltage_class=line["voltage_class"],
            length_miles=round(lengths[circuit] / _METRES_PER_MILE, 2),
            customers=served[circuit],
        )
        for circuit, line in sorted(first.items())
    )


def _devices(release: Release, circuits: dict[str, Circuit], meters: Sequence[dict[str, str]]) -> tuple[Device, ...]:
    """By the circuit that their meters name, else by their feeder; spread evenly over each circuit's transformers."""
    fed = {row["transformer_id"]: row["circuit_id"] for row in meters}
    hanging = Counter(row["transformer_id"] for row in meters)
    found: dict[str, list[Device]] = defaultdict(list)
    for row in _rows(release, "transformers", "latitude", "longitude", "feeder_id"):
        circuit = circuits.get(fed.get(row["transformer_id"]) or row["feeder_id"])
        if circuit is None or not row["latitude"] or not row["longitude"]:
            continue
        found[circuit.circuit_id].append(
            Device(
                transformer_id=row["transformer_id"],
                circuit_id=circuit.circuit_id,
                substation_id=circuit.substation_id,
                latitude=float(row["latitude"]),
                longitude=float(row["longitude"]),
                customers=hanging[row["transformer_id"]],
                circuit_customers=circuit.customers,
            )
        )
    return tuple(device for circuit in sorted(found) for device in _spread(found[circuit]))


def _spread(devices: list[Device]) -> list[Device]:
    step = max(1.0, len(devices) / DEVICES_PER_CIRCUIT)
    return [devices[int(place * step)] for place in range(min(len(devices), DEVICES_PER_CIRCUIT))]


def _rows(release: Release, table: str, *columns: str) -> list[dict[str, str]]:
    """Return the table's key and some columns as text; NULL is the empty text or None."""
    import pyarrow as pa
    from pyarrow import csv

    key = {"substations": "substation_id", "transformers": "transformer_id"}.get(table)
    wanted = [*([key] if key else []), *columns]
    path = release.fetch(release.resolve(f"{table}.csv.gz", table))
    kinds: dict[str, pa.DataType] = dict.fromkeys(wanted, pa.string())
    options = csv.ConvertOptions(include_columns=wanted, column_types=kinds)
    try:
        read = csv.read_csv(path, parse_options=csv.ParseOptions(newlines_in_values=True), convert_options=options)
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise ReleaseError(
            f"{path} cannot be read for the simulation: {error}.", "Fetch the file again, or use another release."
        ) from None
    rows: list[dict[str, str]] = read.to_pylist()
    return rows
