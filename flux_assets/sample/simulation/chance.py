"""How often and for how long: rates by the hour, causes, durations, crews."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TypeVar

import numpy as np

from flux_assets.sample.simulation.grid import Device, Grid

T = TypeVar("T")

OUTAGES_PER_CIRCUIT_AND_HOUR = 0.035
ORDERS_PER_CIRCUIT_AND_DAY = 0.3
# Causes, and how likely each is at night, in the morning, in the afternoon and in the evening.
CAUSES: dict[str, tuple[float, float, float, float]] = {
    "WEATHER": (0.20, 0.12, 0.34, 0.26),
    "VEGETATION": (0.18, 0.14, 0.18, 0.18),
    "EQUIPMENT_FAILURE": (0.28, 0.20, 0.20, 0.30),
    "ANIMAL": (0.06, 0.24, 0.08, 0.06),
    "VEHICLE": (0.16, 0.08, 0.08, 0.10),
    "PLANNED_MAINTENANCE": (0.02, 0.14, 0.06, 0.01),
    "UNKNOWN": (0.10, 0.08, 0.06, 0.09),
}
# Busiest in the hot hours of the afternoon; the mean of the day is 1.
_BY_QUARTER = (0.6, 0.9, 1.5, 1.0)
WORK = {
    "INSPECTION": "Inspect {place} and note the condition of pole, cross-arm and bushings",
    "PREVENTIVE_MAINTENANCE": "Clean, tighten and test {place}",
    "VEGETATION_TRIM": "Trim trees within 3 m of the conductors near {place}",
    "REPLACEMENT": "Replace {place}, which has reached the end of its life",
    "CORRECTIVE_MAINTENANCE": "Repair what the inspection of {place} found",
    "EMERGENCY_REPAIR": "Make {place} safe and restore supply",
}
WORK_SHARES = (0.34, 0.22, 0.18, 0.10, 0.12, 0.04)


def quarter_of_day(device: Device, now: datetime) -> int:
    """0 for the night, 1 for the morning, 2 for the afternoon, 3 for the evening, by the sun."""
    return int((now + timedelta(hours=device.longitude / 15)).hour // 6)


def outage_rate(grid: Grid, now: datetime) -> float:
    """Outages an hour in the whole city."""
    return OUTAGES_PER_CIRCUIT_AND_HOUR * grid.size * _BY_QUARTER[quarter_of_day(grid.devices[0], now)]


def cause(device: Device, now: datetime, random: np.random.Generator) -> str:
    """Why a place fails at this hour."""
    quarter = quarter_of_day(device, now)
    return picked(tuple(CAUSES), random, [shares[quarter] for shares in CAUSES.values()])


def customers_affected(device: Device, room: int, random: np.random.Generator) -> int:
    """From the few on one transformer to the whole circuit; never more than have supply there now."""
    draw, spread = random.random(), random.random()
    if draw < 0.5:
        count = device.customers
    elif draw < 0.8:
        count = round(device.circuit_customers * (0.03 + 0.15 * spread))
    elif draw < 0.96:
        count = round(device.circuit_customers * (0.2 + 0.4 * spread))
    else:
        count = device.circuit_customers
    return max(1, min(count, room))


def customers_of_storm(device: Device, room: int, random: np.random.Generator) -> int:
    """Return the customers of one of a storm's many small outages; a few of the usual size would take the circuit."""
    part = round(device.circuit_customers * (0.01 + 0.09 * random.random()))
    return max(1, min(part, room))


def duration(random: np.random.Generator, *, storm: bool = False) -> timedelta:
    """Return how long it takes: 80 minutes in the middle, seven hours after a storm."""
    middle, spread = (420, 0.6) if storm else (80, 0.65)
    return timedelta(minutes=round(float(np.clip(random.lognormal(math.log(middle), spread), 10, 2880))))


def priority(affected: int, circuit_customers: int) -> str:
    """Return the priority: the larger the share of the circuit, the more urgent."""
    share = affected / max(1, circuit_customers)
    return "CRITICAL" if share > 0.6 else "HIGH" if share > 0.25 else "MEDIUM" if affected > 3 else "LOW"


def crews(grid: Grid, kind: str) -> list[str]:
    """Return the names of all crews of a kind: one for about six circuits."""
    return [f"{kind} Crew {number:02d}" for number in range(1, 3 + grid.size // 6)]


def likely(random: np.random.Generator, minutes: float, mean: float) -> bool:
    """Return whether something that takes `mean` minutes on the average happens within `minutes`."""
    return bool(random.random() < 1 - math.exp(-minutes / mean))


def picked(choices: Sequence[T], random: np.random.Generator, weights: Sequence[float] | None = None) -> T:
    """Return one of the choices."""
    if weights is None:
        return choices[int(random.integers(len(choices)))]
    bounds = np.cumsum(weights)
    return choices[min(int(np.searchsorted(bounds, random.random() * bounds[-1], "right")), len(choices) - 1)]


def quarter_hour(instant: datetime) -> datetime:
    """Rounded up to a quarter of an hour, as estimates are told."""
    past = timedelta(minutes=instant.minute % 15, seconds=instant.second, microseconds=instant.microsecond)
    return instant if not past else instant - past + timedelta(minutes=15)
