"""The tables' set-up: create what is missing, add missing columns and indexes, refuse what only users can decide."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import psycopg
import sqlalchemy as sa
from psycopg import errors, sql

from flux_assets.errors import FluxError, SchemaChangeError, SyncError
from flux_assets.ledger.entries import register_declarations
from flux_assets.ledger.leases import held
from flux_assets.ledger.status import foreign_kind
from flux_assets.postgis import catalog, relations
from flux_assets.postgis.catalog import LiveColumn, Relation, hidden, hides_rows, refuse_unprotected_copy
from flux_assets.postgis.errors import translate_error
from flux_assets.postgis.locking import LockRetries, briefly
from flux_assets.postgis.relations import LiveTable
from flux_assets.postgis.session import Target, run
from flux_assets.spec import DynamicTable
from flux_assets.sync import gate
from flux_assets.sync.busy import who_syncs
from flux_assets.sync.derived_columns import NOW, bookkeeping
from flux_assets.sync.result import SyncOptions

# Every sync updates rows in place: room on the page keeps the new row beside the old and its indexes untouched.
_FILL_PERCENT = 85
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
            raise SyncError(who_syncs(session, target.schema), "Wait for it to end and try again.")
        with held(session, target, lease):
            run(session, register_declarations(target.schema, target.declared, tables))
            return {table.name: set_up(session, LiveTable(target.schema, table), options, log) for table in tables}


def set_up(
    session: psycopg.Connection, live: LiveTable, options: SyncOptions, log: Callable[[str], None]
) -> FluxError | bool:
    """Make a table fit, where it can be; return whether anything was done, or why it cannot be.

    Refused are a relation that is not an ordinary table, hides rows from us or has another key, columns of another
    type, and columns of others that a sync cannot fill. Nothing that others made is changed.
    """
    patience = LockRetries(seconds=_LOCK_PATIENCE_SECONDS, log=log, stop=options.stop)
    try:
        return _set_up(session, live, patience)
    except FluxError as error:
        return error
    except psycopg.Error as error:
        if session.closed or session.broken:
            raise
        return translate_error(live.title, error, options.stop, SyncError)


def _set_up(session: psycopg.Connection, live: LiveTable, patience: LockRetries) -> bool:
    relation = catalog.find(session, live.schema, live.name)
    if relation is None:
        if old := catalog.find(session, live.schema, live.old_name):
            refuse_unprotected_copy(SyncError, session, live.title, live.old_title, old.oid)
        with session.transaction():
            for statement in _create(live):
                session.execute(statement)
        patience.log(f"{live.title}: created")
        return True
    columns = _refuse_unfit(session, live, relation)
    added = _add_columns(session, live, relation.oid, columns, patience)
    return _add_indexes(session, live, relation.oid, patience.log) or added


def fault(session: psycopg.Connection, live: LiveTable) -> FluxError | None:
    """Return why the table cannot be synced into; None when it can, or is still to be made. Changes nothing."""
    relation = catalog.find(session, live.schema, live.name)
    try:
        if relation is not None:
            _refuse_unfit(session, live, relation)
    except FluxError as error:
        return error
    return None


def obstacle(session: psycopg.Connection, live: LiveTable, *, synced: bool) -> SyncError | None:
    """Return why there is nothing to read under the table's name; `synced`: a sync has left it there before."""
    relation = catalog.find(session, live.schema, live.name)
    if relation is None:
        return absent(live, synced=synced)
    try:
        _refuse_other_kinds(live, relation)
    except SyncError as error:
        return error
    return None


def hidden_rows(session: psycopg.Connection, live: LiveTable) -> FluxError | None:
    """Return why row-level security hides rows of the table from us, where it does."""
    relation = catalog.find(session, live.schema, live.name)
    return _hidden(session, live, relation) if relation else None


def absent(live: LiveTable, *, synced: bool) -> SyncError:
    """Return the error of a table that is not there."""
    if synced:
        return SyncError(
            f"{live.title} was synced and is gone: somebody dropped or renamed it.",
            "Sync it: it is made and filled again.",
        )
    return SyncError(f"{live.title} has not been synced yet.", "Sync it first.")


def explanation(session: psycopg.Connection, live: LiveTable, refused: psycopg.Error) -> FluxError | None:
    """Return what of the table is not as declared, where that may be why a statement about it was refused."""
    if not isinstance(refused, psycopg.ProgrammingError) or isinstance(refused, errors.InsufficientPrivilege):
        return None
    if (error := fault(session, live)) or not (names := lacking(session, live)):
        return error
    return incomplete(live, names)


def incomplete(live: LiveTable, names: Sequence[str]) -> SyncError:
    """Return the error of a table that lacks declared columns."""
    return SyncError(f"{live.title} lacks {', '.join(names)}.", "Sync it: what is missing is added and filled.")


def lacking(session: psycopg.Connection, live: LiveTable) -> list[str]:
    """Return the declared columns that the table does not have."""
    relation = catalog.find(session, live.schema, live.name)
    there = {column.name for column in catalog.columns(session, relation.oid)} if relation else set()
    return [column.name for column in live.table.columns if relation and column.name not in there]


