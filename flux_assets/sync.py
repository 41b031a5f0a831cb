"""The dynamic tables, from Snowflake into PostGIS: gate, read, stage, write the differences, record.

Here: the order of the steps. Not here: how a step is done (sync_write.py, warehouse/, postgis/), the gate's judgement
(sync_work.py), Dagster, or the name of any table.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import psycopg

from flux_assets.clock import Clock
from flux_assets.errors import FluxError, SyncError, WarehouseError
from flux_assets.postgis import ledger, sync_gate, sync_shape
from flux_assets.postgis.connect import Target
from flux_assets.postgis.declared import keeping
from flux_assets.postgis.faults import ours
from flux_assets.postgis.layer import LiveTable
from flux_assets.postgis.ledger import Entry
from flux_assets.postgis.locking import Patience, holder
from flux_assets.postgis.prerequisites import prepare
from flux_assets.postgis.round_trip import run
from flux_assets.postgis.sync_gate import Before
from flux_assets.snapshot import take
from flux_assets.spec import DynamicTable
from flux_assets.sync_result import SyncOptions, SyncResult, TableSync
from flux_assets.sync_work import NOTHING_CHANGED, SAME_ROWS, Work
from flux_assets.sync_write import Desk, write
from flux_assets.warehouse.source import Source

OpenSource = Callable[[], AbstractContextManager[Source]]
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
    clock = Clock()
    with _session(target, options) as session:
        with clock.timed("gate"):
            if not _admitted(session, target.schema):
                return SyncResult(busy=_busy(session, target.schema))
        sync = _Sync(
            wanted=wanted, family=family, open_source=open_source, target=target, session=session, options=options,
            log=log, clock=clock,
        )  # fmt: skip
        return sync.run()


def set_up_tables(
    family: Family, target: Target, options: SyncOptions, log: Callable[[str], None]
) -> dict[str, FluxError | bool]:
    """Make every table of the family, or make it fit; by name True where anything was done, or why it cannot be.

    Raises SyncError while a sync is running, TargetError when there is no database.
    """
    lives = [LiveTable(target.schema, table) for table in family.tables]
    with _session(target, options) as session:
        if not _admitted(session, target.schema):
            raise SyncError(_busy(session, target.schema), "Wait for it to end and try again.")
        run(session, keeping(target.schema, target.declared, family.tables))
        return {live.name: _set_up(session, live, options, log) for live in lives}


@contextmanager
def _session(target: Target, options: SyncOptions) -> Iterator[psycopg.Connection]:
    try:
        with target.session("sync", options.stop) as session:
            yield session
            # The server notices the end of a session only after its client has gone on, to the next sync perhaps.
            if not session.closed:
                session.execute("SELECT pg_advisory_unlock_all()")
    except psycopg.Error as error:
        raise ours(f"sync into {target.schema}", error, options.stop, SyncError) from error


def _admitted(session: psycopg.Connection, schema: str) -> bool:
    """Whether the sync's lock is ours now; the database is made ready first where it is not."""
    opening = sync_gate.open_gate(session, schema)
    if opening.complete or not opening.locked:
        return opening.locked
    prepare(session, schema)
    return True


def _busy(session: psycopg.Connection, schema: str) -> str:
    return f"Another sync into schema {schema} is running: {holder(session, sync_gate.sync_lock(schema))}."


def _set_up(
    session: psycopg.Connection, live: LiveTable, options: SyncOptions, log: Callable[[str], None]
) -> FluxError | bool:
    patience = Patience(seconds=_LOCK_PATIENCE_SECONDS, log=log, stop=options.stop)
    try:
        return sync_shape.set_up(session, live, patience)
    except FluxError as error:
        return error
    except psycopg.Error as error:
        if session.closed or session.broken:
            raise
        return ours(live.title, error, options.stop, SyncError)


