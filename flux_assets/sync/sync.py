"""The dynamic tables, from Snowflake into PostGIS: gate, read, stage and judge, write the differences, record."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime

import psycopg

from flux_assets.errors import FluxError, SyncError, reported
from flux_assets.ledger.runs import StepTimer, reach, register_declarations
from flux_assets.postgis.errors import translate_error
from flux_assets.postgis.locking import LockHolder, refresh_views
from flux_assets.postgis.relations import LiveTable
from flux_assets.postgis.session import Target, run
from flux_assets.sqlfiles import query
from flux_assets.sync import gate, record
from flux_assets.sync.gate import describe_busy
from flux_assets.sync.reader import OpenSource, SourceSide
from flux_assets.sync.result import SyncOptions, SyncResult
from flux_assets.sync.setup import TableSetup
from flux_assets.sync.table import Family, SyncContext, TableState, TableSync
from flux_assets.sync.write import write
from flux_assets.telemetry import span


def sync_tables(
    wanted: Collection[str],
    family: Family,
    open_source: OpenSource,
    target: Target,
    options: SyncOptions,
    log: Callable[[str], None],
) -> SyncResult:
    """Bring the `wanted` tables of a family into step with their sources, as of one instant.

    The others of the family take part where their columns are derived from these. Never raises for one table: its
    result carries the error. Raises TargetError or SettingError when there is no database to sync into.
    """
    clock = StepTimer()
    asked = [table for table in family.tables if table.name in wanted]
    with (
        span("sync", kind="dynamic", run_id=options.run_id) as failed,
        SourceSide(open_source, asked, options.stop, clock) as source,
        gate.sync_session(target, options) as session,
    ):
        reach("sync.opened")
        with clock.timed("gate"):
            opened = gate.open_gate(session, target.schema, family.tables)
            if opened.lease is None:
                return SyncResult(busy=describe_busy(session, target.schema, wanted, options))
            reach("sync.gated")
            source.admit(opened.at)
        with opened.lease.held(session, target):
            context = SyncContext(
                source=source,
                target=target,
                session=session,
                lease=opened.lease,
                options=options,
                log=log,
                clock=clock,
            )
            with clock.timed("gate"):
                tables = _begin(context, wanted, family, opened.target, opened.at)
            result = _sync(context, tables)
        for error in {str(table.error): table.error for table in result.tables if table.error}.values():
            failed(error)
        return replace(result, warnings=_refresh_views(context, tables))


def _sync(context: SyncContext, tables: Sequence[TableSync]) -> SyncResult:
    """Take the tables through the steps; what stops one, or all of them, is in their results and in the ledger."""
    instant = visible = None
    try:
        reach("sync.begun")
        _read_marks(context, tables)
        reach("sync.looked")
        instant = _read_source(context, tables)
        visible = write(context, tables, instant)
    except BaseException as error:
        # Nothing was written for any table.
        for table in tables:
            if table.state.is_fit:
                table.fail(_described(error, table, context.options))
        if not isinstance(error, FluxError | psycopg.Error):
            raise
    finally:
        record.close_failed(context, tables)
    reported = [each for each in tables if each.entry or (each.state.is_fit and each.refreshed)]
    reported.sort(key=lambda each: each.state.is_fit)
    return SyncResult(tables=tuple(each.result(instant, visible, context.clock) for each in reported))


def _refresh_views(context: SyncContext, tables: Sequence[TableSync]) -> tuple[str, ...]:
    """Refresh the materialized views that read what changed, after the commit and the lease; return what failed."""
    changed = [table.live for table in tables if table.is_changed]
    warnings: list[str] = []
    if changed and tables[0].state.target.has_views and not context.session.closed:
        try:
            refresh_views(context.session, changed, context.log, warnings.append, context.options.stop)
        except psycopg.Error as error:
            warnings.append(f"materialized views are as old as their last refresh, because of: {reported(error)}")
    return tuple(warnings)


def _begin(
    context: SyncContext, wanted: Collection[str], family: Family, target: gate.TargetState, at: datetime
) -> list[TableSync]:
    """Make every table fit that can be, and open a row of the ledger for each of the `wanted` ones."""
    session, schema = context.session, context.target.schema
    states = [TableState(live=LiveTable(schema, each), family=family, target=target, at=at) for each in family.tables]
    found = {
        state.live.name: TableSetup(session, state.live).make_fit(context.options, context.log)
        for state in states
        if not state.has_last_shape
    }
    if any(done is True for done in found.values()):
        target = gate.TargetState.read(session, schema, family.tables)
        states = [replace(state, target=target) for state in states]
    declared = register_declarations(schema, context.target.declared, family.tables, target.known)
    asked = [state.live for state in states if state.live.name in wanted]
    entries = record.begin(session, asked, context.options.run_id, declared, under_way=target.under_way)
    tables = [TableSync(state=state, entry=entries.get(state.live.name)) for state in states]
    for table in tables:
        error = found.get(table.name)
        if isinstance(error, FluxError):
            table.found_unfit(error)
        elif not table.state.exists:
            table.found_unfit(TableSetup(session, table.live).absent(synced=True))
    return tables


def _read_marks(context: SyncContext, tables: Sequence[TableSync]) -> None:
    with context.clock.timed("gate"):
        fit = [table for table in tables if table.state.is_fit]
        marks = gate.read_marks(context.session, [table.live for table in fit])
    for table in fit:
        mark = marks[table.name]
        if isinstance(mark, psycopg.Error):
            table.found_unfit(_unreadable(context, table.live, mark))
        else:
            table.state = replace(table.state, mark=mark[0], expired=mark[1])
            table.others = _others(context, table.state)


def _others(context: SyncContext, state: TableState) -> str:
    """Say what others did to a table since the last sync, which is told where somebody can stop them."""
    if state.is_replaced:
        found = "the table was replaced by another, or dropped"
    else:
        found = _written(context.session, state.live) if state.is_written_by_others else ""
    if found:
        context.log(
            f"{state.live.title}: others wrote it since the last sync ({found}). Stop the old loader,"
            " and suspend the old task (ALTER TASK … SUSPEND), where they still run."
        )
    return found


def _written(session: psycopg.Connection, table: LiveTable) -> str:
    """Say what others did to a table whose mark is not the one that the last sync left; nothing where rows only moved.

    A row that was deleted leaves no trace but the count.
    """
    asking = query("sync", "later_rows").format(rows=table.own_rows, schema=table.schema, name=table.name)
    [found] = run(session, [asking])
    rows, later, left = found[0] if found else (0, 0, 0)
    if later:
        return f"rows that no sync wrote: {later:,} of {rows:,}"
    return f"rows taken out: {left - rows:,}" if rows < left else ""


def _unreadable(context: SyncContext, live: LiveTable, error: psycopg.Error) -> FluxError:
    if not isinstance(error, psycopg.errors.LockNotAvailable):
        hidden = TableSetup(context.session, live).hidden_rows()
        return hidden or translate_error(live.title, error, context.options.stop, SyncError)
    who = LockHolder.describe(context.session, live.schema, live.name, "reading") or LockHolder.GONE
    return SyncError(
        f"{live.title} is locked by {who}.", "End that transaction; the next sync brings the table up to date."
    )


def _read_source(context: SyncContext, tables: Sequence[TableSync]) -> datetime:
    """Let the source be read where the gate is open, and hand each table what was read; return as of when that is."""
    force, source = context.options.force, context.source
    waiting = [table for table in tables if table.entry and table.step == "waiting"]
    source.choose(
        lambda tokens, mappings: [
            table.name
            for table in waiting
            if table.state.reason(tokens.get(table.name), mappings.get(table.name), force=force)
        ]
    )
    if not source.is_done:
        # The server loads PostGIS at its first use. Whatever is written needs it, and there is nothing else to do.
        context.session.execute("SELECT 'POINT EMPTY'::geometry")
    found = source.found()
    reach("sync.read")
    for table in waiting:
        token, mapping = found.tokens.get(table.name), found.mappings.get(table.name)
        if read := found.taken.get(table.name):
            table.receive(table.state.reason(token, mapping, force=force) or "the source changed", token, read)
        else:
            table.leave()
    return found.instant


def _described(error: BaseException, table: TableSync, options: SyncOptions) -> FluxError:
    if isinstance(error, psycopg.Error):
        return translate_error(table.live.title, error, options.stop, SyncError)
    if not isinstance(error, Exception):
        # Ctrl-C, or Dagster ending the run.
        return SyncError("Stopped on request; what was there before stays.")
    return error if isinstance(error, FluxError) else SyncError(str(error) or type(error).__name__)