def lacking_indexes(session: psycopg.Connection, live: LiveTable) -> bool:
    """Tell whether the table lacks a declared index."""
    relation = catalog.find(session, live.schema, live.name)
    return relation is not None and bool(_missing_indexes(session, live, relation.oid))


def _missing_indexes(session: psycopg.Connection, live: LiveTable, oid: int) -> list[sa.Index]:
    existing = catalog.indexes(session, oid)
    return [index for index in live.table.indexes if not any(each.is_declared(index) for each in existing)]


def _refuse_unfit(session: psycopg.Connection, live: LiveTable, relation: Relation) -> dict[str, LiveColumn]:
    _refuse_other_kinds(live, relation)
    if error := _hidden(session, live, relation):
        raise error
    _refuse_other_keys(session, live, relation)
    columns = {column.name: column for column in catalog.columns(session, relation.oid)}
    _refuse_other_columns(live, columns)
    catalog.refuse_folding_keys(SyncError, live.title, live.table.key, columns.values())
    return columns


def _create(live: LiveTable) -> Iterator[sql.Composed]:
    columns = [relations.column_definition(column) for column in live.table.columns]
    key = sql.SQL("PRIMARY KEY ({})").format(relations.names(live.table.key))
    yield sql.SQL("CREATE TABLE {} ({}) WITH (fillfactor = {})").format(
        live.public, sql.SQL(", ").join([*columns, key]), sql.SQL(str(_FILL_PERCENT))
    )
    for index in live.table.indexes:
        yield relations.create_index(live.public, index)
    yield from live.comments()


def _hidden(session: psycopg.Connection, live: LiveTable, relation: Relation) -> FluxError | None:
    return hidden(SyncError, session, live.title) if hides_rows(session, relation.oid) else None


def _refuse_other_kinds(live: LiveTable, relation: Relation) -> None:
    if relation.kind != "r":
        raise SyncError(
            f"{live.title} is {foreign_kind(relation.kind)} and not an ordinary table, which a sync needs.",
            f"Rename it (ALTER … {live.title} RENAME TO {live.old_name}) and sync again.",
        )


def _refuse_other_keys(session: psycopg.Connection, live: LiveTable, relation: Relation) -> None:
    if (key := catalog.primary_key(session, relation.oid)) != live.table.key:
        has = f"the primary key ({', '.join(key)})" if key else "no primary key"
        raise SyncError(
            f"{live.title} has {has}, where ({', '.join(live.table.key)}) is declared.",
            f"Run ALTER TABLE {live.title} ADD PRIMARY KEY ({', '.join(live.table.key)}) once the old one is gone, and"
            f" duplicates are, or rename the table to {live.old_name}, and sync again.",
        )


def _refuse_other_columns(live: LiveTable, columns: dict[str, LiveColumn]) -> None:
    problems = [
        f"column {column.name} is {columns[column.name].type} and declared as {relations.type_name(column)}"
        for column in live.table.columns
        if column.name in columns and columns[column.name].bare_type != relations.type_name(column)
    ]
    problems += [
        f"column {column.name} is NOT NULL, and the sync has nothing to put there"
        for column in columns.values()
        if column.not_null and not column.filled and column.name not in live.table.column_names
    ]
    if problems:
        raise SchemaChangeError(
            f"{live.title}: {'; '.join(problems)}.",
            f"Change the columns (ALTER TABLE {live.title} …), or rename the table to {live.old_name} and sync"
            " again: a new one is made. This table is as it was.",
        )


def _add_columns(
    session: psycopg.Connection, live: LiveTable, oid: int, columns: dict[str, LiveColumn], patience: LockRetries
) -> bool:
    missing: list[sa.Column[object]] = [column for column in live.table.columns if column.name not in columns]
    if not missing:
        return False
    script = [_add_column(live, column) for column in missing]
    briefly(session, lambda: script, patience, waiting_for=[oid], doing=f"adding columns to {live.title}")
    patience.log(f"{live.title}: added {', '.join(column.name for column in missing)}")
    return True


def _add_column(live: LiveTable, column: sa.Column[object]) -> sql.Composed:
    """Add a column without writing a row; bookkeeping times of rows older than their column are now: nobody knows."""
    add = sql.SQL("ALTER TABLE {} ADD COLUMN {}").format(live.public, relations.column_definition(column))
    if column.name not in bookkeeping(live):
        return add
    default = sql.SQL("{} DEFAULT {}; ALTER TABLE {} ALTER COLUMN {} DROP DEFAULT")
    return default.format(add, NOW, live.public, sql.Identifier(column.name))


def _add_indexes(session: psycopg.Connection, live: LiveTable, oid: int, log: Callable[[str], None]) -> bool:
    """Add missing indexes: readers are not blocked meanwhile, and the sync is the only writer."""
    missing = _missing_indexes(session, live, oid)
    for index in missing:
        session.execute(relations.create_index(live.public, index))
        log(f"{live.title}: added an index on {', '.join(column.name for column in index.columns)}")
    return bool(missing)
