"""What is sent of incidents: once, in order, again when it did not arrive; and in which words."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar, Literal

from flux_assets.alerting.incident import Event, Incident, Observed, Policy, decide
from flux_assets.alerting.store import AlertFile, AlertTables, Mutes
from flux_assets.errors import AlertError

_Send = Callable[[Event, Incident], None]
_SECONDS_OF_A_ROUND = 25.0
_SIGNS: dict[Event, str] = {
    "opened": ":red_circle:",
    "changed": ":red_circle:",
    "reminder": ":hourglass:",
    "recovered": ":large_green_circle:",
}
_ABOUT = {
    "attempt": ["About: the last attempt; published data is unchanged"],
    "published": ["About: published data"],
    "service": [],
}


@dataclass
class Delivery:
    """The outcome of a round."""

    # A failed run is forgotten after a while without ever having been made good; that is no recovery.
    RUNS_LOOKED_BACK: ClassVar[timedelta] = timedelta(days=7)

    incidents: list[Incident] = field(default_factory=list)
    sent: list[tuple[Event, Incident]] = field(default_factory=list)
    undelivered: AlertError | None = None
    busy: bool = False


def run_round(store: AlertTables | AlertFile, observed: Observed, policy: Policy, send: _Send) -> Delivery:
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
    forgotten = incident.kind == "run" and over - incident.since >= Delivery.RUNS_LOOKED_BACK - timedelta(hours=1)
    return forgotten or (incident.told_at is None and over < incident.not_before)


def _sent(delivery: Delivery, event: Event, incident: Incident, send: _Send) -> bool:
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


@dataclass(frozen=True, kw_only=True)
class Letterhead:
    """What all messages of a deployment share: utility, schema, where Dagster's UI is, if anywhere, receiver's form."""

    utility: str | None = None
    schema: str
    ui_url: str | None = None
    form: Literal["json", "slack"] = "json"

    def payload(self, event: Event, incident: Incident, now: datetime) -> dict[str, Any]:
        """Return the message as JSON."""
        lines, over = self._lines(event, incident, now), incident.resolved_at
        title = f"{self.utility}: {incident.title(event)}" if self.utility else incident.title(event)
        if self.form == "slack":
            return _slack(event, title, lines)
        return {
            "source": "flux_assets",
            **({"utility": self.utility} if self.utility else {}),
            "event": event,
            "incident": incident.id,
            "kind": incident.kind,
            "about": incident.about,
            "schema": self.schema,
            "title": title,
            "problem": incident.problem,
            "remedy": incident.remedy,
            "tables": list(incident.tables),
            "failing": [] if over else list(incident.failing),
            "since": incident.since.isoformat(),
            "until": over.isoformat() if over else None,
            "lasted_seconds": round(((over or now) - incident.since).total_seconds()),
            "failures": incident.ticks,
            "run_id": incident.run_id,
            "run_url": self._run_url(incident.run_id),
            "text": "\n".join([title, *lines]),
        }

    def _run_url(self, run_id: str | None) -> str | None:
        return f"{self.ui_url.rstrip('/')}/runs/{run_id}" if self.ui_url and run_id else None

    def _lines(self, event: Event, incident: Incident, now: datetime) -> list[str]:
        """Return what follows the title, a fact a line."""
        over = incident.resolved_at
        since = f"{incident.since:%Y-%m-%d %H:%M} UTC"
        failed = f", {incident.ticks} failures in a row" if incident.ticks > 1 else ""
        tables = incident.tables if over else incident.failing
        where = [f"Tables: {', '.join(tables)} (schema {self.schema})"] if tables else []
        if over:
            lasted = f"It lasted {length(over - incident.since)}, since {since}{failed}"
            lines = [f"It was: {incident.problem}", *where, lasted]
        else:
            remedy = [f"To do: {incident.remedy}"] if incident.remedy else []
            lasts = f"Since: {since}, for {length(now - incident.since)}{failed}"
            lines = [incident.problem, *remedy, *_ABOUT[incident.about], *where, lasts]
        if event != "recovered" and incident.run_id:
            lines.append(f"Run: {self._run_url(incident.run_id) or incident.run_id}")
        return lines


def length(span: timedelta) -> str:
    """Return a span as people say it, in its two largest units: `2 d 3 h`, `25 min`, `40 s`."""
    left = round(span.total_seconds())
    parts: list[str] = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if left >= size and len(parts) < 2 and (unit != "s" or not parts):
            parts.append(f"{left // size} {unit}")
        left %= size
    return " ".join(parts) or "0 s"


def _slack(event: Event, title: str, lines: list[str]) -> dict[str, Any]:
    """Return Slack's blocks; `text` is what notifications show."""
    # Unescaped, `<!channel>` in an error's text would call everybody.
    head, *body = (line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") for line in (title, *lines))
    shown = "\n".join([f"{_SIGNS[event]} *{head}*", *body])
    return {"text": head, "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": shown[:2900]}}]}
