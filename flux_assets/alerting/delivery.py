"""What is sent of incidents: once, in order, and again when it did not arrive."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

from flux_assets.alerting.incident import Incident, Observed, Policy, decide
from flux_assets.alerting.store import AlertFile, AlertTables, Mutes
from flux_assets.errors import AlertError

Event = Literal["opened", "changed", "reminder", "recovered"]
Send = Callable[[Event, Incident], None]
_SECONDS_OF_A_ROUND = 25.0
# A failed run is forgotten after a while without ever having been made good; that is no recovery.
RUNS_LOOKED_BACK = timedelta(days=7)


@dataclass
class Delivery:
    """The outcome of a round."""

    incidents: list[Incident] = field(default_factory=list)
    sent: list[tuple[Event, Incident]] = field(default_factory=list)
    undelivered: AlertError | None = None
    busy: bool = False


def run_round(store: AlertTables | AlertFile, observed: Observed, policy: Policy, send: Send) -> Delivery:
    """Run one round. A message that does not arrive leaves its incident as it was, so the next round sends it."""
    with store.exclusive() as mine:
        if not mine:
            return Delivery(busy=True)
        before = {incident.id: incident for incident in store.unclosed()}
        muted, now = store.mutes(), observed.now
        after = decide(list(before.values()), observed)
        delivery = Delivery([store.save(each) if before.get(each.id) != each else each for each in after])
        deadline = time.monotonic() + _SECONDS_OF_A_ROUND
        for place, incident in enumerate(delivery.incidents):
            event = _due(incident, muted, policy, now)
            if event is None or (time.monotonic() < deadline and _sent(delivery, event, incident, send)):
                noted = replace(incident, told_at=now, told_cause=incident.cause) if event else incident
                if incident.resolved_at is not None:
                    noted = replace(noted, closed_at=now)
                delivery.incidents[place] = noted if noted == incident else store.save(noted)
        return delivery


def _due(incident: Incident, mutes: Mutes, policy: Policy, now: datetime) -> Event | None:
    """Return the message that is due now. What is muted is not sent, and neither is its end."""
    if mutes.cover(incident.failing or incident.tables):
        return None
    if incident.resolved_at is not None:
        return None if _passes_in_silence(incident, incident.resolved_at) else "recovered"
    if incident.told_at is None:
        return "opened" if now >= incident.not_before else None
    if incident.settled and incident.cause != incident.told_cause:
        return "changed"
    return "reminder" if policy.remind and now - incident.told_at >= policy.remind else None


def _passes_in_silence(incident: Incident, over: datetime) -> bool:
    """Return whether it was over before a message was due, or is only too old to be seen."""
    forgotten = incident.kind == "run" and over - incident.since >= RUNS_LOOKED_BACK - timedelta(hours=1)
    return forgotten or (incident.told_at is None and over < incident.not_before)


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
