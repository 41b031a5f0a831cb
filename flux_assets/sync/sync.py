"""The dynamic tables, from Snowflake into PostGIS: gate, read, stage and judge, write the differences, record."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg

from flux_assets.errors import FluxError, SyncError
from flux_assets.ledger.entries import register_declarations
from flux_assets.ledger.leases import held
from flux_assets.postgis.errors import translate_error
from flux_assets.postgis.locking import GONE, holders
from flux_assets.postgis.relations import LiveTable
from flux_assets.postgis.session import Target, prepare
from flux_assets.spec import DynamicTable
from flux_assets.steps import StepTimer, reach
from flux_assets.sync import gate, record, setup
from flux_assets.sync.busy import describe_busy
from flux_assets.sync.gate import GateResult, TableMark, TargetState
from flux_assets.sync.reader import OpenSource, SourceSide
from flux_assets.sync.result import SyncOptions, SyncResult
from flux_assets.sync.table import TableState, TableSync
from flux_assets.sync.write import SyncContext, write


@dataclass(frozen=True, kw_only=True)
class Family:
    """The dynamic tables of one database, overrides applied, and a digest of the `configuration` they came with."""

    tables: Sequence[DynamicTable]
    configuration: str = ""


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
    with SourceSide(open_source, asked, options.stop, clock) as source, gate.sync_session(target, options) as session:
        reach("sync.opened")
        with clock.timed("gate"):
            opened = gate.open_gate(session, target.schema, family.tables)
            if opened.lease is None:
                return SyncResult(busy=describe_busy(session, target.schema, wanted, options))
            reach("sync.gated")
            source.admit(opened.at)
        with held(session, target, opened.lease):
            context = SyncContext(
                target=target, session=session, lease=opened.lease, options=options, log=log, clock=clock
            )
            with clock.timed("gate"):
                tables = _begin(context, wanted, family, opened)
            return _sync(context, tables, source)


def refuse(
    tables: Sequence[DynamicTable], target: Target, error: FluxError, run_id: str | None, log: Callable[[str], None]
) -> None:
    """Note in the ledger that a sync of these tables could not begin, so that whoever asks it learns of it."""
    try:
        with target.session("ledger") as session:
            prepare(session, target.schema)
            entries = record.begin(session, [LiveTable(target.schema, table) for table in tables], run_id)
            record.fail(session, dict.fromkeys(entries.values(), error))
    except (FluxError, psycopg.Error) as other:
        log(f"The ledger could not be reached, and does not know of this failure: {other}")


def _begin(context: SyncContext, wanted: Collection[str], family: Family, opened: GateResult) -> list[TableSync]:
    """Make every table fit that can be, and open a row of the ledger for each of the `wanted` ones."""
    schema = context.target.schema
    lives = [LiveTable(schema, table) for table in family.tables]
    target, unfit = _make_fit(context, lives, opened.target)
    declared = register_declarations(schema, context.target.declared, family.tables, target.known)
    asked = [live for live in lives if live.name in wanted]
    entries = record.begin(context.session, asked, context.options.run_id, declared, under_way=target.under_way)
    tables = [TableSync(state=_state(live, family, target, opened.at), entry=entries.get(live.name)) for live in lives]
    for table in tables:
        if error := unfit.get(table.name):
            table.found_unfit(error)
    return tables


def _sync(context: SyncContext, tables: Sequence[TableSync], source: SourceSide) -> SyncResult:
    """Take the tables through the steps; what stops one, or all of them, is in their results and in the ledger."""
    instant = visible = None
    try:
        reach("sync.begun")
        _read_marks(context, tables)
        reach("sync.looked")
        instant = _read_source(context, tables, source)
        visible = write(context, tables, instant, source.held)
    except BaseException as error:
        # Nothing was written for any table.
        for table in tables:
            if table.state.is_fit:
                table.fail(_described(error, table, context.options))
        if not isinstance(error, FluxError | psycopg.Error):
            raise
    finally:
        failed = {each.entry: each.outcome.error for each in tables if each.entry and each.outcome.error}
        record.close_failed(context.session, context.target, context.lease, failed, context.log)
    reported = [each for each in tables if each.entry or (each.state.is_fit and each.outcome.refreshed)]
    reported.sort(key=lambda each: each.state.is_fit)
    return SyncResult(tables=tuple(each.result(instant, visible, context.clock) for each in reported))


def _make_fit(
    context: SyncContext, lives: Sequence[LiveTable], target: TargetState
) -> tuple[TargetState, dict[str, FluxError]]:
    """Make every table as it is declared; return the target as it is then, and why some tables cannot be."""
    changed = [live for live in lives if not _is_fit(live, target)]
    found = {live.name: setup.set_up(context.session, live, context.options, context.log) for live in changed}
    if any(done is True for done in found.values()):
        target = gate.read_target(context.session, context.target.schema, [live.table for live in lives])
    gone = {live.name: setup.absent(live, synced=True) for live in lives if live.name not in target.shapes}
    return target, gone | {name: done for name, done in found.items() if isinstance(done, FluxError)}


def _is_fit(live: LiveTable, target: TargetState) -> bool:
    """Tell whether the table is as it was when it was last found fit, for this very declaration."""
    last = target.last.get(live.name)
    return last is not None and last.shape == target.shape(live)


def _state(live: LiveTable, family: Family, target: TargetState, at: datetime) -> TableState:
    return TableState(
        live=live,
        shape=target.shape(live),
        origins=target.origins(live.table, [table.name for table in family.tables]),
        last=target.last.get(live.name),
        present=target.kinds,
        configuration=family.configuration,
        heirs=target.heirs.get(live.name, ()),
        at=at,
    )


def _read_marks(context: SyncContext, tables: Sequence[TableSync]) -> None:
    with context.clock.timed("gate"):
        fit = [table for table in tables if table.state.is_fit]
        marks = gate.read_marks(context.session, [table.live for table in fit])
    for table in fit:
        mark = marks[table.name]
        if isinstance(mark, TableMark):
            table.found(mark)
        else:
            table.found_unfit(_unreadable(context, table.live, mark))


def _unreadable(context: SyncContext, live: LiveTable, error: psycopg.Error) -> FluxError:
    if not isinstance(error, psycopg.errors.LockNotAvailable):
        hidden = setup.hidden_rows(context.session, live)
        return hidden or translate_error(live.title, error, context.options.stop, SyncError)
    who = holders(context.session, live.schema, live.name, "reading") or GONE
    return SyncError(
        f"{live.title} is locked by {who}.", "End that transaction; the next sync brings the table up to date."
    )


def _read_source(context: SyncContext, tables: Sequence[TableSync], source: SourceSide) -> datetime:
    """Let the source be read where the gate is open, and hand each table what was read; return as of when that is."""
    force = context.options.force
    waiting = [table for table in tables if table.entry and table.step == "waiting"]
    source.choose(
        lambda tokens, mappings: [
            table.name
            for table in waiting
            if table.state.reason(tokens.get(table.name), mappings.get(table.name), force=force)
        ]
    )
    if not source.is_done:
        # Whatever is written needs it, and there is nothing else to do.
        gate.load_postgis(context.session)
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
