"""Incidents while PostgreSQL is unavailable: in a file under FLUX_HOME, shared by the processes of the machine."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flux_assets.alerting.incident import Incident
from flux_assets.alerting.muting import Mute, Mutes
from flux_assets.errors import AlertError

_TIMES = ("since", "not_before", "told_at", "resolved_at")


class IncidentFile:
    """`alerts.json` in a folder: the incidents, and until when everything is muted."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "alerts.json"

    @contextmanager
    def exclusive(self) -> Iterator[bool]:
        with self._noting():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            lock = self._path.with_suffix(".lock").open("w")
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    def unclosed(self) -> list[Incident]:
        return [_incident(stored) for stored in self._content()["incidents"]]

    def save(self, incident: Incident) -> Incident:
        """Keep it; a closed one is removed. Numbers are negative, so that none of them is one of the table's."""
        content = self._content()
        stored = {_incident(each).id: each for each in content["incidents"]}
        if incident.id is None:
            incident = replace(incident, id=-int(incident.since.timestamp()))
        stored[incident.id] = _as_json(incident)
        if incident.closed_at is not None:
            del stored[incident.id]
        self._write(content | {"incidents": list(stored.values())})
        return incident

    def mutes(self) -> Mutes:
        """Return the mutes noted last, as long as they hold."""
        until = self._content()["muted_until"]
        ends_at = datetime.fromisoformat(until) if until else None
        now = datetime.now(UTC)
        return Mutes((Mute(None, now, ends_at, ""),)) if ends_at and ends_at > now else Mutes()

    def note_mutes(self, mutes: Mutes) -> None:
        """Note until when everything is muted: when PostgreSQL is unavailable it cannot be asked."""
        until = mutes.everything_until.isoformat() if mutes.everything_until else None
        content = self._content()
        if content["muted_until"] != until:
            self._write(content | {"muted_until": until})

    def _content(self) -> dict[str, Any]:
        empty: dict[str, Any] = {"incidents": [], "muted_until": None}
        try:
            return {**empty, **json.loads(self._path.read_text(encoding="utf-8"))}
        except (FileNotFoundError, ValueError):
            return empty

    def _write(self, content: dict[str, Any]) -> None:
        beside = self._path.with_suffix(".new")
        with self._noting():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_text(json.dumps(content, indent=2), encoding="utf-8")
            beside.replace(self._path)

    @contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise AlertError(
                f"Alerts of an unreachable database cannot be recorded in {self._path}: {error.strerror}.",
                "Set FLUX_HOME to a writable folder.",
            ) from error


def _as_json(incident: Incident) -> dict[str, Any]:
    return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in asdict(incident).items()}


def _incident(stored: dict[str, Any]) -> Incident:
    times = {name: datetime.fromisoformat(stored[name]) for name in _TIMES if stored[name]}
    return Incident(**{**stored, **times, "tables": tuple(stored["tables"]), "failing": tuple(stored["failing"])})
