"""The life of an outage: PENDING or ACTIVE, ASSIGNED to a crew, IN_PROGRESS, RESTORED; or CANCELLED, a false alarm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np

from flux_assets.sample.simulation import chance
from flux_assets.sample.simulation.grid import Device
from flux_assets.sample.simulation.records import WEATHER, Outage
from flux_assets.sample.simulation.state import State
from flux_assets.sample.simulation.storm import storm_size, struck

_URGENCY = ("CRITICAL", "HIGH", "MEDIUM", "LOW")
# A storm's stragglers an hour, as a part of those that its first hour broke.
_STRAGGLERS = 0.08


def begin(
    state: State, random: np.random.Generator, now: datetime, minutes: float, storm_began: datetime | None
) -> tuple[Outage, ...]:
    """Return the outages of the last minutes, none on a circuit that is out already as a whole."""
    usual = int(random.poisson(chance.outage_rate(state.grid, now) * minutes / 60))
    places = [(chance.picked(state.grid.devices, random), False) for _ in range(usual)]
    if storm_began is not None:
        count = _storm_outages(state, random, minutes, first=state.clock.storm_began != storm_began)
        places += [(device, True) for device in struck(state.grid, storm_began, count, random)]
    room = Counter(state.grid.customers)
    room.subtract(_customers_out(state.outages))
    begun: list[Outage] = []
    for device, storm in places:
        if room[device.circuit_id] > 0:
            number = state.clock.outages + len(begun) + 1
            outage = new_outage(number, device, random, _moment(random, now, minutes), room[device.circuit_id], storm)
            room[device.circuit_id] -= outage.customers_affected
            begun.append(outage)
    return tuple(begun)


def new_outage(
    number: int, device: Device, random: np.random.Generator, start: datetime, room: int, storm: bool = False
) -> Outage:
    """Return an outage at a place, as first reported; `room` is how many customers can be out."""
    cause = WEATHER if storm else chance.cause(device, start, random)
    planned = cause == "PLANNED_MAINTENANCE"
    count = chance.customers_of_storm if storm else chance.customers_affected
    affected = count(device, room, random)
    return Outage(
        outage_id=f"OUT-{number:07d}",
        circuit_id=device.circuit_id,
        substation_id=device.substation_id,
        outage_type="PLANNED" if planned else "UNPLANNED",
        cause_category=cause,
        start_time=start,
        estimated_restoration=chance.quarter_hour(start + chance.duration(random, storm=storm)),
        customers_affected=affected,
        customers_restored=0,
        status="PENDING" if random.random() < 0.3 and not planned else "ACTIVE",
        priority=chance.priority(affected, device.circuit_customers),
        latitude=device.latitude,
        longitude=device.longitude,
    )


def proceed(
    state: State, random: np.random.Generator, now: datetime, minutes: float, *, calm_since: datetime | None = None
) -> tuple[Outage, ...]:
    """Return the next step of each open outage that takes one, the most urgent first; a calmed storm's end."""
    free = _free_crews(state, random)
    after: list[Outage] = []
    for outage in sorted(state.outages, key=_urgency):
        if _is_of_storm(outage, calm_since):
            after.append(restored(outage, random, now, minutes))
        else:
            after.append(_next(outage, random, now, minutes, free))
    before = {outage.outage_id: outage for outage in state.outages}
    return tuple(outage for outage in after if outage != before[outage.outage_id])


def restored(outage: Outage, random: np.random.Generator, now: datetime, minutes: float) -> Outage:
    """Everybody has supply again, since some moment of the last minutes."""
    return replace(
        outage,
        status="RESTORED",
        customers_restored=outage.customers_affected,
        actual_restoration=max(_moment(random, now, minutes), outage.start_time),
    )


def _next(outage: Outage, random: np.random.Generator, now: datetime, minutes: float, free: list[str]) -> Outage:
    if outage.status == "PENDING":
        return _confirmed(outage, random, now, minutes)
    if outage.status == "ACTIVE":
        if free and chance.likely(random, minutes, 10):
            return replace(outage, status="ASSIGNED", crew_assigned=free.pop())
        return _late(outage, random, now)
    if outage.status == "ASSIGNED":
        return replace(outage, status="IN_PROGRESS") if chance.likely(random, minutes, 20) else outage
    return _repaired(outage, random, now, minutes)


def _confirmed(outage: Outage, random: np.random.Generator, now: datetime, minutes: float) -> Outage:
    """Return a reported outage as confirmed, or as a false alarm."""
    if not chance.likely(random, minutes, 8):
        return outage
    if random.random() < 0.06:
        return replace(restored(outage, random, now, minutes), status="CANCELLED")
    return replace(outage, status="ACTIVE")


def _repaired(outage: Outage, random: np.random.Generator, now: datetime, minutes: float) -> Outage:
    """Customers come back in steps, and the last of them around the time that was estimated."""
    estimate = outage.estimated_restoration or now
    whole = max((estimate - outage.start_time).total_seconds(), 60.0)
    progress = (now - outage.start_time).total_seconds() / whole
    if progress >= 0.85 and chance.likely(random, minutes, 15):
        return restored(outage, random, now, minutes)
    target = int(outage.customers_affected * min(progress, 0.9) ** 1.5)
    if outage.customers_restored is not None and target > outage.customers_restored and random.random() < 0.5:
        return _late(replace(outage, customers_restored=target), random, now)
    return _late(outage, random, now)


def _late(outage: Outage, random: np.random.Generator, now: datetime) -> Outage:
    """Return the outage with a new estimate where its estimate has passed."""
    if outage.estimated_restoration is not None and outage.estimated_restoration > now:
        return outage
    later = now + timedelta(minutes=int(random.integers(30, 120)))
    return replace(outage, estimated_restoration=chance.quarter_hour(later))


def _free_crews(state: State, random: np.random.Generator) -> list[str]:
    busy = {outage.crew_assigned for outage in state.outages}
    free = [crew for crew in chance.crews(state.grid, "Line") if crew not in busy]
    return [free[int(index)] for index in random.permutation(len(free))]


def _urgency(outage: Outage) -> tuple[int, datetime, str]:
    rank = _URGENCY.index(outage.priority) if outage.priority in _URGENCY else len(_URGENCY)
    return rank, outage.start_time, outage.outage_id


def _is_of_storm(outage: Outage, since: datetime | None) -> bool:
    """Return whether an outage belongs to the storm, also shortly before it: the first tick covers those minutes."""
    if since is None:
        return False
    return outage.cause_category == WEATHER and outage.start_time >= since - timedelta(hours=6)


def _storm_outages(state: State, random: np.random.Generator, minutes: float, *, first: bool) -> int:
    size = storm_size(state.grid)
    return size if first else int(random.poisson(size * _STRAGGLERS * minutes / 60))


def _customers_out(outages: Iterable[Outage]) -> Counter[str]:
    out: Counter[str] = Counter()
    for outage in outages:
        out[outage.circuit_id] += outage.customers_out
    return out


def _moment(random: np.random.Generator, now: datetime, minutes: float) -> datetime:
    """Some second of the last minutes."""
    return (now - timedelta(seconds=int(random.random() * minutes * 60))).replace(microsecond=0)