class _Sync:
    """One sync under way."""

    def __init__(  # noqa: PLR0913 - what sync_tables was given, and what it made of it
        self,
        *,
        wanted: Collection[str],
        family: Family,
        open_source: OpenSource,
        target: Target,
        session: psycopg.Connection,
        options: SyncOptions,
        log: Callable[[str], None],
        clock: Clock,
    ) -> None:
        self._lives = [LiveTable(target.schema, table) for table in family.tables]
        self._wanted = [live for live in self._lives if live.name in wanted]
        self._configuration = family.configuration
        self._open_source = open_source
        self._target = target
        self._session = session
        self._options = options
        self._log = log
        self._clock = clock
        self._works: list[Work] = []
        self._instant: datetime | None = None
        self._visible: datetime | None = None

    def run(self) -> SyncResult:
        with self._clock.timed("gate"):
            before, unfit = self._fit()
            existing = [live for live in self._lives if live.name in before.shapes and live.name not in unfit]
            known = keeping(self._target.schema, self._target.declared, [live.table for live in self._lives])
            entries, standing = sync_gate.begin(self._session, self._wanted, existing, self._options.run_id, known)
        failed = {entries[live.name].sync_id: unfit[live.name] for live in self._wanted if live.name in unfit}
        try:
            self._works = [
                Work(
                    live=live, shape=_shape(live, before), last=before.last.get(live.name),
                    origins=_origins(live, before, [live.name for live in self._lives]),
                    standing=standing.get(live.name), entry=entries.get(live.name),
                    configuration=self._configuration,
                )
                for live in existing
            ]  # fmt: skip
            self._sync(before)
        except BaseException as error:
            self._fail_all(error)
            if not isinstance(error, FluxError | psycopg.Error):
                raise
        finally:
            failed |= {work.entry.sync_id: work.error for work in self._works if work.entry and work.error}
            self._close_failed(failed)
        return SyncResult(tables=tuple(self._results(unfit)))

    def _fit(self) -> tuple[Before, dict[str, FluxError]]:
        """The target as it stands once every table is there in its declared shape, and why some cannot be."""
        tables = [live.table for live in self._lives]
        before = sync_gate.before(self._session, self._target.schema, tables)
        checked = [live for live in self._lives if not _is_fit(live, before)]
        found = {live.name: _set_up(self._session, live, self._options, self._log) for live in checked}
        if any(done is True for done in found.values()):
            before = sync_gate.before(self._session, self._target.schema, tables)
        return before, {name: done for name, done in found.items() if isinstance(done, FluxError)}

    def _sync(self, before: Before) -> None:
        wanted = [work for work in self._works if work.entry]
        with ExitStack() as stack:
            with self._clock.timed("connect"):
                source = stack.enter_context(self._open_source())
            stack.callback(_free, wanted)
            # A source that cannot be read as of an instant has to be read whole again when its session is lost.
            self._instant = source.retrying(lambda: self._read_all(wanted, source))
            desk = Desk(
                session=self._session, options=self._options, log=self._log, present=before.shapes.keys(),
                clock=self._clock,
            )  # fmt: skip
            self._visible = write(desk, self._works, self._instant, partial(_existing, source, self._instant))

    def _read_all(self, wanted: Sequence[Work], source: Source) -> datetime:
        """Read what the gate lets through, as of the instant that is returned."""
        for work in wanted:
            work.restart()
        with self._clock.timed("gate"):
            instant = source.instant()
            _decide(wanted, source, force=self._options.force)
        for work in wanted:
            self._options.stop.check()
            if work.step == "waiting":
                with work.clock.timed("read"):
                    _read(work, source, instant)
        return instant

    def _fail_all(self, error: BaseException) -> None:
        """Nothing was written for any table."""
        for work in self._works:
            if isinstance(error, psycopg.Error):
                work.fail(ours(work.live.title, error, self._options.stop, SyncError))
            else:
                work.fail(error if isinstance(error, FluxError) else SyncError(str(error) or type(error).__name__))

    def _close_failed(self, failed: Mapping[int, FluxError]) -> None:
        """Close the ledger's rows of what failed, through a session of its own where the sync's is broken."""
        if not failed:
            return
        try:
            if self._session.closed or self._session.broken:
                with self._target.session("ledger") as session:
                    _record(session, failed)
            else:
                _record(self._session, failed)
        except (FluxError, psycopg.Error) as error:
            self._log(f"The ledger could not be reached; its RUNNING rows are closed by the next sync: {error}")

    def _results(self, unfit: Mapping[str, FluxError]) -> Iterator[TableSync]:
        for live in self._wanted:
            if live.name in unfit:
                yield TableSync(table=live.name, outcome="failed", gate="", error=unfit[live.name])
        for work in self._works:
            if work.entry or work.refreshed:
                yield work.result(self._instant, self._visible, self._clock.seconds)


def _is_fit(live: LiveTable, before: Before) -> bool:
    """Whether the table is as it was when it was last found fit, for this very declaration."""
    last = before.last.get(live.name)
    return last is not None and last.shape == _shape(live, before)


def _shape(live: LiveTable, before: Before) -> str:
    return f"{before.shapes.get(live.name, '')} {live.table.digest}"


def _origins(live: LiveTable, before: Before, family: Collection[str]) -> dict[str, str | None]:
    """Versions of the static tables that columns are derived from: None where a table is not there."""
    static = [name for name in live.table.origins if name not in family]
    return {name: before.versions.get(name, "of others") if name in before.shapes else None for name in static}


def _decide(works: Sequence[Work], source: Source, *, force: bool) -> None:
    """The gate: tables that need not be read are done."""
    tokens = source.tokens([work.live.table for work in works]) or {}
    for work in works:
        work.token = tokens.get(work.name)
        reason = work.reason(work.token, force=force)
        work.gate = reason or NOTHING_CHANGED
        work.rows = work.before
        if reason is None:
            work.step = "unchanged"


def _read(work: Work, source: Source, instant: datetime) -> None:
    """Read one table. A source that cannot be read fails it alone; a fault that passes is raised."""
    try:
        mapping = source.mapping(work.live.table)
        work.missing = mapping.missing
        work.snapshot = take(source.rows(mapping, instant))
    except FluxError as error:
        if isinstance(error, WarehouseError) and error.curable:
            raise
        work.fail(error)
    else:
        same = work.is_same(work.snapshot)
        work.step, work.gate = ("unchanged", SAME_ROWS) if same else ("read", work.gate)


def _free(works: Sequence[Work]) -> None:
    """Give the memory and files of what was read back."""
    for work in works:
        if work.snapshot is not None:
            work.snapshot.spool.close()


def _existing(source: Source, instant: datetime, work: Work, keys: Sequence[tuple[object, ...]]) -> int:
    """How many of these keys the source still holds, whatever their state."""
    mapping = source.mapping(work.live.table)
    return len(source.retrying(lambda: source.existing(mapping, keys, instant)))


def _record(session: psycopg.Connection, failed: Mapping[int, FluxError]) -> None:
    for number, error in failed.items():
        ledger.fail(session, Entry(number, "DELTA"), str(error))
