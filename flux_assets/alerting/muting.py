"""Mutes: tables about which nothing is sent for a while, kept in PostgreSQL for the sensor and the watchdog."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import psycopg
from psycopg.rows import class_row

from flux_assets.sqlfiles import query


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
