"""Incidents in words: the message that a person reads, and the JSON that carries it, our own or Slack's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from flux_assets.alerting.delivery import Event
from flux_assets.alerting.incident import ABOUT, About, Incident

_Form = Literal["json", "slack"]
_SIGNS: dict[Event, str] = {
    "opened": ":red_circle:",
    "changed": ":red_circle:",
    "reminder": ":hourglass:",
    "recovered": ":large_green_circle:",
}
_WHOLE = {
    "schedule": "Syncs are not started",
    "daemon": "Dagster's daemon is dead",
    "dagster": "Dagster cannot be used",
    "target": "PostGIS cannot be used",
}
_DOES_NOT = {
    "sync": "cannot be synced",
    "load": "could not be loaded",
    "layer": "is not what was published",
    "check": "fails a check",
    "late": "is late",
}
_DO_NOT = {
    "sync": "cannot be synced",
    "load": "could not be loaded",
    "layer": "are not what was published",
    "check": "fail a check",
    "late": "are late",
}
_ABOUT: dict[About, str] = {
    "attempt": "About: the last attempt; published data is unchanged",
    "published": "About: published data",
}


@dataclass(frozen=True, kw_only=True)
class Letterhead:
    """What every message of a deployment says: the schema, and where Dagster's UI is, if anywhere."""

    schema: str
    ui_url: str | None = None

    def run_url(self, run_id: str | None) -> str | None:
        """Return the address of the run in the UI."""
        return f"{self.ui_url.rstrip('/')}/runs/{run_id}" if self.ui_url and run_id else None


def payload(event: Event, incident: Incident, letterhead: Letterhead, form: _Form, now: datetime) -> dict[str, Any]:
    """Return the message as JSON."""
    if form == "slack":
        return _slack(event, incident, letterhead, now)
    over = incident.resolved_at
    return {
        "source": "flux_assets",
        "event": event,
        "incident": incident.id,
        "kind": incident.kind,
        "about": ABOUT[incident.kind],
        "schema": letterhead.schema,
        "title": title(event, incident),
        "problem": incident.problem,
        "remedy": incident.remedy,
        "tables": list(incident.tables),
        "failing": [] if over else list(incident.failing),
        "since": incident.since.isoformat(),
        "until": over.isoformat() if over else None,
        "lasted_seconds": round(((over or now) - incident.since).total_seconds()),
        "failures": incident.ticks,
        "run_id": incident.run_id,
        "run_url": letterhead.run_url(incident.run_id),
        "text": text(event, incident, letterhead, now),
    }


def title(event: Event, incident: Incident) -> str:
    """Return one line: what is wrong with which tables, or that it is over."""
    if event == "recovered":
        return f"Recovered: {_subject(incident, incident.tables)}"
    begin = {"reminder": "Still: ", "changed": "For another reason: "}.get(event, "")
    return f"{begin}{_subject(incident, incident.failing)}"


def text(event: Event, incident: Incident, letterhead: Letterhead, now: datetime) -> str:
    """Return the whole message as plain text, a fact a line."""
    return "\n".join([title(event, incident), *_lines(event, incident, letterhead, now)])


def length(span: timedelta) -> str:
    """Return a span as people say it, in its two largest units: `2 d 3 h`, `25 min`, `40 s`."""
    left = round(span.total_seconds())
    parts: list[str] = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if left >= size and len(parts) < 2 and (unit != "s" or not parts):
            parts.append(f"{left // size} {unit}")
        left %= size
    return " ".join(parts) or "0 s"


def _subject(incident: Incident, tables: Sequence[str]) -> str:
    if incident.kind in _WHOLE:
        return _WHOLE[incident.kind]
    if incident.kind == "run":
        return f"a run of {incident.cause} failed"
    if len(tables) == 1:
        return f"{tables[0]} {_DOES_NOT[incident.kind]}"
    return f"{len(tables)} tables {_DO_NOT[incident.kind]}"


def _lines(event: Event, incident: Incident, letterhead: Letterhead, now: datetime) -> list[str]:
    over = incident.resolved_at
    since = f"{incident.since:%Y-%m-%d %H:%M} UTC"
    failed = f", {incident.ticks} failures in a row" if incident.ticks > 1 else ""
    lines = [f"It was: {incident.problem}" if over else incident.problem]
    if incident.remedy and not over:
        lines.append(f"To do: {incident.remedy}")
    if not over and (about := _ABOUT.get(ABOUT[incident.kind])):
        lines.append(about)
    if tables := incident.tables if over else incident.failing:
        lines.append(f"Tables: {', '.join(tables)} (schema {letterhead.schema})")
    if over:
        lines.append(f"It lasted {length(over - incident.since)}, since {since}{failed}")
    else:
        lines.append(f"Since: {since}, for {length(now - incident.since)}{failed}")
    if event != "recovered" and incident.run_id:
        lines.append(f"Run: {letterhead.run_url(incident.run_id) or incident.run_id}")
    return lines


def _slack(event: Event, incident: Incident, letterhead: Letterhead, now: datetime) -> dict[str, Any]:
    """Return Slack's blocks; `text` is what notifications show."""
    head = f"{_SIGNS[event]} *{_escaped(title(event, incident))}*"
    body = "\n".join(_escaped(line) for line in _lines(event, incident, letterhead, now))
    return {
        "text": _escaped(title(event, incident)),
        "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": f"{head}\n{body}"[:2900]}}],
    }


def _escaped(line: str) -> str:
    """Escape the line: otherwise `<!channel>` in an error's text would call everybody."""
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
