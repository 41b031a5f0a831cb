"""Taking the name of a plain table that another sync left with other columns, with its rows and what hangs on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import psycopg
import sqlalchemy as sa
from psycopg import sql

from flux_assets.errors import SyncError
from flux_assets.postgis.catalog import Relation
from flux_assets.postgis.hanging import Hanging
from flux_assets.postgis.locking import LockRetries
from flux_assets.postgis.relations import VERSIONS, LiveTable, names, revoking_all, type_name
from flux_assets.postgis.session import run
from flux_assets.sqlfiles import query
from flux_assets.sync.derived_columns import NOW

_FORGET = "DELETE FROM postgres_sync.sync_state WHERE schema_name = {schema} AND layer_name = {name}"


@dataclass(frozen=True, kw_only=True)
class Takeover:
    """The plan for a plain table that gives way: its new name, its columns, and what becomes of what hangs on it."""

    live: LiveTable
    old_name: str
    columns: frozenset[str]
    hanging: Hanging

    @classmethod
    def planned(
        cls, connection: psycopg.Connection, live: LiveTable, oid: int, *, drop_foreign_keys: bool = False
    ) -> Takeover:
        """Ask what hangs on the table, and try for each thing whether the new one can have it. Changes nothing."""
        old_name, suffix = live.free_old_name(connection)
        found, there = Hanging.on(connection, oid, live.schema, suffix), Relation(connection, oid).columns()
        undeclared = [
            Hanging.Part("column", column.name, "stays", "it is not declared")
            for column in there
            if column.name not in live.table.column_names and not column.generated
        ]
        parts = [
            mine
            for part in found.parts
            for mine in (part.dropped if drop_foreign_keys and part.dropped else [_for_synced(part, live)])
        ]
        making = [_discarding(live), *_new(live).create()]
        hanging = replace(found, parts=(*undeclared, *parts)).tried(connection, making, VERSIONS)
        columns = frozenset(column.name for column in there)
        return cls(live=live, old_name=old_name, columns=columns, hanging=hanging)

    @property
    def outcomes(self) -> list[tuple[str, str, str]]:
        """What hangs on the table: kind, name and what becomes of it."""
        return list(self.hanging.outcomes(self.old_name))

    def refusal(self) -> SyncError | None:
        """Return why the table cannot be taken over, with all that stands in the way; None when nothing does."""
        refused = [each for each in self.outcomes if each[2].startswith("stands in the way")]
        if not refused:
            return None
        return SyncError(
            f"{self.live.title} cannot be taken over, and nothing was changed: {Hanging.listed(refused)}.",
            "Do what the brackets say, or drop what nobody needs, and run it again.",
        )

    def carry_out(self, connection: psycopg.Connection, patience: LockRetries) -> None:
        """Replace the table by one that has its rows, in the declared columns. Raises SyncError when that cannot be."""
        if refusal := self.refusal():
            raise refusal
        live, new = self.live, _new(self.live)
        self._make(connection)
        lock = sql.SQL("LOCK TABLE ONLY {} IN ACCESS EXCLUSIVE MODE").format(live.public)
        forgetting = sql.SQL(_FORGET).format(schema=live.schema, name=live.name)
        swapping = LockRetries.swap(connection, [*self.hanging.in_phase("lock"), lock], list(self._swapping()))
        waiting_for, doing = self.hanging.locked, f"taking over {live.title}"
        try:
            patience.briefly(connection, lambda: [forgetting, *swapping], waiting_for=waiting_for, doing=doing)
        except psycopg.Error as error:
            raise Hanging.changed(error, live.title) or error from error
        finally:
            if not (connection.closed or connection.broken) and Relation.find(connection, VERSIONS, new.name):
                connection.execute(_discarding(live))
        patience.log(f"{live.title} took the place of a plain table, which is {self.old_name} now")
        if self.outcomes:
            patience.log(f"{live.title}: {Hanging.listed(self.outcomes)}")

    def _make(self, connection: psycopg.Connection) -> None:
        """Make the new table with the rows of the old, frozen: a reader with an older snapshot sees them too."""
        new, old = _new(self.live).public, sql.SQL("ONLY {}").format(self.live.public)
        values = sql.SQL(", ").join(self._value(column) for column in self.live.table.columns)
        copying = sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT (FORMAT binary)").format(values, old)
        with connection.cursor().copy(copying) as copy:
            rows = b"".join(map(bytes, copy))
        changes = [sql.SQL("ALTER TABLE {} {}").format(new, each) for each in self.hanging.in_phase("column")]
        columns = names(self.live.table.column_names)
        filling = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary, FREEZE)").format(new, columns)
        with connection.transaction():
            run(connection, [_discarding(self.live), *_new(self.live).create(), *changes])
            with connection.cursor().copy(filling) as copy:
                copy.write(rows)
        path = Hanging.using((VERSIONS, *self.hanging.path))
        for statement in self.hanging.in_phase("made"):
            run(connection, [path, statement])
        named = {"schema": self.live.schema, "name": self.live.name}
        run(connection, [query("takeover", "free_index_names").format(**named), sql.SQL("ANALYZE {}").format(new)])

    def _value(self, column: sa.Column[object]) -> sql.Composable:
        name, kind = sql.Identifier(column.name), sql.SQL(type_name(column))
        if column.name in self.columns:
            # A cast to a shorter text would cut it; COPY refuses one that is too long.
            return sql.SQL("{}::{}").format(name, sql.SQL("text") if isinstance(column.type, sa.String) else kind)
        if column.name in self.live.table.bookkeeping:
            return NOW
        return sql.SQL("NULL::{}").format(kind)

    def _swapping(self) -> Iterator[sql.Composable]:
        live = self.live
        yield Hanging.using(self.hanging.path)
        yield self.hanging.unchanged
        yield from self.hanging.in_phase("before", "dropped")
        yield sql.SQL("ALTER TABLE {} RENAME TO {}").format(live.public, sql.Identifier(self.old_name))
        yield sql.SQL("ALTER TABLE {} SET SCHEMA {}").format(_new(live).public, sql.Identifier(live.schema))
        yield revoking_all(live.public)
        yield from self.hanging.in_phase("after", "last")


def _discarding(live: LiveTable) -> sql.Composed:
    return query("takeover", "discard").format(name=live.name)


def _new(live: LiveTable) -> LiveTable:
    return replace(live, schema=VERSIONS)


def _for_synced(part: Hanging.Part, live: LiveTable) -> Hanging.Part:
    """Return what is done with a part that a synced table does not have by itself."""
    part = part.beside(live.table)
    match part.kind:
        case "index" if part.other and part.phase == "stays":
            # Layers cannot have it; a plain table can.
            unique, gist, body = part.other.partition("gist")
            making = f"CREATE INDEX ON {sql.Identifier(live.name).as_string()} USING {gist}{body}"
            return replace(part, phase="made", statement=making, trial="") if unique == "false" else part
        case "setting" if part.phase == "setting" and part.name.startswith("fillfactor"):
            return part.leaving("the sync has its own")
        case "setting" if part.phase == "setting":
            return replace(part, phase="made", trial="")
    return part
