"""What the target says before a sync: who holds the sync's lock, and how the tables stand.

Here: opening the gate, with the questions of sync_before.py in the same round trip, the ledger's RUNNING rows, and a
table's mark. Not here: what the answers mean (sync.py) and writing anything but the ledger.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import psycopg
from psycopg import errors, sql

from flux_assets.postgis import ledger
from flux_assets.postgis.connect import settings
from flux_assets.postgis.layer import LiveTable, PublicTable, lock_key
from flux_assets.postgis.ledger import Entry
from flux_assets.postgis.prerequisites import REVISION
from flux_assets.postgis.round_trip import run
from flux_assets.postgis.sync_before import Before, answered, questions
from flux_assets.spec import DynamicTable

# A machine that died without a word, or a process that hangs, must not keep the lock: the server asks after a silent
# client within a minute, and ends our session when nothing has come from it for as long as a sync may take.
TIME_LIMIT = timedelta(minutes=10)
# Readers lock nothing that a sync needs; whoever else edits a row gets this long to finish.
LOCK_WAIT = timedelta(seconds=10)
_OPENING = sql.SQL("""
SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3;
SET idle_session_timeout = {limit}; SET idle_in_transaction_session_timeout = {limit}; SET statement_timeout = {limit};
SET lock_timeout = {wait};
SELECT set_config('search_path', 'pg_catalog, ' || extnamespace::regnamespace::text, false)
FROM pg_extension WHERE extname = 'postgis';
SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = {schema}),
       coalesce((SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = 'postgres_sync'), ''),
       pg_try_advisory_lock({lock}), clock_timestamp()
""")
# What a database lacks that no sync was made ready for, or an older release's.
_NOT_READY = (errors.UndefinedTable, errors.UndefinedColumn, errors.InvalidSchemaName)


@dataclass(frozen=True, kw_only=True)
class Opening:
    """What the first round trip found; without PostGIS, schema or our own revision the slow way has to explain it.

    `at` is when the lock was asked for, by the database's clock; `before` is there where it is `complete`.
    """

    complete: bool
    locked: bool
    at: datetime
    before: Before | None = None


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A table as it stands: its mark, and whether rows have left their time window since they were taken."""

    mark: str
    expired: bool


def open_gate(session: psycopg.Connection, schema: str, tables: Sequence[DynamicTable]) -> Opening:
    """Set the session up, look for what must be there, take the sync's lock if it is free, and ask about the tables."""
    limit, wait = _milliseconds(TIME_LIMIT), _milliseconds(LOCK_WAIT)
    opening = _OPENING.format(limit=limit, wait=wait, schema=sql.Literal(schema), lock=sql.Literal(sync_lock(schema)))
    script = [*settings(session), opening]
    try:
        postgis, [(there, revision, locked, at)], *answers = run(session, [*script, *questions(schema, tables)])
    except _NOT_READY:
        # The settings went with the statement; the lock, if it was free, is ours, and is taken once more.
        postgis, [(there, revision, locked, at)] = run(session, script)
        return Opening(complete=False, locked=locked, at=at)
    complete = bool(postgis) and there and revision == REVISION
    return Opening(complete=complete, locked=locked, at=at, before=answered(answers) if complete else None)


def sync_lock(schema: str) -> int:
    """Key of the advisory lock of all syncs into one schema."""
    return lock_key(f"sync of {schema}")


def outlive_lost_session(session: psycopg.Connection, schema: str) -> None:
    """Wait until a sync whose connection broke has ended at the server too, which may still commit what it was sent.

    Raises LockNotAvailable when it does not end within LOCK_WAIT.
    """
    session.execute(sql.SQL("SET lock_timeout = {}").format(_milliseconds(LOCK_WAIT)))
    session.execute("SELECT pg_advisory_xact_lock(%s)", [sync_lock(schema)])


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


def look(session: psycopg.Connection, tables: Sequence[LiveTable]) -> dict[str, Standing | psycopg.Error]:
    """How the tables stand, by name.

    Where somebody keeps readers from one, or it cannot be read for another reason, that takes the place.
    """
    return dict(zip([table.name for table in tables], _seen(session, tables), strict=True))


def _seen(session: psycopg.Connection, tables: Sequence[LiveTable]) -> list[Standing | psycopg.Error]:
    looks = [_standing(table) for table in tables]
    try:
        return [Standing(mark=mark, expired=gone) for [(mark, gone)] in (run(session, looks) if looks else [])]
    except psycopg.Error:
        if session.closed or session.broken:
            raise
    # One of them, at least, cannot be read: which it is, is told by looking at each. The wait is over already.
    session.execute("SET lock_timeout = '100ms'")
    seen = [_look(session, look) for look in looks]
    session.execute(sql.SQL("SET lock_timeout = {}").format(_milliseconds(LOCK_WAIT)))
    return seen


def _look(session: psycopg.Connection, look: sql.Composed) -> Standing | psycopg.Error:
    try:
        [[(mark, expired)]] = run(session, [look])
    except psycopg.Error as error:
        if session.closed or session.broken:
            raise
        return error
    return Standing(mark=mark, expired=expired)


def _milliseconds(span: timedelta) -> sql.Literal:
    return sql.Literal(f"{span.total_seconds() * 1000:.0f}ms")


def load_postgis(session: psycopg.Connection) -> None:
    """Let the server load PostGIS into the session, which it does at the first use."""
    session.execute("SELECT 'POINT EMPTY'::geometry")


def mark_of(table: PublicTable) -> sql.Composed:
    """A query for the table's mark: its row count, and a sum over each row's place and the transaction that wrote it.

    Whoever inserts, updates or deletes a row changes it, and it reads no row's columns.
    """
    return sql.SQL("SELECT {} FROM {}").format(_MARK, table.public)


_MARK = sql.SQL("count(*) || ':' || coalesce(sum(hash_record_extended((ctid, xmin), 0)), 0)")


def _standing(table: LiveTable) -> sql.Composed:
    """A query for the mark, and whether a row has left its time window, in one pass over the table."""
    return sql.SQL("SELECT {}, {} FROM {}").format(_MARK, _expired(table), table.public)


def _expired(table: LiveTable) -> sql.Composable:
    rule = table.table.rows_taken
    if rule is None:
        return sql.SQL("false")
    aggregate = (
        "coalesce(bool_or(({status} = ANY ({open})) IS NOT TRUE"
        " AND ({time} >= timezone('UTC', statement_timestamp()) - {window}) IS NOT TRUE), false)"
    )
    return sql.SQL(aggregate).format(
        status=sql.Identifier(rule.status_column),
        open=sql.Literal(list(rule.open_statuses)),
        time=sql.Identifier(rule.time_column),
        window=sql.Literal(rule.window),
    )
