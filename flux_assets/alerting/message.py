"""Incidents in words: the message that a person reads, and the JSON that carries it, our own or Slack's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from flux_assets.alerting.delivery import Event
from flux_assets.alerting.incident import Incident, Kind

_SIGNS: dict[Event, str] = {
    "opened": ":red_circle:",
    "changed": ":red_circle:",
    "reminder": ":hourglass:",
    "recovered": ":large_green_circle:",
}
_BEGINS: dict[Event, str] = {"opened": "", "changed": "For another reason: ", "reminder": "Still: "}
_WHOLE: dict[Kind, str] = {
    "schedule": "Syncs are not started",
    "daemon": "Dagster's daemon is dead",
    "dagster": "Dagster cannot be used",
    "target": "PostGIS cannot be used",
}
# What is wrong with one table, and with several.
_OF_TABLES: dict[Kind, tuple[str, str]] = {
    "sync": ("cannot be synced", "cannot be synced"),
    "load": ("could not be loaded", "could not be loaded"),
    "layer": ("is not what was published", "are not what was published"),
    "check": ("fails a check", "fail a check"),
    "late": ("is late", "are late"),
}
_ABOUT = {
    "attempt": ["About: the last attempt; published data is unchanged"],
    "published": ["About: published data"],
    "service": [],
}


@dataclass(frozen=True, kw_only=True)
class Letterhead:
    """What all messages of a deployment share: the schema, where Dagster's UI is, if anywhere, the receiver's form."""

    schema: str
    ui_url: str | None = None
    form: Literal["json", "slack"] = "json"

    def payload(self, event: Event, incident: Incident, now: datetime) -> dict[str, Any]:
        """Return the message as JSON."""
        lines, over = self._lines(event, incident, now), incident.resolved_at
        if self.form == "slack":
            return _slack(event, incident, lines)
        return {
            "source": "flux_assets",
            "event": event,
            "incident": incident.id,
            "kind": incident.kind,
            "about": incident.about,
            "schema": self.schema,
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
            "run_url": self._run_url(incident.run_id),
            "text": "\n".join([title(event, incident), *lines]),
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


def title(event: Event, incident: Incident) -> str:
    """Return one line: what is wrong with which tables, or that it is over."""
    if event == "recovered":
        return f"Recovered: {_subject(incident, incident.tables)}"
    return f"{_BEGINS[event]}{_subject(incident, incident.failing)}"


def length(span: timedelta) -> str:
    """Return a span as people say it, in its two largest units: `2 d 3 h`, `25 min`, `40 s`."""
    left = round(span.total_seconds())
    parts: list[str] = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if left >= size and len(parts) < 2 and (unit != "s" or not parts):
            parts.append(f"{left // size} {unit}")
        left %= size
    return " ".join(parts) or "0 s"


def _subject(incident: Incident, tables: tuple[str, ...]) -> str:
    if incident.kind in _WHOLE:
        return _WHOLE[incident.kind]
    if incident.kind == "run":
        return f"a run of {incident.cause} failed"
    one, several = _OF_TABLES[incident.kind]
    return f"{tables[0]} {one}" if len(tables) == 1 else f"{len(tables)} tables {several}"


def _slack(event: Event, incident: Incident, lines: list[str]) -> dict[str, Any]:
    """Return Slack's blocks; `text` is what notifications show."""
    # Unescaped, `<!channel>` in an error's text would call everybody.
    head, *body = (
        line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        for line in (title(event, incident), *lines)
    )
    shown = "\n".join([f"{_SIGNS[event]} *{head}*", *body])
    return {"text": head, "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": shown[:2900]}}]}
