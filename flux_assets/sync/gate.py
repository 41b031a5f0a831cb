"""The gate: one round trip takes the lease of all syncs and reads the target's state, a second the tables' marks."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import psycopg
from psycopg import errors, sql

from flux_assets.errors import SyncError, TargetError
from flux_assets.ledger.entries import Known, known_in
from flux_assets.ledger.leases import SYNC, Lease, acquired, acquiring
from flux_assets.postgis.errors import translate_error
from flux_assets.postgis.liveness import WatchedConnection
from flux_assets.postgis.relations import LiveTable, text_by_value
from flux_assets.postgis.session import REVISION, Rows, Target, is_current, open_session, prepare, require_writable, run
from flux_assets.spec import DynamicTable
from flux_assets.sqlfiles import query
from flux_assets.sync.result import SyncOptions

# The server ends our session when nothing has come from it for as long as a sync may take, and its transaction when a
# frozen process leaves that open.
TIME_LIMIT = timedelta(minutes=10)
IDLE_LIMIT = timedelta(minutes=2)
# Readers lock nothing that a sync needs; whoever else edits a row gets this long to finish.
LOCK_WAIT = timedelta(seconds=10)
# What is missing in a database that was never made ready for a sync, or only for one of an older release.
_NOT_READY = (errors.UndefinedTable, errors.UndefinedColumn, errors.InvalidSchemaName)
_MARK = sql.SQL("count(*) || ':' || coalesce(sum(hash_record_extended((ctid, xmin), 0)), 0)")


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
    """The target before a sync: last syncs, today's shapes, versions of origins, and the declarations it knows.

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

    def shape(self, live: LiveTable) -> str:
        """Return what tells whether a table, or its declaration, changed since it was last found fit."""
        return f"{self.shapes.get(live.name, '')} {live.table.digest}"

    def origins(self, table: DynamicTable, family: Collection[str]) -> dict[str, str | None]:
        """Return versions and shapes of the tables outside the family that columns are derived from, None if missing.

        A version stays in the register when a view, or another table, takes the place of its layer.
        """
        static = [name for name in table.origins if name not in family]
        return {
            name: f"{self.versions.get(name, 'of others')} {self.shapes[name]}" if name in self.shapes else None
            for name in static
        }


@dataclass(frozen=True, kw_only=True)
class GateResult:
    """What the first round trip found: the lease of all syncs into the schema, if it was free, and the target's state.

    `at` is when the lease was asked for, by the database's clock.
    """

    lease: Lease | None
    at: datetime
    target: TargetState


@dataclass(frozen=True, kw_only=True)
class TableMark:
    """A table's mark, and whether rows have left their time window since they were read."""

    mark: str
    expired: bool


@contextmanager
def sync_session(target: Target, options: SyncOptions) -> Iterator[WatchedConnection]:
    """Open a session for a sync. Raises TargetError when there is no database, SyncError when it refuses."""
    try:
        with target.session("sync", options.stop, is_set=False) as session:
            yield session
    except psycopg.Error as error:
        raise translate_error(f"sync into {target.schema}", error, options.stop, SyncError) from error


def open_gate(session: WatchedConnection, schema: str, tables: Sequence[DynamicTable]) -> GateResult:
    """Set the session up, take the sync's lease if it is free, and read the target's state: in one round trip.

    A database that is not ready is made so first. Raises TargetError when that cannot be done.
    """
    require_writable(session)
    try:
        opened = _opened(session, schema, tables)
    except _NOT_READY:
        opened = None
    if opened is None:
        open_session(session, [_own_settings(schema)])
        prepare(session, schema)
        opened = _opened(session, schema, tables)
    if opened is None:
        raise TargetError(
            f"The ledger in the target database does not say that it is of {REVISION}.",
            "Run the sync again; if that does not help, report it.",
        )
    return opened


def read_target(session: psycopg.Connection, schema: str, tables: Sequence[DynamicTable]) -> TargetState:
    """Read what the last syncs left, and the tables' shapes as they are now."""
    return _target_state(run(session, _questions(schema, tables)))


def read_marks(session: psycopg.Connection, tables: Sequence[LiveTable]) -> dict[str, TableMark | psycopg.Error]:
    """Read the tables' marks, by name; the error takes its place where a table is locked or cannot be read."""
    return dict(zip([table.name for table in tables], _marks(session, tables), strict=True))


