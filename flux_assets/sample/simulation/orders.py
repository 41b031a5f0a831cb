"""The life of a work order: OPEN, SCHEDULED, ASSIGNED to a crew, IN_PROGRESS, COMPLETED; or CANCELLED."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np

from flux_assets.sample.simulation import chance
from flux_assets.sample.simulation.grid import Device
from flux_assets.sample.simulation.records import WorkOrder
from flux_assets.sample.simulation.state import State

_PRIORITIES = ("LOW", "MEDIUM", "HIGH")
_DAY = timedelta(days=1)

Crew = str | None


def begin(state: State, random: np.random.Generator, now: datetime, minutes: float) -> tuple[WorkOrder, ...]:
    """Return the orders that planners wrote in the last minutes."""
    rate = chance.ORDERS_PER_CIRCUIT_AND_DAY * state.grid.size / 1440
    first = state.clock.orders + 1
    return tuple(
        new_order(first + number, chance.picked(state.grid.devices, random), random, now)
        for number in range(int(random.poisson(rate * minutes)))
    )


def new_order(number: int, device: Device, random: np.random.Generator, now: datetime) -> WorkOrder:
    """Return an order as it is first written: emergencies begin within the hour, the rest in the days to come."""
    kind = chance.picked(tuple(chance.WORK), random, chance.WORK_SHARES)
    urgent = kind == "EMERGENCY_REPAIR"
    start = chance.quarter_hour(now + timedelta(minutes=30)) if urgent else _working_hour(device, random, now)
    return WorkOrder(
        work_order_id=f"WO-{number:07d}",
        work_order_type=kind,
        priority="EMERGENCY" if urgent else chance.picked(_PRIORITIES, random, (0.4, 0.45, 0.15)),
        status="SCHEDULED" if urgent or random.random() < 0.6 else "OPEN",
        circuit_id=device.circuit_id,
        substation_id=device.substation_id,
        transformer_id=device.transformer_id,
        description=f"{chance.WORK[kind].format(place=device.transformer_id)} (circuit {device.circuit_id}).",
        scheduled_start=start,
        scheduled_end=start + timedelta(hours=int(random.integers(1, 9))),
        latitude=device.latitude,
        longitude=device.longitude,
    )


def proceed(state: State, random: np.random.Generator, now: datetime, minutes: float) -> tuple[WorkOrder, ...]:
    """Return the next step of each open order that takes one, the earliest first."""
    busy: set[Crew] = {order.assigned_crew for order in state.orders if order.status == "IN_PROGRESS"}
    crews = chance.crews(state.grid, "Field")
    worked: list[WorkOrder] = []
    for order in sorted(state.orders, key=lambda order: (order.scheduled_start, order.work_order_id)):
        after = _next(order, random, now, minutes, crews, busy)
        if after.status == "IN_PROGRESS":
            busy.add(after.assigned_crew)
        if after != order:
            worked.append(after)
    return tuple(worked)


def _next(
    order: WorkOrder, random: np.random.Generator, now: datetime, minutes: float, crews: list[str], busy: set[Crew]
) -> WorkOrder:
    if order.status == "IN_PROGRESS":
        return _ended(order, random, now, minutes)
    if order.status == "OPEN" and chance.likely(random, minutes, 480):
        return replace(order, status="SCHEDULED")
    if order.status == "SCHEDULED" and chance.likely(random, minutes, 40_000):
        return replace(order, status="CANCELLED")
    if order.status == "SCHEDULED" and order.scheduled_start - now < _DAY / 2 and chance.likely(random, minutes, 60):
        return replace(order, status="ASSIGNED", assigned_crew=chance.picked(crews, random))
    due = order.status == "ASSIGNED" and now >= order.scheduled_start and order.assigned_crew not in busy
    if due and chance.likely(random, minutes, 15):
        return replace(order, status="IN_PROGRESS", actual_start=now)
    return _put_off(order, now)


def _ended(order: WorkOrder, random: np.random.Generator, now: datetime, minutes: float) -> WorkOrder:
    started = order.actual_start or now
    planned = order.scheduled_end - order.scheduled_start
    if now - started >= planned * 0.7 and chance.likely(random, minutes, 30):
        return replace(order, status="COMPLETED", actual_start=started, actual_end=now)
    return order


def _put_off(order: WorkOrder, now: datetime) -> WorkOrder:
    """Return the order moved to the next day where it was not begun on its day."""
    if now - order.scheduled_start < _DAY:
        return order
    days = (now - order.scheduled_start).days * _DAY
    return replace(order, scheduled_start=order.scheduled_start + days, scheduled_end=order.scheduled_end + days)


def _working_hour(device: Device, random: np.random.Generator, now: datetime) -> datetime:
    """Between 7 and 14 o'clock by the sun, from tomorrow on to the tenth day."""
    day = (now + int(random.integers(1, 11)) * _DAY).replace(hour=0, minute=0, second=0, microsecond=0)
    by_the_sun = timedelta(minutes=round(-device.longitude * 4))
    return chance.quarter_hour(day + timedelta(hours=int(random.integers(7, 15))) + by_the_sun)
