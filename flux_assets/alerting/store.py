"""Incidents and mutes between two rounds: in PostgreSQL, and in a file under FLUX_HOME while that is unavailable."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import class_row, dict_row
from pydantic import TypeAdapter

from flux_assets.alerting.incident import Incident
from flux_assets.errors import AlertError
from flux_assets.postgis.catalog import Relation
from flux_assets.postgis.session import prepare
from flux_assets.sqlfiles import query, script

_LOCK = 0x616C6572  # "aler"
_FIELDS = [field.name for field in fields(Incident) if field.name != "id"]
_STORED = TypeAdapter(list[Incident])


@dataclass(frozen=True)
class Mute:
    """Nothing is sent about a table until `ends_at`; without a table, about nothing at all."""

    layer_name: str | None
    begun_at: datetime
    ends_at: datetime
    begun_by: str


@dataclass(frozen=True)
class Mutes:
    """The mutes that hold now."""

    all: tuple[Mute, ...] = ()

    @property
    def everything_until(self) -> datetime | None:
        """Return until when nothing at all is sent; None when something is."""
        return max((mute.ends_at for mute in self.all if mute.layer_name is None), default=None)

    def cover(self, tables: Collection[str]) -> bool:
        """Return whether nothing is to be sent about these tables: only when every one of them is muted."""
        muted = {mute.layer_name for mute in self.all}
        return None in muted or (bool(tables) and muted.issuperset(tables))


class AlertTables:
    """Incidents and mutes of one schema's tables, in postgres_sync, through a session in autocommit.

    It limits the waits of that session: Dagster's daemon, or a cron job that the next one follows, runs the round.
    """

    def __init__(self, session: psycopg.Connection, schema: str) -> None:
        self._session = session
        self._schema = {"schema": schema}
        session.execute("SET statement_timeout = '15s'; SET lock_timeout = '2s'")

    @property
    def exist(self) -> bool:
        return Relation.find(self._session, "postgres_sync", "alert_mutes") is not None

    def create(self) -> None:
        """Create our schemas and tables where they are missing; raises TargetError when the database is unusable."""
        prepare(self._session, self._schema["schema"])
        if not self.exist:
            with self._session.transaction():
                # Two first rounds at once would both create them.
                self._session.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
                self._session.execute(script("postgis/incidents.sql").encode())

    @contextmanager
    def exclusive(self) -> Iterator[bool]:
        """Hold the store for a round; yields False when another process has it."""
        key = [_LOCK, self._schema["schema"]]
        row = self._session.execute("SELECT pg_try_advisory_lock(%s, hashtext(%s))", key).fetchone()
        mine = bool(row and row[0])
        try:
            yield mine
        finally:
            if mine and not self._session.broken:
                self._session.execute("SELECT pg_advisory_unlock(%s, hashtext(%s))", key)

    def unclosed(self) -> list[Incident]:
        """Return the incidents of which something may still have to be sent, the oldest first; prune very old ones."""
        self._session.execute(query("alerts", "prune"), self._schema)
        with self._session.cursor(row_factory=dict_row) as cursor:
            found = cursor.execute(query("alerts", "unclosed"), self._schema).fetchall()
        return _STORED.validate_python(found)

    def save(self, incident: Incident) -> Incident:
        """Keep it as it is now; a new one gets its number."""
        values = asdict(incident) | {"tables": list(incident.tables), "failing": list(incident.failing)} | self._schema
        names = sql.SQL(", ").join(map(sql.Identifier, _FIELDS))
        places = sql.SQL(", ").join(map(sql.Placeholder, _FIELDS))
        statement = query("alerts", "add" if incident.id is None else "change").format(names=names, values=places)
        row = self._session.execute(statement, values).fetchone()
        return replace(incident, id=row[0] if row else incident.id)

    def mutes(self) -> Mutes:
        """Return the mutes that hold by the server's clock."""
        with self._session.cursor(row_factory=class_row(Mute)) as cursor:
            return Mutes(tuple(cursor.execute(query("alerts", "mutes"), self._schema)))

    def mute(self, tables: Sequence[str], span: timedelta) -> None:
        """Mute these tables, or everything, from now on for `span`, also where another span was set."""
        values = {**self._schema, "span": span, "tables": [*tables] if tables else [None]}
        self._session.execute(query("alerts", "mute"), values)

    def unmute(self, tables: Sequence[str]) -> int:
        """End the mutes of these tables, or all; returns how many held."""
        values = {**self._schema, "all": not tables, "tables": list(tables)}
        return sum(held for (held,) in self._session.execute(query("alerts", "unmute"), values))


class AlertFile:
    """`alerts.json` in a folder: incidents, and until when everything is muted; for all processes of the machine."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "alerts.json"

    @contextmanager
    def exclusive(self) -> Iterator[bool]:
        """Hold the file for a round; yields False when another process has it."""
        with self._noting():
            lock = self._path.with_suffix(".lock").open("w")
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    def unclosed(self) -> list[Incident]:
        return _STORED.validate_python(self._content()["incidents"])

    def save(self, incident: Incident) -> Incident:
        """Keep it; a closed one is removed. Numbers are negative, so that none of them is one of the table's."""
        if incident.id is None:
            incident = replace(incident, id=-int(incident.since.timestamp()))
        content = self._content()
        stored = {each["id"]: each for each in content["incidents"]} | {incident.id: asdict(incident)}
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
            beside.write_text(json.dumps(content, indent=2, default=lambda time: time.isoformat()), encoding="utf-8")
            beside.replace(self._path)

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Run the block with the folder made; raises AlertError when that, or the block, cannot write."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            yield
        except OSError as error:
            raise AlertError(
                f"Alerts of an unreachable database cannot be recorded in {self._path}: {error.strerror}.",
                "Set FLUX_HOME to a writable folder.",
            ) from error
