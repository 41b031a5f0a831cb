"""The gate: one round trip takes the lease of all syncs and reads the target's state, a second the tables' marks."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import psycopg
from psycopg import errors, sql

from flux_assets.errors import SyncError, TargetError
from flux_assets.ledger.runs import Holder, Lease
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
_IDLE_LIMIT = timedelta(minutes=2)
# Readers lock nothing that a sync needs; whoever else edits a row gets this long to finish.
_LOCK_WAIT = timedelta(seconds=10)
# What is missing in a database that was never made ready for a sync, or only for one of an older release.
_NOT_READY = (errors.UndefinedTable, errors.UndefinedColumn, errors.InvalidSchemaName)
_MARK = sql.SQL("count(*) || ':' || coalesce(sum(hash_record_extended((ctid, xmin), 0)), 0)")

# A table's mark, and whether rows have left their time window since they were read.
_Mark = tuple[str, bool]


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
    relation: int | None


@dataclass(frozen=True, kw_only=True)
class TargetState:
    """The target before a sync: last syncs, today's shapes, versions of origins, and the declarations it knows.

    `kinds` are those of pg_class.relkind, `relations` the tables' OIDs, `heirs` the tables that inherit from each.
    `under_way`: the ledger has a row of one of the tables that is RUNNING, if only of a process that died. `has_views`:
    the database has materialized views.
    """

    last: dict[str, LastSync]
    shapes: dict[str, str]
    kinds: dict[str, str]
    relations: dict[str, int]
    heirs: dict[str, tuple[str, ...]]
    versions: dict[str, str]
    known: frozenset[tuple[object, ...]]
    under_way: bool
    has_views: bool

    @classmethod
    def read(cls, session: psycopg.Connection, schema: str, tables: Sequence[DynamicTable]) -> TargetState:
        """Read what the last syncs left, and the tables' shapes as they are now."""
        return cls.of(run(session, _questions(schema, tables)))

    @classmethod
    def of(cls, answers: Sequence[Rows]) -> TargetState:
        """Make it of the answers to `_questions`."""
        shapes, states, versions, [(under_way, has_views)], known = answers
        last = [LastSync(**dict(zip(LastSync.__dataclass_fields__, row, strict=True))) for row in states]
        return cls(
            last={row.layer_name: row for row in last},
            shapes={name: shape for name, _, _, shape, _ in shapes},
            kinds={name: kind for name, kind, _, _, _ in shapes},
            relations={name: oid for name, _, oid, _, _ in shapes},
            heirs={name: tuple(heirs) for name, _, _, _, heirs in shapes},
            versions=dict(versions),
            known=frozenset(known),
            under_way=under_way,
            has_views=has_views,
        )


@dataclass(frozen=True, kw_only=True)
class _GateResult:
    """What the first round trip found: the lease, if it was free, `at` when (the database's clock), and the target."""

    lease: Lease | None
    at: datetime
    target: TargetState


@contextmanager
def sync_session(target: Target, options: SyncOptions) -> Iterator[WatchedConnection]:
    """Open a session for a sync. Raises TargetError when there is no database, SyncError when it refuses."""
    try:
        with target.session("sync", options.stop, is_set=False) as session:
            yield session
    except psycopg.Error as error:
        raise translate_error(f"sync into {target.schema}", error, options.stop, SyncError) from error


def open_gate(session: WatchedConnection, schema: str, tables: Sequence[DynamicTable]) -> _GateResult:
    """Set the session up, take the lease of all syncs if it is free, and read the target's state: in one round trip.

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


def read_marks(session: psycopg.Connection, tables: Sequence[LiveTable]) -> dict[str, _Mark | psycopg.Error]:
    """Read each table's mark, and whether rows have left their time window; or why, where they cannot be read."""
    queries = [sql.SQL("SELECT {}, {} FROM {}").format(_MARK, _expired(table), table.own_rows) for table in tables]
    names = [table.name for table in tables]
    try:
        return dict(zip(names, [row for (row,) in run(session, queries)] if queries else [], strict=True))
    except psycopg.Error:
        if session.closed or session.broken:
            raise
    # At least one cannot be read: which, shows when each is read by itself. The wait is over already.
    session.execute("SET lock_timeout = '100ms'")
    marks = {name: _one_mark(session, each) for name, each in zip(names, queries, strict=True)}
    session.execute(sql.SQL("SET lock_timeout = {}").format(_milliseconds(_LOCK_WAIT)))
    return marks


def mark_of(table: LiveTable) -> sql.Composed:
    """Make a query for the table's mark: its row count, and a sum over each row's place and the writing transaction.

    Whoever inserts, updates or deletes a row changes it, and it reads no row's columns.
    """
    return sql.SQL("SELECT {} FROM {}").format(_MARK, table.own_rows)


