"""What is sent of incidents: once, in order, and again when it did not arrive."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal, Protocol

from flux_assets.alerting.incident import Incident, Kind, Observation, Policy, decide
from flux_assets.alerting.store import Mutes
from flux_assets.errors import AlertError

Event = Literal["opened", "changed", "reminder", "recovered"]
Send = Callable[[Event, Incident], None]
_SECONDS_OF_A_ROUND = 25.0
# A failed run is forgotten after a while without ever having been made good; that is no recovery.
RUNS_LOOKED_BACK = timedelta(days=7)


class IncidentStore(Protocol):
    """Where incidents are kept between rounds."""

    def exclusive(self) -> AbstractContextManager[bool]:
        """Hold the store for a round; yields False when another process has it."""

    def unclosed(self) -> list[Incident]:
        """Return the incidents of which something may still have to be sent, the oldest first."""

    def save(self, incident: Incident) -> Incident:
        """Keep it as it is now; a new one gets its number."""


@dataclass
class Delivery:
    """The outcome of a round."""

    incidents: list[Incident] = field(default_factory=list)
    sent: list[tuple[Event, Incident]] = field(default_factory=list)
    undelivered: AlertError | None = None
    busy: bool = False


def due(incident: Incident, mutes: Mutes, policy: Policy, now: datetime) -> Event | None:
    """Return the message that is due now. What is muted is not sent, and neither is its end."""
    if mutes.cover(incident.failing or incident.tables):
        return None
    if incident.resolved_at is not None:
        return None if _passes_in_silence(incident) else "recovered"
    if incident.told_at is None:
        return "opened" if now >= incident.not_before else None
    if incident.settled and incident.cause != incident.told_cause:
        return "changed"
    if policy.remind and now - incident.told_at >= policy.remind:
        return "reminder"
    return None


def run_round(  # noqa: PLR0913, PLR0917 - a round is where all of it comes together
    store: IncidentStore,
    observed: Iterable[Observation],
    watched: Collection[Kind],
    mutes: Callable[[], Mutes],
    policy: Policy,
    send: Send,
    now: datetime,
) -> Delivery:
    """Run one round. A message that does not arrive leaves its incident as it was, so the next round sends it."""
    with store.exclusive() as mine:
        if not mine:
            return Delivery(busy=True)
        before = {incident.id: incident for incident in store.unclosed()}
        delivery, muted = Delivery(), mutes()
        after = decide(list(before.values()), observed, watched, now)
        delivery.incidents = [
            store.save(each) if each.id is None or before[each.id] != each else each for each in after
        ]
        deadline = time.monotonic() + _SECONDS_OF_A_ROUND
        for place, incident in enumerate(delivery.incidents):
            event = due(incident, muted, policy, now)
            if event is None or (time.monotonic() < deadline and _sent(delivery, event, incident, send)):
                delivery.incidents[place] = _record(store, incident, event, now)
        return delivery


def _sent(delivery: Delivery, event: Event, incident: Incident, send: Send) -> bool:
    """Send a message; a receiver that cannot be reached at all is not tried again in this round."""
    if delivery.undelivered is not None and delivery.undelivered.unreachable:
        return False
    try:
        send(event, incident)
    except AlertError as error:
        delivery.undelivered = error
        return False
    delivery.sent.append((event, incident))
    return True


def _record(store: IncidentStore, incident: Incident, event: Event | None, now: datetime) -> Incident:
    noted = incident
    if event is not None:
        noted = replace(noted, told_at=now, told_cause=incident.cause)
    if incident.resolved_at is not None:
        noted = replace(noted, closed_at=now)
    return noted if noted == incident else store.save(noted)


def _passes_in_silence(incident: Incident) -> bool:
    """Return whether it was over before a message was due, or is only too old to be seen."""
    over = incident.resolved_at or incident.since
    forgotten = incident.kind == "run" and over - incident.since >= RUNS_LOOKED_BACK - timedelta(hours=1)
    return forgotten or (incident.told_at is None and over < incident.not_before)
