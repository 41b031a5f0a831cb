"""A tick of the simulation through a real connection: read what is, take a step, write what changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from flux_assets.sample.simulation.day import advance
from flux_assets.sample.simulation.state import Changes, State
from flux_assets.sample.simulation.store import SourceTables

if TYPE_CHECKING:
    from snowflake.connector import SnowflakeConnection


@dataclass(frozen=True, kw_only=True)
class Ticked:
    """What a tick did, and how things stand after it. `now` is UTC, without a zone."""

    now: datetime
    begun: int
    restored: int
    cancelled: int
    open_outages: int
    customers_out: int
    orders_written: int
    orders_completed: int
    rows_changed: int
    storm: bool


def tick(
    connection: SnowflakeConnection,
    random: np.random.Generator,
    now: datetime,
    storm: bool = False,
    calm: bool = False,
) -> Ticked:
    """Take one step to `now` in the connection's schema, which `seeding.seed` has filled.

    The same tables, generator and time give the same changes, written in one transaction. A time before that of the
    last tick counts as that. Raises EmbeddedError when the schema was never filled.
    """
    store = SourceTables(connection)
    state, shape = store.read()
    changes = advance(state, random, _utc(now), storm=storm, calm=calm)
    store.write(changes, shape)
    return ticked(changes, changes.applied_to(state))


def ticked(changes: Changes, after: State) -> Ticked:
    """Return the summary of a step."""
    ended = [outage.status for outage in changes.changed]
    return Ticked(
        now=changes.clock.now,
        begun=len(changes.begun),
        restored=ended.count("RESTORED"),
        cancelled=ended.count("CANCELLED"),
        open_outages=len(after.outages),
        customers_out=sum(outage.customers_out for outage in after.outages),
        orders_written=len(changes.ordered),
        orders_completed=sum(order.status == "COMPLETED" for order in changes.worked),
        rows_changed=sum(
            map(len, (changes.begun, changes.changed, changes.ordered, changes.worked, changes.died, changes.revived))
        ),
        storm=changes.clock.storm_began is not None,
    )


def _utc(moment: datetime) -> datetime:
    """Without a zone, as the tables hold it, and to the second."""
    plain = moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)
    return plain.replace(microsecond=0)
