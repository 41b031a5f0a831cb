"""One step of a utility's day: a pure function of what is, of chance and of the time."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np

from flux_assets.sample.simulation import orders, outages
from flux_assets.sample.simulation.records import Outage
from flux_assets.sample.simulation.state import Changes, Clock, State
from flux_assets.sample.simulation.storm import LONGEST

_LONGEST_STEP = timedelta(hours=6)


def advance(
    state: State, random: np.random.Generator, now: datetime, *, storm: bool = False, calm: bool = False
) -> Changes:
    """Return what happens between the state's time and `now` (UTC, without a zone).

    With `storm` a storm begins, unless one is on; it goes on through later steps until `calm` or for 12 hours.
    With `calm` it ends, and all that it broke is restored at once. A gap of more than six hours counts as six.
    """
    now = max(now, state.clock.now)
    minutes = min(now - state.clock.now, _LONGEST_STEP).total_seconds() / 60
    began = _storm_at(state.clock, now, storm=storm)
    begun = outages.begin(state, random, now, minutes, began)
    changed = outages.proceed(state, random, now, minutes, calm_since=began if calm else None)
    ordered = orders.begin(state, random, now, minutes)
    worked = orders.proceed(state, random, now, minutes)
    dead = _dead(state, begun, changed)
    return Changes(
        clock=replace(
            state.clock,
            now=now,
            ticks=state.clock.ticks + 1,
            outages=state.clock.outages + len(begun),
            orders=state.clock.orders + len(ordered),
            storm_began=None if calm else began,
        ),
        begun=begun,
        changed=changed,
        ordered=ordered,
        worked=worked,
        died=tuple(sorted(dead - state.dead)),
        revived=tuple(sorted(state.dead - dead)),
    )


def _storm_at(clock: Clock, now: datetime, *, storm: bool) -> datetime | None:
    if clock.storm_began is not None and now - clock.storm_began < LONGEST:
        return clock.storm_began
    return now if storm else None


def _dead(state: State, begun: tuple[Outage, ...], changed: tuple[Outage, ...]) -> set[str]:
    """Circuits of which one outage holds every customer."""
    rows = {row.outage_id: row for row in (*state.outages, *changed, *begun)}.values()
    served = state.grid.customers
    return {row.circuit_id for row in rows if row.is_open and row.customers_out >= served.get(row.circuit_id, 0) > 0}
