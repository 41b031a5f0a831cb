"""Incidents and mutes between two rounds: in PostgreSQL, and in a file under FLUX_HOME while that is unavailable."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from flux_assets.alerting.incident import Incident
from flux_assets.errors import AlertError
from flux_assets.postgis import catalog
from flux_assets.postgis.session import prepare
from flux_assets.sqlfiles import query, script

_LOCK = 0x616C6572  # "aler"
_FIELDS = tuple(Incident.__dataclass_fields__)[1:]


def make_ready(session: psycopg.Connection, schema: str) -> None:
    """Create our schemas and tables where they are missing; raises TargetError when the database is unusable."""
    hurry(session)
    prepare(session, schema)
    if not is_ready(session):
        with session.transaction():
            # Two first rounds at once would both create them.
            session.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
            session.execute(script("postgis/incidents.sql").encode())


def hurry(session: psycopg.Connection) -> None:
    """Limit the waits of a session: Dagster's daemon, or a cron job that the next one follows, runs the round."""
    session.execute("SET statement_timeout = '15s'; SET lock_timeout = '2s'")


def is_ready(session: psycopg.Connection) -> bool:
    """Return whether the tables exist."""
    return catalog.find(session, "postgres_sync", "alert_mutes") is not None


class IncidentTable:
    """The incidents of one schema's tables, through one session in autocommit."""

    def __init__(self, session: psycopg.Connection, schema: str) -> None:
        self._session = session
        self._schema = schema

    @contextmanager
    def exclusive(self) -> Iterator[bool]:
        lock = sql.SQL("{}, hashtext({})").format(sql.Literal(_LOCK), sql.Literal(self._schema))
        row = self._session.execute(sql.SQL("SELECT pg_try_advisory_lock({})").format(lock)).fetchone()
        mine = bool(row and row[0])
        try:
            yield mine
        finally:
            if mine and not self._session.broken:
                self._session.execute(sql.SQL("SELECT pg_advisory_unlock({})").format(lock))

    def unclosed(self) -> list[Incident]:
        """Return the open incidents; those that ended ninety days ago are pruned."""
        self._session.execute(
            "DELETE FROM postgres_sync.incidents WHERE schema_name = %s AND closed_at < now() - interval '90 days'",
            [self._schema],
        )
        return read(self._session, self._schema)

    def save(self, incident: Incident) -> Incident:
        values = asdict(incident) | {"tables": list(incident.tables), "failing": list(incident.failing)}
        names = sql.SQL(", ").join(map(sql.Identifier, _FIELDS))
        places = sql.SQL(", ").join(map(sql.Placeholder, _FIELDS))
        if incident.id is not None:
            change = sql.SQL("UPDATE postgres_sync.incidents SET ({}) = ROW ({}) WHERE id = %(id)s")
            self._session.execute(change.format(names, places), values)
            return incident
        insert = sql.SQL("INSERT INTO postgres_sync.incidents (schema_name, {}) VALUES (%(schema)s, {}) RETURNING id")
        row = self._session.execute(insert.format(names, places), {**values, "schema": self._schema}).fetchone()
        return replace(incident, id=row[0] if row else None)


def read(session: psycopg.Connection, schema: str) -> list[Incident]:
    """Return the incidents that are not closed, the oldest first."""
    names = sql.SQL(", ").join(map(sql.Identifier, ("id", *_FIELDS)))
    select = sql.SQL(
        "SELECT {} FROM postgres_sync.incidents WHERE schema_name = %s AND closed_at IS NULL ORDER BY id"
    ).format(names)
    with session.cursor(row_factory=class_row(Incident)) as cursor:
        found = cursor.execute(select, [schema]).fetchall()
    return [replace(each, tables=tuple(each.tables), failing=tuple(each.failing)) for each in found]


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


def mutes(session: psycopg.Connection, schema: str) -> Mutes:
    """Return the mutes that hold by the server's clock."""
    with session.cursor(row_factory=class_row(Mute)) as cursor:
        found = cursor.execute(query("muting", "mutes"), {"schema": schema}).fetchall()
    return Mutes(tuple(found))


def mute(session: psycopg.Connection, schema: str, tables: Sequence[str | None], span: timedelta) -> None:
    """Mute tables from now on for `span`, also where another span was set; None is everything."""
    session.execute(query("muting", "mute"), {"schema": schema, "span": span, "tables": list(tables)})


def unmute(session: psycopg.Connection, schema: str, tables: Sequence[str] = ()) -> int:
    """End the mutes of these tables, or all; returns how many held."""
    values = {"schema": schema, "all": not tables, "tables": list(tables)}
    ended = session.execute(query("muting", "unmute"), values).fetchall()
    return sum(held for (held,) in ended)


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
