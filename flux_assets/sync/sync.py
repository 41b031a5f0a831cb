"""The dynamic tables, from Snowflake into PostGIS: gate, read, stage, write the differences, record.

Here: the order of the steps. Not here: how a step is done (syncing/write.py, warehouse/, postgis/), the gate's
judgement (syncing/work.py), Dagster, or the name of any table.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import psycopg

from flux_assets.errors import FluxError, SyncError
from flux_assets.failpoints import reach
from flux_assets.ledger.entries import Entry, fail
from flux_assets.ledger.leases import Lease, held
from flux_assets.ledger.registry import register_declarations
from flux_assets.postgis.batch import run
from flux_assets.postgis.bootstrap import prepare
from flux_assets.postgis.connect import Target
from flux_assets.postgis.errors import translate_error
from flux_assets.postgis.locking import AGAINST_READING, GONE, LockRetries, holders
from flux_assets.postgis.names import LiveTable
from flux_assets.postgis.session.watched import WatchedConnection
from flux_assets.spec import DynamicTable
from flux_assets.step_timer import StepTimer
from flux_assets.sync import gate, setup
from flux_assets.sync.busy import describe_busy, who_syncs
from flux_assets.sync.gate import TableMark, TargetState
from flux_assets.sync.reader import HeldRead, OpenSource, SourceSide
from flux_assets.sync.result import SyncOptions, SyncResult, TableResult
from flux_assets.sync.table import TableSync
from flux_assets.sync.write import SyncContext, write

_LOCK_PATIENCE_SECONDS = 30


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
    with SourceSide(open_source, asked, options.stop, clock) as source, _session(target, options) as session:
        reach("sync.opened")
        with clock.timed("gate"):
            opening = gate.open_gate(session, target.schema, family.tables)
            if opening.lease is None:
                return SyncResult(busy=describe_busy(session, target.schema, wanted, options))
            reach("sync.gated")
            source.admit(opening.at)
        sync = _Sync(
            wanted=wanted, family=family, source=source, target=target, session=session, lease=opening.lease,
            options=options, log=log, clock=clock, before=opening.before, at=opening.at,
        )  # fmt: skip
        with held(session, target, opening.lease):
            return sync.run()


def set_up_tables(
    family: Family, target: Target, options: SyncOptions, log: Callable[[str], None]
) -> dict[str, FluxError | bool]:
    """Make every table of the family, or make it fit; by name True where anything was done, or why it cannot be.

    Raises SyncError while a sync is running, TargetError when there is no database.
    """
    lives = [LiveTable(target.schema, table) for table in family.tables]
    with _session(target, options) as session:
        lease = gate.open_gate(session, target.schema, family.tables).lease
        if lease is None:
            raise SyncError(who_syncs(session, target.schema), "Wait for it to end and try again.")
        with held(session, target, lease):
            run(session, register_declarations(target.schema, target.declared, family.tables))
            return {live.name: _set_up(session, live, options, log) for live in lives}


def refuse(
    tables: Sequence[DynamicTable], target: Target, error: FluxError, run_id: str | None, log: Callable[[str], None]
) -> None:
    """Note in the ledger that a sync of these tables could not begin, so that whoever asks it learns of it."""
    try:
        with target.session("ledger") as session:
            prepare(session, target.schema)
            entries = gate.begin(session, [LiveTable(target.schema, table) for table in tables], run_id)
            _record(session, {entry.sync_id: error for entry in entries.values()})
    except (FluxError, psycopg.Error) as other:
        log(f"The ledger could not be reached, and does not know of this failure: {other}")


@contextmanager
def _session(target: Target, options: SyncOptions) -> Iterator[WatchedConnection]:
    try:
        with target.session("sync", options.stop, is_set=False) as session:
            yield session
    except psycopg.Error as error:
        raise translate_error(f"sync into {target.schema}", error, options.stop, SyncError) from error


def _set_up(
    session: psycopg.Connection, live: LiveTable, options: SyncOptions, log: Callable[[str], None]
) -> FluxError | bool:
    patience = LockRetries(seconds=_LOCK_PATIENCE_SECONDS, log=log, stop=options.stop)
    try:
        return setup.set_up(session, live, patience)
    except FluxError as error:
        return error
    except psycopg.Error as error:
        if session.closed or session.broken:
            raise
        return translate_error(live.title, error, options.stop, SyncError)


class _Sync:
    """One sync under way."""

    def __init__(  # noqa: PLR0913 - what sync_tables was given, and what it made of it
        self,
        *,
        wanted: Collection[str],
        family: Family,
        source: SourceSide,
        target: Target,
        session: psycopg.Connection,
        lease: Lease,
        options: SyncOptions,
        log: Callable[[str], None],
        clock: StepTimer,
        before: TargetState,
        at: datetime,
    ) -> None:
        self._lives = [LiveTable(target.schema, table) for table in family.tables]
        self._wanted = [live for live in self._lives if live.name in wanted]
        self._configuration = family.configuration
        self._source = source
        self._target = target
        self._session = session
        self._lease = lease
        self._options = options
        self._log = log
        self._clock = clock
        self._before = before
        self._at = at
        self._works: list[TableSync] = []
        self._instant: datetime | None = None
        self._visible: datetime | None = None

    def run(self) -> SyncResult:
        with self._clock.timed("gate"):
            before, unfit = self._fit()
            there = [live for live in self._lives if live.name in before.shapes]
            existing = [live for live in there if live.name not in unfit]
            tables = [live.table for live in self._lives]
            known = register_declarations(self._target.schema, self._target.declared, tables, before.known)
            entries = gate.begin(self._session, self._wanted, self._options.run_id, known, under_way=before.under_way)
        try:
            reach("sync.begun")
            with self._clock.timed("gate"):
                seen = gate.read_marks(self._session, existing)
            reach("sync.looked")
            standing = {name: each for name, each in seen.items() if isinstance(each, TableMark)}
            unfit |= {
                live.name: self._unreadable(live, error)
                for live in existing
                if isinstance(error := seen[live.name], psycopg.Error)
            }
            self._works = [
                TableSync(
                    live=live, shape=_shape(live, before), last=before.last.get(live.name),
                    origins=before.origins(live.table, [live.name for live in self._lives]),
                    heirs=before.heirs.get(live.name, ()),
                    standing=standing.get(live.name), entry=None if live.name in unfit else entries.get(live.name),
                    is_fit=live.name not in unfit, configuration=self._configuration, at=self._at,
                )
                for live in there
            ]  # fmt: skip
            self._sync(before.kinds)
        except BaseException as error:
            unfit |= self._fail_all(error, unfit)
            if not isinstance(error, FluxError | psycopg.Error):
                raise
        finally:
            failed = {name: error for name, error in unfit.items() if name in entries}
            failed |= {work.name: work.error for work in self._works if work.entry and work.error}
            self._close_failed({entries[name].sync_id: error for name, error in failed.items()})
        return SyncResult(tables=tuple(self._results(unfit)))

    def _fit(self) -> tuple[TargetState, dict[str, FluxError]]:
        """The target as it stands once every table is there in its declared shape, and why some cannot be."""
        tables = [live.table for live in self._lives]
        before = self._before
        checked = [live for live in self._lives if not _is_fit(live, before)]
        found = {live.name: _set_up(self._session, live, self._options, self._log) for live in checked}
        if any(done is True for done in found.values()):
            before = gate.read_target(self._session, self._target.schema, tables)
        gone = {live.name: setup.absent(live, synced=True) for live in self._lives if live.name not in before.shapes}
        return before, gone | {name: done for name, done in found.items() if isinstance(done, FluxError)}

    def _unreadable(self, live: LiveTable, error: psycopg.Error) -> FluxError:
        if not isinstance(error, psycopg.errors.LockNotAvailable):
            if fault := setup.hidden_rows(self._session, live):
                return fault
            return translate_error(live.title, error, self._options.stop, SyncError)
        who = holders(self._session, live.schema, live.name, AGAINST_READING) or GONE
        return SyncError(
            f"{live.title} is locked by {who}.", "End that transaction; the next sync brings the table up to date."
        )

    def _sync(self, present: Mapping[str, str]) -> None:
        wanted = [work for work in self._works if work.entry]
        self._source.choose(lambda *said: [work.name for work in wanted if self._reason(work, *said)])
        if not self._source.is_done:
            # Whatever is written needs it, and there is nothing else to do.
            gate.load_postgis(self._session)
        found = self._source.found()
        reach("sync.read")
        self._instant = found.instant
        for work in wanted:
            if taken := found.taken.get(work.name):
                reason = self._reason(work, found.tokens, found.mappings) or "the source changed"
                work.receive(reason, found.tokens.get(work.name), taken)
            else:
                work.leave()
        desk = SyncContext(
            session=self._session, lease=self._lease, options=self._options, log=self._log, present=present,
            has_failures=len(wanted) < len(self._wanted), clock=self._clock,
        )  # fmt: skip
        self._visible = write(desk, self._works, found.instant, self._held)

    def _reason(self, work: TableSync, tokens: Mapping[str, str], mappings: Mapping[str, str]) -> str | None:
        """The gate: why a table has to be read, when it has to."""
        return work.reason(tokens.get(work.name), mappings.get(work.name), force=self._options.force)

    def _held(self, work: TableSync, keys: Sequence[tuple[object, ...]]) -> HeldRead:
        return self._source.held(work.live.table, keys)

    def _fail_all(self, error: BaseException, unfit: Collection[str]) -> dict[str, FluxError]:
        """Nothing was written for any table; what to say of those that it had not come to."""
        for work in self._works:
            work.fail(self._told(work.live, error))
        come_to = {*unfit, *(work.name for work in self._works)}
        return {live.name: self._told(live, error) for live in self._wanted if live.name not in come_to}

    def _told(self, live: LiveTable, error: BaseException) -> FluxError:
        if isinstance(error, psycopg.Error):
            return translate_error(live.title, error, self._options.stop, SyncError)
        if not isinstance(error, Exception):
            # Ctrl-C, or Dagster ending the run.
            return SyncError("Stopped on request; what was there before stays.")
        return error if isinstance(error, FluxError) else SyncError(str(error) or type(error).__name__)

    def _close_failed(self, failed: Mapping[int, FluxError]) -> None:
        """Close the ledger's rows of what failed, through a session of its own where the sync's is broken.

        Rows that a commit closed whose answer was lost are SUCCESS already, and stay so.
        """
        if not failed:
            return
        try:
            if self._session.closed or self._session.broken:
                with self._target.session("ledger") as session:
                    # The lost session may still commit what it was sent, but not after this.
                    session.execute(self._lease.ending_session())
                    session.execute(self._lease.revoking())
                    _record(session, failed)
            else:
                _record(self._session, failed)
        except (FluxError, psycopg.Error) as error:
            self._log(f"The ledger could not be written; its RUNNING rows are closed by the next sync: {error}")

    def _results(self, unfit: Mapping[str, FluxError]) -> Iterator[TableResult]:
        for live in self._wanted:
            if live.name in unfit:
                yield TableResult(table=live.name, outcome="failed", gate="", error=unfit[live.name])
        for work in self._works:
            if work.is_fit and (work.entry or work.refreshed):
                yield work.result(self._instant, self._visible, self._clock)


def _is_fit(live: LiveTable, before: TargetState) -> bool:
    """Whether the table is as it was when it was last found fit, for this very declaration."""
    last = before.last.get(live.name)
    return last is not None and last.shape == _shape(live, before)


def _shape(live: LiveTable, before: TargetState) -> str:
    return f"{before.shapes.get(live.name, '')} {live.table.digest}"


def _record(session: psycopg.Connection, failed: Mapping[int, FluxError]) -> None:
    for number, error in failed.items():
        fail(session, Entry(number, "DELTA"), str(error))
