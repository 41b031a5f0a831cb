"""Incidents in PostgreSQL: table postgres_sync.incidents, and the lock that keeps two processes from sending twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from flux_assets.alerting.incident import Incident
from flux_assets.postgis import catalog
from flux_assets.postgis.bootstrap import prepare
from flux_assets.sqlfiles import script

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
