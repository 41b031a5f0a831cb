"""The gate: one round trip takes the lease of all syncs and reads how the target stands, a second the tables' marks."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import psycopg
from psycopg import errors, sql

from flux_assets.errors import TargetError
from flux_assets.ledger import entries as ledger
from flux_assets.ledger.entries import Entry
from flux_assets.ledger.leases import SYNC, Lease, acquired, acquiring
from flux_assets.ledger.registry import Known, known_in
from flux_assets.postgis.batch import Rows, run
from flux_assets.postgis.bootstrap import REVISION, is_current, prepare
from flux_assets.postgis.by_value import text_by_value
from flux_assets.postgis.connect import open_session
from flux_assets.postgis.names import LiveTable
from flux_assets.postgis.session.watched import WatchedConnection
from flux_assets.postgis.writable import require_writable
from flux_assets.spec import DynamicTable

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


# Types by number: writing one out would load PostGIS into the session, a quarter of an unchanged sync of few rows.
# Indexes from the catalog alone: pg_get_indexdef waits for whoever has locked the table.
_SHAPE = sql.SQL("""
SELECT c.relname AS name, c.relkind::text AS kind, md5(concat_ws(E'\\n', c.relkind,
    (SELECT string_agg(concat_ws(' ', attnum, attname, atttypid, atttypmod, attcollation, attnotnull, atthasdef,
                                 attgenerated),
                       E'\\n' ORDER BY attnum)
     FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped),
    (SELECT string_agg(concat_ws(' ', i.relname, i.relam, x.indkey, x.indclass, x.indcollation, x.indoption, x.indexprs,
                                 x.indpred, x.indisunique, x.indisvalid, x.indisprimary), E'\\n' ORDER BY indexrelid)
     FROM pg_index AS x JOIN pg_class AS i ON i.oid = x.indexrelid WHERE x.indrelid = c.oid))) AS shape,
    ARRAY(SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = c.oid ORDER BY 1) AS heirs
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = {schema} AND c.relname = ANY ({names})
""")
_STATE = sql.SQL("""
SELECT layer_name, declaration, token, mapping, fingerprint, origins, mark, shape, rows, source_instant,
       source_changed_at, changed_at, read_at
FROM postgres_sync.sync_state WHERE schema_name = {schema} AND layer_name = ANY ({names})
""")
_ORIGINS = sql.SQL("""
SELECT layer_name, version FROM postgres_sync.layer_versions
WHERE current AND schema_name = {schema} AND layer_name = ANY ({names})
""")
_UNDER_WAY = sql.SQL("""
SELECT EXISTS (SELECT FROM postgres_sync.sync_status
               WHERE status = 'RUNNING' AND schema_name = {schema} AND layer_name = ANY ({names}))
""")


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
    read_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class TargetState:
    """The target before a sync: last syncs, shapes as they are now, versions of origins, and the declarations known.

    `kinds` are those of pg_class.relkind, `heirs` the tables that inherit from each. `under_way`: the ledger has a row
    of one of the tables that is RUNNING, if only of a process that died.
    """

    last: dict[str, LastSync]
    shapes: dict[str, str]
    kinds: dict[str, str]
    heirs: dict[str, tuple[str, ...]]
    versions: dict[str, str]
    known: Known
    under_way: bool

    def origins(self, table: DynamicTable, family: Collection[str]) -> dict[str, str | None]:
        """Versions and shapes of tables outside the family that columns are derived from; None where one is missing.

        A version stays in the register when a view, or another table, takes the place of its layer.
        """
        static = [name for name in table.origins if name not in family]
        return {
            name: f"{self.versions.get(name, 'of others')} {self.shapes[name]}" if name in self.shapes else None
            for name in static
        }


def questions(schema: str, tables: Sequence[DynamicTable]) -> list[sql.Composed]:
    """The queries whose answers `answered` takes."""
    names = [table.name for table in tables]
    origins = sorted({name for table in tables for name in table.origins})
    asked = ((_SHAPE, [*names, *origins]), (_STATE, names), (_ORIGINS, origins), (_UNDER_WAY, names))
    script = [part.format(schema=sql.Literal(schema), names=sql.Literal(wanted)) for part, wanted in asked]
    return [*script, known_in(schema)]


def answered(answers: Sequence[Rows]) -> TargetState:
    """What the rows of the `questions` say."""
    found, states, versions, [(under_way,)], known = answers
    last = [LastSync(**dict(zip(LastSync.__dataclass_fields__, row, strict=True))) for row in states]
    return TargetState(
        last={row.layer_name: row for row in last}, shapes={name: shape for name, _, shape, _ in found},
        kinds={name: kind for name, kind, _, _ in found}, heirs={name: tuple(heirs) for name, _, _, heirs in found},
        versions=dict(versions), known=frozenset(known), under_way=under_way,
    )  # fmt: skip


def read_target(session: psycopg.Connection, schema: str, tables: Sequence[DynamicTable]) -> TargetState:
    """What the last syncs left, and what now stands there."""
    return answered(run(session, questions(schema, tables)))
