"""The past that a new source has: a week of outages, a month of work orders, and what is open now."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np

from flux_assets.sample.simulation import chance, orders, outages
from flux_assets.sample.simulation.grid import Grid
from flux_assets.sample.simulation.records import Outage, WorkOrder

# A day more than the map shows, so that some have left its window already.
_OUTAGE_DAYS, _ORDER_DAYS = 8, 32
# Few outages of days ago are still open.
_FORGOTTEN = 0.01


def past_outages(grid: Grid, random: np.random.Generator, now: datetime) -> list[Outage]:
    """Outages that began within eight days before `now`, most of them restored; numbered from 1 by their beginning."""
    count = round(chance.OUTAGES_PER_CIRCUIT_AND_HOUR * grid.size * 24 * _OUTAGE_DAYS) or 1
    starts = sorted((random.random(count) * _OUTAGE_DAYS * 86_400).astype(int).tolist())
    begun = now.replace(microsecond=0) - timedelta(days=_OUTAGE_DAYS)
    out: dict[str, int] = {}
    found = []
    for number, second in enumerate(starts, 1):
        device = chance.picked(grid.devices, random)
        room = device.circuit_customers - out.get(device.circuit_id, 0)
        outage = outages.new_outage(number, device, random, begun + timedelta(seconds=second), max(1, room))
        outage = _since(outage, grid, random, now)
        if outage.is_open:
            # An open one that would put more customers out than there are is none.
            if room <= 0:
                outage = replace(
                    outage,
                    status="CANCELLED",
                    actual_restoration=now,
                    crew_assigned=None,
                    customers_restored=outage.customers_affected,
                )
            out[device.circuit_id] = out.get(device.circuit_id, 0) + outage.customers_out
        found.append(outage)
    return found


def past_orders(grid: Grid, random: np.random.Generator, now: datetime) -> list[WorkOrder]:
    """Orders scheduled from a month before `now` to ten days after, in every state; numbered from 1."""
    count = round(chance.ORDERS_PER_CIRCUIT_AND_DAY * grid.size * (_ORDER_DAYS + 10)) or 1
    written = sorted(random.uniform(-_ORDER_DAYS - 5, 0, count).tolist())
    return [
        _worked(
            orders.new_order(number, chance.picked(grid.devices, random), random, now + timedelta(days=days)),
            grid,
            random,
            now,
        )
        for number, days in enumerate(written, 1)
    ]


def _since(outage: Outage, grid: Grid, random: np.random.Generator, now: datetime) -> Outage:
    """Return what became of an outage until now."""
    age = now - outage.start_time
    took = max(chance.duration(random), timedelta(minutes=10))
    crew = chance.picked(chance.crews(grid, "Line"), random)
    if took < age and random.random() >= _FORGOTTEN:
        return replace(
            outage,
            status="CANCELLED" if random.random() < 0.02 else "RESTORED",
            crew_assigned=crew,
            customers_restored=outage.customers_affected,
            actual_restoration=outage.start_time + took,
        )
    if age < timedelta(minutes=15):
        return outage
    later = chance.quarter_hour(max(outage.start_time + took, now) + timedelta(minutes=30))
    status = chance.picked(("ACTIVE", "ASSIGNED", "IN_PROGRESS"), random, (1, 1, 3))
    return replace(
        outage,
        status=status,
        crew_assigned=None if status == "ACTIVE" else crew,
        customers_restored=outage.customers_affected // 3 if status == "IN_PROGRESS" else 0,
        estimated_restoration=later,
    )


def _worked(order: WorkOrder, grid: Grid, random: np.random.Generator, now: datetime) -> WorkOrder:
    """Return what became of an order until now."""
    crew = chance.picked(chance.crews(grid, "Field"), random)
    if random.random() < 0.04:
        return replace(order, status="CANCELLED")
    start = order.scheduled_start + timedelta(minutes=int(random.integers(0, 50)))
    end = start + (order.scheduled_end - order.scheduled_start) * float(random.uniform(0.7, 1.2))
    end = end.replace(microsecond=0)
    if end < now:
        return replace(order, status="COMPLETED", assigned_crew=crew, actual_start=start, actual_end=end)
    if start < now:
        return replace(order, status="IN_PROGRESS", assigned_crew=crew, actual_start=start)
    if order.scheduled_start - now < timedelta(days=1):
        return replace(order, status="ASSIGNED", assigned_crew=crew)
    return order
