"""What the target says before a sync: who holds the sync's lock, what the last sync left, whether it still stands.

Here: the questions, as many in a round trip as can be asked together. Not here: what the answers mean (sync.py) and
writing anything but the ledger.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import psycopg
from psycopg import sql

from flux_assets.postgis import ledger
from flux_assets.postgis.connect import settings
from flux_assets.postgis.declared import Known, known_in
from flux_assets.postgis.layer import LiveTable, PublicTable, lock_key
from flux_assets.postgis.ledger import Entry
from flux_assets.postgis.prerequisites import REVISION
from flux_assets.postgis.round_trip import run
from flux_assets.spec import DynamicTable

# A machine that died without a word, or a process that hangs, must not keep the lock: the server asks after a silent
# client within a minute, and ends our session when nothing has come from it for as long as a sync may take.
TIME_LIMIT = timedelta(minutes=10)
# Readers lock nothing that a sync needs; whoever else edits a row gets this long to finish.
LOCK_WAIT = timedelta(seconds=10)
_OPENING = sql.SQL("""
SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3;
SET idle_session_timeout = {limit}; SET idle_in_transaction_session_timeout = {limit}; SET statement_timeout = {limit};
SET lock_timeout = {wait}; SET temp_buffers = '64MB';
SELECT set_config('search_path', 'pg_catalog, ' || quote_ident(nspname), false)
FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace WHERE extname = 'postgis';
SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = {schema}),
       coalesce((SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = 'postgres_sync'), ''),
       pg_try_advisory_lock({lock})
""")
# Types by number: writing one out would load PostGIS into the session, a quarter of an unchanged sync of few rows.
# Indexes from the catalog alone: pg_get_indexdef waits for whoever has locked the table.
_SHAPE = sql.SQL("""
SELECT c.relname AS name, md5(concat_ws(E'\\n', c.relkind,
    (SELECT string_agg(concat_ws(' ', attnum, attname, atttypid, atttypmod, attnotnull, atthasdef, attgenerated),
                       E'\\n' ORDER BY attnum)
     FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped),
    (SELECT string_agg(concat_ws(' ', i.relname, i.relam, x.indkey, x.indclass, x.indcollation, x.indoption, x.indexprs,
                                 x.indpred, x.indisunique, x.indisvalid, x.indisprimary), E'\\n' ORDER BY indexrelid)
     FROM pg_index AS x JOIN pg_class AS i ON i.oid = x.indexrelid WHERE x.indrelid = c.oid))) AS shape
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = {schema} AND c.relname = ANY ({names})
""")
_STATE = sql.SQL("""
SELECT layer_name, declaration, token, mapping, fingerprint, origins, mark, shape, rows, source_instant,
       source_changed_at, changed_at
FROM postgres_sync.sync_state WHERE schema_name = {schema} AND layer_name = ANY ({names})
""")
_ORIGINS = sql.SQL("""
SELECT layer_name, version FROM postgres_sync.layer_versions
WHERE current AND schema_name = {schema} AND layer_name = ANY ({names})
""")


@dataclass(frozen=True, kw_only=True)
class Opening:
    """What the first round trip found; without PostGIS, schema or our own revision the slow way has to explain it."""

    complete: bool
    locked: bool


@dataclass(frozen=True, kw_only=True)
class LastSync:
    """A row of postgres_sync.sync_state."""

    layer_name: str
    declaration: str
    token: str | None
    mapping: str | None
    fingerprint: str
    origins: dict[str, str | None]
    mark: str
    shape: str
    rows: int
    source_instant: datetime
    source_changed_at: datetime
    changed_at: datetime


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A table as it stands: its mark, and whether rows have left their time window since they were taken."""

    mark: str
    expired: bool


@dataclass(frozen=True, kw_only=True)
class Before:
    """The target before a sync: last syncs, shapes as they are now, versions of origins, and the declarations known."""

    last: dict[str, LastSync]
    shapes: dict[str, str]
    versions: dict[str, str]
    known: Known

    def origins(self, table: DynamicTable, family: Collection[str]) -> dict[str, str | None]:
        """Versions and shapes of tables outside the family that columns are derived from; None where one is missing.

        A version stays in the register when a view, or another table, takes the place of its layer.
        """
        static = [name for name in table.origins if name not in family]
        return {
            name: f"{self.versions.get(name, 'of others')} {self.shapes[name]}" if name in self.shapes else None
            for name in static
        }


def open_gate(session: psycopg.Connection, schema: str) -> Opening:
    """Set the session up, look for what must be there, and take the sync's lock if it is free."""
    limit, wait = _milliseconds(TIME_LIMIT), _milliseconds(LOCK_WAIT)
    opening = _OPENING.format(limit=limit, wait=wait, schema=sql.Literal(schema), lock=sql.Literal(sync_lock(schema)))
    answers = run(session, [*settings(session), opening])
    postgis, [(there, revision, locked)] = answers
    return Opening(complete=bool(postgis) and there and revision == REVISION, locked=locked)


def sync_lock(schema: str) -> int:
    """Key of the advisory lock of all syncs into one schema."""
    return lock_key(f"sync of {schema}")


def outlive_lost_session(session: psycopg.Connection, schema: str) -> None:
    """Wait until a sync whose connection broke has ended at the server too, which may still commit what it was sent.

    Raises LockNotAvailable when it does not end within LOCK_WAIT.
    """
    session.execute(sql.SQL("SET lock_timeout = {}").format(_milliseconds(LOCK_WAIT)))
    session.execute("SELECT pg_advisory_xact_lock(%s)", [sync_lock(schema)])


def before(session: psycopg.Connection, schema: str, tables: Sequence[DynamicTable]) -> Before:
    """What the last syncs left, and what now stands there."""
    names = [table.name for table in tables]
    origins = sorted({name for table in tables for name in table.origins})
    script = [
        part.format(schema=sql.Literal(schema), names=sql.Literal(wanted))
        for part, wanted in ((_SHAPE, [*names, *origins]), (_STATE, names), (_ORIGINS, origins))
    ]
    shapes, states, versions, known = run(session, [*script, known_in(schema)])
    last = [LastSync(**dict(zip(LastSync.__dataclass_fields__, row, strict=True))) for row in states]
    return Before(
        last={row.layer_name: row for row in last}, shapes=dict(shapes), versions=dict(versions), known=frozenset(known)
    )


def begin(
    session: psycopg.Connection,
    tables: Sequence[LiveTable],
    standing: Sequence[LiveTable],
    run_id: str | None,
    known: Sequence[sql.Composed] = (),
) -> tuple[dict[str, Entry], dict[str, Standing | psycopg.Error]]:
    """Open a RUNNING ledger row for each of `tables`, and look at those of them that are `standing` already.

    Rows of syncs that died are closed first, and the statements that make declarations `known` are run. Where somebody
    keeps readers from a table, or it cannot be read for another reason, that takes the place of what was seen.
    """
    entries, *_ = run(session, [*known, ledger.closing_dead(tables), ledger.opening(tables, "DELTA", run_id)])
    return (
        {name: Entry(sync_id, "DELTA") for sync_id, name in entries},
        dict(zip([table.name for table in standing], _seen(session, standing), strict=True)),
    )


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
