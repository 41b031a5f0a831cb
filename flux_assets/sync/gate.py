"""What the target says before a sync: whether another one is running, and how the tables stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import psycopg
from psycopg import errors, sql

from flux_assets.errors import TargetError
from flux_assets.ledger import entries as ledger
from flux_assets.ledger.entries import Entry
from flux_assets.ledger.leases import SYNC, Lease, acquired, acquiring
from flux_assets.postgis.batch import run
from flux_assets.postgis.bootstrap import REVISION, is_current, prepare
from flux_assets.postgis.connect import open_session, require_writable
from flux_assets.postgis.names import LiveTable, text_by_value
from flux_assets.postgis.session.watched import WatchedConnection
from flux_assets.spec import DynamicTable
from flux_assets.sync.target_state import TargetState, answered, questions

# The server ends our session when nothing has come from it for as long as a sync may take, and its transaction when a
# frozen process leaves that open.
TIME_LIMIT = timedelta(minutes=10)
IDLE_LIMIT = timedelta(minutes=2)
# Readers lock nothing that a sync needs; whoever else edits a row gets this long to finish.
LOCK_WAIT = timedelta(seconds=10)
_OPENING = sql.SQL("""
SET idle_session_timeout = {limit}; SET statement_timeout = {limit}; SET lock_timeout = {wait};
SET idle_in_transaction_session_timeout = {idle};
SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'postgis'),
       EXISTS (SELECT FROM pg_namespace WHERE nspname = {schema}),
       coalesce((SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = 'postgres_sync'), ''),
       clock_timestamp()
""")
# What a database lacks that no sync was made ready for, or an older release's.
_NOT_READY = (errors.UndefinedTable, errors.UndefinedColumn, errors.InvalidSchemaName)


@dataclass(frozen=True, kw_only=True)
class GateResult:
    """What the first round trip found: the lease of all syncs into the schema, if it was free, and what stands there.

    `at` is when the lease was asked for, by the database's clock.
    """

    lease: Lease | None
    at: datetime
    before: TargetState


@dataclass(frozen=True, kw_only=True)
class TableMark:
    """A table as it stands: its mark, and whether rows have left their time window since they were taken."""

    mark: str
    expired: bool


def open_gate(session: WatchedConnection, schema: str, tables: Sequence[DynamicTable]) -> GateResult:
    """Set the session up, take the sync's lease if it is free, and ask about the tables: in one round trip.

    A database that is not ready is made so first. Raises TargetError when that cannot be done.
    """
    require_writable(session)
    try:
        opening = _opening(session, schema, tables)
    except _NOT_READY:
        opening = None
    if opening is None:
        open_session(session, [_own_settings(schema)])
        prepare(session, schema)
        opening = _opening(session, schema, tables)
    if opening is None:
        raise TargetError(
            f"The ledger in the target database does not say that it is of {REVISION}.",
            "Run the sync again; if that does not help, report it.",
        )
    return opening


def _opening(session: WatchedConnection, schema: str, tables: Sequence[DynamicTable]) -> GateResult | None:
    """None where PostGIS, the schema or our own revision is missing."""
    script = [_own_settings(schema), *acquiring(schema, SYNC), *questions(schema, tables)]
    [(postgis, there, revision, at)], lease, *answers = open_session(session, script)
    if not (postgis and there and is_current(revision)):
        return None
    held = acquired(session, schema, SYNC, lease)
    return GateResult(lease=held, at=at, before=answered(answers))


def _own_settings(schema: str) -> sql.Composed:
    limit, wait, idle = map(_milliseconds, (TIME_LIMIT, LOCK_WAIT, IDLE_LIMIT))
    return _OPENING.format(limit=limit, wait=wait, idle=idle, schema=sql.Literal(schema))


def begin(
    session: psycopg.Connection,
    tables: Sequence[LiveTable],
    run_id: str | None,
    known: Sequence[sql.Composed] = (),
    *,
    under_way: bool = True,
) -> dict[str, Entry]:
    """Open a RUNNING ledger row for each of `tables`.

    Rows of syncs that died are closed first where any are `under_way`, and the statements that make declarations
    `known` are run.
    """
    dead = [ledger.closing_dead(tables)] if under_way else []
    entries, *_ = run(session, [*known, *dead, ledger.opening(tables, "DELTA", run_id)])
    return {name: Entry(sync_id, "DELTA") for sync_id, name in entries}


def read_marks(session: psycopg.Connection, tables: Sequence[LiveTable]) -> dict[str, TableMark | psycopg.Error]:
    """How the tables stand, by name.

    Where somebody keeps readers from one, or it cannot be read for another reason, that takes the place.
    """
    return dict(zip([table.name for table in tables], _seen(session, tables), strict=True))


def _seen(session: psycopg.Connection, tables: Sequence[LiveTable]) -> list[TableMark | psycopg.Error]:
    looks = [_standing(table) for table in tables]
    try:
        return [TableMark(mark=mark, expired=gone) for [(mark, gone)] in (run(session, looks) if looks else [])]
    except psycopg.Error:
        if session.closed or session.broken:
            raise
    # One of them, at least, cannot be read: which it is, is told by looking at each. The wait is over already.
    session.execute("SET lock_timeout = '100ms'")
    seen = [_look(session, look) for look in looks]
    session.execute(sql.SQL("SET lock_timeout = {}").format(_milliseconds(LOCK_WAIT)))
    return seen


def _look(session: psycopg.Connection, look: sql.Composed) -> TableMark | psycopg.Error:
    try:
        [[(mark, expired)]] = run(session, [look])
    except psycopg.Error as error:
        if session.closed or session.broken:
            raise
        return error
    return TableMark(mark=mark, expired=expired)


def _milliseconds(span: timedelta) -> sql.Literal:
    return sql.Literal(f"{span.total_seconds() * 1000:.0f}ms")


def load_postgis(session: psycopg.Connection) -> None:
    """Let the server load PostGIS into the session, which it does at the first use."""
    session.execute("SELECT 'POINT EMPTY'::geometry")


def mark_of(table: LiveTable) -> sql.Composed:
    """A query for the table's mark: its row count, and a sum over each row's place and the transaction that wrote it.

    Whoever inserts, updates or deletes a row changes it, and it reads no row's columns.
    """
    return sql.SQL("SELECT {} FROM {}").format(_MARK, table.own_rows)


_MARK = sql.SQL("count(*) || ':' || coalesce(sum(hash_record_extended((ctid, xmin), 0)), 0)")


def _standing(table: LiveTable) -> sql.Composed:
    """A query for the mark, and whether a row has left its time window, in one pass over the table."""
    return sql.SQL("SELECT {}, {} FROM {}").format(_MARK, _expired(table), table.own_rows)


def _expired(table: LiveTable) -> sql.Composable:
    rule = table.table.row_filter
    if rule is None:
        return sql.SQL("false")
    aggregate = (
        "coalesce(bool_or(({status} = ANY ({open})) IS NOT TRUE"
        " AND ({time} >= timezone('UTC', statement_timestamp()) - {window}) IS NOT TRUE), false)"
    )
    return sql.SQL(aggregate).format(
        status=text_by_value(sql.Identifier(rule.status_column)),
        open=sql.Literal(list(rule.open_statuses)),
        time=sql.Identifier(rule.time_column),
        window=sql.Literal(rule.window),
    )
