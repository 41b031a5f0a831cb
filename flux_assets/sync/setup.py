"""The tables' set-up: create what is missing, add missing columns and indexes, refuse what only users can decide."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

import psycopg
import sqlalchemy as sa
from psycopg import errors, sql

from flux_assets.errors import FluxError, SchemaChangeError, SyncError
from flux_assets.ledger.runs import register_declarations
from flux_assets.postgis import relations
from flux_assets.postgis.catalog import LiveColumn, Relation, hidden, refuse_folding_keys
from flux_assets.postgis.errors import translate_error
from flux_assets.postgis.locking import LockRetries
from flux_assets.postgis.relations import LiveTable
from flux_assets.postgis.session import Target, prepare, run
from flux_assets.spec import DynamicTable, index_terms
from flux_assets.sync import gate
from flux_assets.sync.compat import keep_view
from flux_assets.sync.derived_columns import NOW
from flux_assets.sync.gate import describe_busy
from flux_assets.sync.result import SyncOptions
from flux_assets.sync.takeover import Takeover

_LOCK_PATIENCE_SECONDS = 30


def set_up_tables(
    tables: Sequence[DynamicTable], target: Target, options: SyncOptions, log: Callable[[str], None]
) -> dict[str, FluxError | bool]:
    """Make every table, or make it fit; by name True where anything was done, or why it cannot be.

    Raises SyncError while a sync is running, TargetError when there is no database.
    """
    with gate.sync_session(target, options) as session:
        lease = gate.open_gate(session, target.schema, tables).lease
        if lease is None:
            raise SyncError(describe_busy(session, target.schema), "Wait for it to end and try again.")
        with lease.held(session, target):
            run(session, register_declarations(target.schema, target.declared, tables))
            lives = [LiveTable(target.schema, table) for table in tables]
            return {live.name: TableSetup(session, live).make_fit(options, log) for live in lives}


class TableSetup:
    """A table as it is in the target, looked up once, beside its declaration."""

    def __init__(self, session: psycopg.Connection, live: LiveTable) -> None:
        self._session = session
        self._live = live

    @staticmethod
    def takeovers(tables: Sequence[DynamicTable], target: Target, options: SyncOptions) -> dict[str, Takeover | None]:
        """Return by name, of those tables that are plain ones, how each would be replaced; None where it fits."""
        plans: dict[str, Takeover | None] = {}
        with gate.sync_session(target, options) as session:
            prepare(session, target.schema)
            for live in (LiveTable(target.schema, table) for table in tables):
                found = Relation.find(session, live.schema, live.name)
                if found is not None and found.kind == "r":
                    fault = TableSetup(session, live).fault()
                    drop = options.drop_foreign_keys
                    plans[live.name] = (
                        Takeover.planned(session, live, found.oid, drop_foreign_keys=drop) if fault else None
                    )
        return plans

    @cached_property
    def _relation(self) -> Relation | None:
        return Relation.find(self._session, self._live.schema, self._live.name)

    @cached_property
    def _columns(self) -> dict[str, LiveColumn]:
        found = self._relation.columns() if self._relation else []
        return {column.name: column for column in found}

    @property
    def _missing(self) -> list[sa.Column[object]]:
        return [column for column in self._live.table.columns if column.name not in self._columns]

    @property
    def missing_indexes(self) -> list[sa.Index]:
        """The declared indexes that the table lacks; none where there is no table."""
        if self._relation is None:
            return []
        there = self._relation.indexes()
        return [index for index in self._live.table.indexes if not any(each.is_declared(index) for each in there)]

    def make_fit(self, options: SyncOptions, log: Callable[[str], None]) -> FluxError | bool:
        """Make the table fit, where it can be; return whether anything was done, or why it cannot be.

        Nothing that others made is changed; what only they can decide is refused.
        """
        patience = LockRetries(seconds=_LOCK_PATIENCE_SECONDS, log=log, stop=options.stop)
        try:
            if self._relation is None:
                self._create(log)
                done = True
            else:
                if options.take_over and self._relation.kind == "r" and self.fault():
                    drop = options.drop_foreign_keys
                    plan = Takeover.planned(self._session, self._live, self._relation.oid, drop_foreign_keys=drop)
                    plan.carry_out(self._session, patience)
                    fitted = TableSetup(self._session, self._live).make_fit(options, log)
                    return fitted if isinstance(fitted, FluxError) else True
                self._refuse_unfit(self._relation)
                added = self._add_columns(self._relation, patience)
                done = self._add_indexes(log) or added
            return keep_view(self._session, self._live, patience) or done
        except FluxError as error:
            return error
        except psycopg.Error as error:
            if self._session.closed or self._session.broken:
                raise
            return translate_error(self._live.title, error, options.stop, SyncError)

    def fault(self) -> FluxError | None:
        """Return why the table cannot be synced into; None when it can, or is still to be made. Changes nothing."""
        try:
            if self._relation is not None:
                self._refuse_unfit(self._relation)
        except FluxError as error:
            return error
        return None

    def obstacle(self, *, synced: bool) -> SyncError | None:
        """Return why there is nothing to read under the table's name; `synced`: a sync has left it there before."""
        return self._other_kind(self._relation) if self._relation else self.absent(synced=synced)

    def absent(self, *, synced: bool) -> SyncError:
        """Return the error of a table that is not there."""
        if synced:
            return SyncError(
                f"{self._live.title} was synced and is gone: somebody dropped or renamed it.",
                "Sync it: it is made and filled again.",
            )
        return SyncError(f"{self._live.title} has not been synced yet.", "Sync it first.")

    def hidden_rows(self) -> FluxError | None:
        """Return why row-level security hides rows of the table from us, where it does."""
        if self._relation is None or not self._relation.hides_rows():
            return None
        return hidden(SyncError, self._session, self._live.title)

    def incomplete(self) -> SyncError | None:
        """Return the error of a table that lacks declared columns, where it does."""
        if self._relation is None or not self._missing:
            return None
        names = ", ".join(column.name for column in self._missing)
        return SyncError(f"{self._live.title} lacks {names}.", "Sync it: what is missing is added and filled.")

    def explanation(self, refused: psycopg.Error) -> FluxError | None:
        """Return what of the table is not as declared, where that may be why a statement about it was refused."""
        if not isinstance(refused, psycopg.ProgrammingError) or isinstance(refused, errors.InsufficientPrivilege):
            return None
        return self.fault() or self.incomplete()

    def _refuse_unfit(self, relation: Relation) -> None:
        live = self._live
        if problem := self._other_kind(relation) or self.hidden_rows():
            raise problem
        if (key := relation.primary_key()) != live.table.key:
            has = f"the primary key ({', '.join(key)})" if key else "no primary key"
            raise SyncError(
                f"{live.title} has {has}, where ({', '.join(live.table.key)}) is declared.",
                f"Run ALTER TABLE {live.title} ADD PRIMARY KEY ({', '.join(live.table.key)}) once the old one is gone,"
                f" and duplicates are, or rename the table to {live.old_name}, and sync again.",
            )
        if problems := list(self._other_columns()):
            raise SchemaChangeError(
                f"{live.title}: {'; '.join(problems)}.",
                f"Run `flux-assets adopt {live.name}`, which keeps the rows and all that hangs on the table; or rename"
                f" the table to {live.old_name} and sync again: a new one is made. This table is as it was.",
            )
        refuse_folding_keys(SyncError, live.title, live.table.key, self._columns.values())

    def _other_kind(self, relation: Relation) -> SyncError | None:
        if relation.kind == "r":
            return None
        return SyncError(
            f"{self._live.title} is {relation.kind_in_words} and not an ordinary table, which a sync needs.",
            f"Rename it (ALTER … {self._live.title} RENAME TO {self._live.old_name}) and sync again.",
        )

    def _other_columns(self) -> Iterator[str]:
        declared = {column.name: relations.type_name(column) for column in self._live.table.columns}
        for name, type_name in declared.items():
            if name in self._columns and self._columns[name].bare_type != type_name:
                yield f"column {name} is {self._columns[name].type} and declared as {type_name}"
        for column in self._columns.values():
            if column.not_null and not column.filled and column.name not in declared:
                yield f"column {column.name} is NOT NULL, and the sync has nothing to put there"

    def _create(self, log: Callable[[str], None]) -> None:
        live, session = self._live, self._session
        if old := Relation.find(session, live.schema, live.old_name):
            old.refuse_unprotected_copy(SyncError, live.title, live.old_title)
        with session.transaction():
            run(session, list(live.create()))
        log(f"{live.title}: created")

    def _add_columns(self, relation: Relation, patience: LockRetries) -> bool:
        title, missing = self._live.title, self._missing
        if missing:
            script = [self._add_column(column) for column in missing]
            waiting_for, doing = [relation.oid], f"adding columns to {title}"
            patience.briefly(self._session, lambda: script, waiting_for=waiting_for, doing=doing)
            patience.log(f"{title}: added {', '.join(column.name for column in missing)}")
        return bool(missing)

    def _add_column(self, column: sa.Column[object]) -> sql.Composed:
        """Add a column without writing a row; bookkeeping times of rows older than it are now: nobody knows."""
        table = self._live.public
        add = sql.SQL("ALTER TABLE {} ADD COLUMN {}").format(table, relations.column_definition(column))
        if column.name not in self._live.table.bookkeeping:
            return add
        default = sql.SQL("{} DEFAULT {}; ALTER TABLE {} ALTER COLUMN {} DROP DEFAULT")
        return default.format(add, NOW, table, sql.Identifier(column.name))

    def _add_indexes(self, log: Callable[[str], None]) -> bool:
        """Add missing indexes: readers are not blocked meanwhile, and the sync is the only writer."""
        missing = self.missing_indexes
        for index in missing:
            self._session.execute(relations.create_index(self._live.public, index))
            log(f"{self._live.title}: added an index on {', '.join(index_terms(index))}")
        return bool(missing)
