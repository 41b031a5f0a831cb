"""What a tick begins with and what it changes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from flux_assets.sample.simulation.grid import Grid
from flux_assets.sample.simulation.records import Outage, WorkOrder


@dataclass(frozen=True, kw_only=True)
class Clock:
    """What the simulation remembers beside the tables: time, numbers given out, and the storm that is on."""

    now: datetime
    seed: int
    ticks: int = 0
    outages: int = 0
    orders: int = 0
    storm_began: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class State:
    """All that is open; `dead` are the circuits that the source shows as de-energized."""

    grid: Grid
    clock: Clock
    outages: tuple[Outage, ...]
    orders: tuple[WorkOrder, ...]
    dead: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Changes:
    """Rows to add, rows to change, and the state as it is then."""

    clock: Clock
    begun: tuple[Outage, ...] = ()
    changed: tuple[Outage, ...] = ()
    ordered: tuple[WorkOrder, ...] = ()
    worked: tuple[WorkOrder, ...] = ()
    died: tuple[str, ...] = ()
    revived: tuple[str, ...] = ()

    def applied_to(self, state: State) -> State:
        """Return the state that the next tick begins with."""
        outages = {row.outage_id: row for row in (*state.outages, *self.changed, *self.begun)}
        orders = {row.work_order_id: row for row in (*state.orders, *self.worked, *self.ordered)}
        return State(
            grid=state.grid,
            clock=self.clock,
            outages=tuple(row for row in outages.values() if row.is_open),
            orders=tuple(row for row in orders.values() if row.is_open),
            dead=(state.dead | set(self.died)) - set(self.revived),
        )