def _opened(session: WatchedConnection, schema: str, tables: Sequence[DynamicTable]) -> _GateResult | None:
    """Return None where PostGIS, the schema or our own revision is missing."""
    script = [_own_settings(schema), *Lease.acquiring(schema, Lease.SYNC), *_questions(schema, tables)]
    [(postgis, there, revision, at)], lease, *answers = open_session(session, script)
    if not (postgis and there and is_current(revision)):
        return None
    return _GateResult(lease=Lease.acquired(session, schema, Lease.SYNC, lease), at=at, target=TargetState.of(answers))


def _own_settings(schema: str) -> sql.Composed:
    limit, wait, idle = map(_milliseconds, (TIME_LIMIT, _LOCK_WAIT, _IDLE_LIMIT))
    return query("sync", "opening").format(limit=limit, wait=wait, idle=idle, schema=schema)


def _questions(schema: str, tables: Sequence[DynamicTable]) -> list[sql.Composed]:
    """Make the queries whose answers `TargetState.of` takes."""
    names = [table.name for table in tables]
    origins = sorted({name for table in tables for name in table.origins})
    asked = {"shapes": [*names, *origins], "last_syncs": names, "current_versions": origins, "surroundings": names}
    places = {"schema": schema, "compat": LiveTable.compat(schema)}
    script = [query("sync", each).format(**places, names=of) for each, of in asked.items()]
    return [*script, query("registry", "known").format(schema=schema)]


def _one_mark(session: psycopg.Connection, mark_query: sql.Composed) -> _Mark | psycopg.Error:
    try:
        [[mark]] = run(session, [mark_query])
    except psycopg.Error as error:
        if session.closed or session.broken:
            raise
        return error
    return mark


def _expired(table: LiveTable) -> sql.Composable:
    rule = table.table.row_filter
    if rule is None:
        return sql.SQL("false")
    return query("sync", "is_expired").format(
        status=text_by_value(sql.Identifier(rule.status_column)),
        open=list(rule.open_statuses),
        time=sql.Identifier(rule.time_column),
        window=rule.window,
    )


def _milliseconds(span: timedelta) -> str:
    return f"{span.total_seconds() * 1000:.0f}ms"


# A run imports and signs in before it is seen in the database, and judges and draws once it has gone from there.
_BEFORE, _AFTER = timedelta(minutes=2), timedelta(minutes=4)


def describe_busy(
    session: psycopg.Connection, schema: str, wanted: Collection[str] = (), options: SyncOptions | None = None
) -> str:
    """Say who holds the lease; with `options`, what becomes of the sync of the `wanted` tables that was asked for."""
    held = Holder.of(session, schema, Lease.SYNC)
    # Nothing before that sync has noted what it is about.
    under_way: dict[str, str | None] = dict(
        session.execute(query("sync", "under_way"), [schema, held.pid]).fetchall() if held else []
    )
    run_id = next(iter(under_way.values()), None)
    of_run = f", of Dagster run {run_id}" if run_id else ""
    busy = f"Another sync into schema {schema} is running: {held or 'a process that has just ended'}{of_run}."
    if options is None:
        return busy
    busy += " Nothing that was asked for here was done"
    if options.once:
        return f"{busy}, and {' and '.join(options.once)} will not be kept: ask again when that sync has ended."
    if left := sorted(set(wanted) - under_way.keys()):
        return f"{busy}; {', '.join(left)} follow with the next tick, or when asked for again."
    return f"{busy}: that sync brings the same tables up to date."


def is_dead(target: Target, run_id: str, age: timedelta, *, is_ours: bool) -> bool:
    """Tell whether nothing will come any more of a run that was started `age` ago.

    A sync that holds the lease, and gives signs of life, may be this run's, also before its rows are in the ledger.
    Where it is not sure that the run `is_ours`, only what the ledger knows of it counts. Raises TargetError or
    psycopg.Error when the database does not say.
    """
    given = {"schema": target.schema, "run_id": run_id, "sync": Lease.SYNC, "stale": Lease.STALE}
    nothing: tuple[bool, bool | None, bool | None, timedelta | None] = False, None, None, None
    with target.session("schedule") as session:
        try:
            newest = session.execute(query("sync", "newest_of_run"), given).fetchone() or nothing
        except (errors.UndefinedTable, errors.UndefinedColumn, errors.InvalidSchemaName):
            newest = nothing  # no sync has ever come so far
    is_held, is_running, is_holder, since = newest
    if is_running is None:
        return is_ours and age > _BEFORE and not is_held
    if is_running:
        return not (is_held and is_holder)
    return since is None or since > _AFTER