def load_postgis(session: psycopg.Connection) -> None:
    """Let the server load PostGIS into the session, which it does at the first use."""
    session.execute("SELECT 'POINT EMPTY'::geometry")


def mark_of(table: LiveTable) -> sql.Composed:
    """Make a query for the table's mark: its row count, and a sum over each row's place and the writing transaction.

    Whoever inserts, updates or deletes a row changes it, and it reads no row's columns.
    """
    return sql.SQL("SELECT {} FROM {}").format(_MARK, table.own_rows)


def _opened(session: WatchedConnection, schema: str, tables: Sequence[DynamicTable]) -> GateResult | None:
    """Return None where PostGIS, the schema or our own revision is missing."""
    script = [_own_settings(schema), *acquiring(schema, SYNC), *_questions(schema, tables)]
    [(postgis, there, revision, at)], lease, *answers = open_session(session, script)
    if not (postgis and there and is_current(revision)):
        return None
    return GateResult(lease=acquired(session, schema, SYNC, lease), at=at, target=_target_state(answers))


def _own_settings(schema: str) -> sql.Composed:
    limit, wait, idle = map(_milliseconds, (TIME_LIMIT, LOCK_WAIT, IDLE_LIMIT))
    return query("sync", "opening").format(limit=limit, wait=wait, idle=idle, schema=sql.Literal(schema))


def _questions(schema: str, tables: Sequence[DynamicTable]) -> list[sql.Composed]:
    """Make the queries whose answers `_target_state` takes."""
    names = [table.name for table in tables]
    origins = sorted({name for table in tables for name in table.origins})
    asked = {
        "shapes": [*names, *origins],
        "last_syncs": names,
        "current_versions": origins,
        "is_under_way": names,
    }
    script = [
        query("sync", name).format(schema=sql.Literal(schema), names=sql.Literal(wanted))
        for name, wanted in asked.items()
    ]
    return [*script, known_in(schema)]


def _target_state(answers: Sequence[Rows]) -> TargetState:
    shapes, states, versions, [(under_way,)], known = answers
    last = [LastSync(**dict(zip(LastSync.__dataclass_fields__, row, strict=True))) for row in states]
    return TargetState(
        last={row.layer_name: row for row in last},
        shapes={name: shape for name, _, shape, _ in shapes},
        kinds={name: kind for name, kind, _, _ in shapes},
        heirs={name: tuple(heirs) for name, _, _, heirs in shapes},
        versions=dict(versions),
        known=frozenset(known),
        under_way=under_way,
    )


def _marks(session: psycopg.Connection, tables: Sequence[LiveTable]) -> list[TableMark | psycopg.Error]:
    queries = [_mark_and_expiry(table) for table in tables]
    try:
        return [TableMark(mark=mark, expired=gone) for [(mark, gone)] in (run(session, queries) if queries else [])]
    except psycopg.Error:
        if session.closed or session.broken:
            raise
    # At least one cannot be read: which, shows when each is read by itself. The wait is over already.
    session.execute("SET lock_timeout = '100ms'")
    marks = [_one_mark(session, each) for each in queries]
    session.execute(sql.SQL("SET lock_timeout = {}").format(_milliseconds(LOCK_WAIT)))
    return marks


def _one_mark(session: psycopg.Connection, mark_query: sql.Composed) -> TableMark | psycopg.Error:
    try:
        [[(mark, expired)]] = run(session, [mark_query])
    except psycopg.Error as error:
        if session.closed or session.broken:
            raise
        return error
    return TableMark(mark=mark, expired=expired)


def _mark_and_expiry(table: LiveTable) -> sql.Composed:
    """Make a query for the mark, and whether a row has left its time window, in one pass over the table."""
    return sql.SQL("SELECT {}, {} FROM {}").format(_MARK, _expired(table), table.own_rows)


def _expired(table: LiveTable) -> sql.Composable:
    rule = table.table.row_filter
    if rule is None:
        return sql.SQL("false")
    return query("sync", "is_expired").format(
        status=text_by_value(sql.Identifier(rule.status_column)),
        open=sql.Literal(list(rule.open_statuses)),
        time=sql.Identifier(rule.time_column),
        window=sql.Literal(rule.window),
    )


def _milliseconds(span: timedelta) -> sql.Literal:
    return sql.Literal(f"{span.total_seconds() * 1000:.0f}ms")
