"""Classes that dagster.yaml names: Dagster's storage in PostgreSQL, configured or embedded, and files in FLUX_HOME.

They exist because dagster.yaml itself can only demand a variable, never do without it. Of what Dagster does not make
public, this is the other door: definitions load without it.
"""

from __future__ import annotations

import atexit
import gc
import logging
import math
import os
import signal
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Self

import dagster as dg
from click import ClickException
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, SqlEventLogStorageTable
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.root import LocalArtifactStorage
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage, PostgresEventLogStorage, PostgresRunStorage
from dagster_postgres.utils import DagsterPostgresException
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, InvalidatePoolError
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from flux_assets.errors import FluxError, reported
from flux_assets.orchestration.dagster_internals import AssetCheckExecutionRecordStatus
from flux_assets.orchestration.names import Names
from flux_assets.orchestration.storage.watch import with_parameters
from flux_assets.settings import load_settings
from flux_assets.telemetry import JsonLines
from flux_assets.wiring.home import Home
from flux_assets.wiring.target import dagster_storage_url


class EventLog(PostgresEventLogStorage):
    """Dagster's own, but planned checks of a batch are stored in one transaction of two statements.

    What the schema has is remembered; what it lacks is asked again, because `dagster instance migrate` may add it.
    """

    def __init__(self, postgres_url: str) -> None:
        super().__init__(postgres_url, should_autocreate_tables=False)
        self._tables: set[str] = set()
        self._asset_columns: set[str] = set()

    def dispose(self) -> None:
        super().dispose()
        # All parts of the storage share it. A worker opens an instance for each run, and would leave its connections.
        self._engine.dispose()

    def has_table(self, table_name: str) -> bool:
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    def _has_asset_key_col_on_connection(self, conn: Connection, column_name: str) -> bool:
        there = column_name in self._asset_columns or super()._has_asset_key_col_on_connection(conn, column_name)
        if there:
            self._asset_columns.add(column_name)
        return there

    def store_event_batch(self, events: Sequence[dg.EventLogEntry]) -> None:
        planned = [event for event in events if _is_planned_check(event)]
        if others := [event for event in events if not _is_planned_check(event)]:
            super().store_event_batch(others)
        if planned:
            self._store_planned_checks(planned)

    def _store_planned_checks(self, events: Sequence[dg.EventLogEntry]) -> None:
        rows = [self._event_to_row(event) for event in events]
        insert = SqlEventLogStorageTable.insert().returning(SqlEventLogStorageTable.c.id, sort_by_parameter_order=True)
        with self.index_transaction() as connection:
            numbers: Sequence[int] = connection.execute(insert, rows).scalars().all()
            connection.execute(
                AssetCheckExecutionsTable.insert(),
                [
                    {
                        "asset_key": event.get_dagster_event().asset_check_planned_data.asset_key.to_string(),
                        "check_name": event.get_dagster_event().asset_check_planned_data.check_name,
                        "run_id": row["run_id"],
                        "execution_status": AssetCheckExecutionRecordStatus.PLANNED.value,
                        "evaluation_event": row["event"],
                        "evaluation_event_timestamp": row["timestamp"],
                        "evaluation_event_storage_id": number,
                    }
                    for event, row, number in zip(events, rows, numbers, strict=True)
                ],
            )


class _RunStorage(PostgresRunStorage):
    """Dagster's own, but each run notes the machine that it was created on."""

    def add_run(self, dagster_run: dg.DagsterRun) -> dg.DagsterRun:
        noted = dagster_run.with_tags({**dagster_run.tags, Names.MACHINE_TAG: Home.machine()})
        return super().add_run(noted)


def _is_planned_check(event: dg.EventLogEntry) -> bool:
    """Return whether the event plans a check; checks of partitions, which no table of ours has, are left to Dagster."""
    planned = event.dagster_event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED
    return planned and event.get_dagster_event().asset_check_planned_data.partitions_subset is None


_PAUSE_SECONDS = 1.0
# The server's side: what a process that froze, or a machine that vanished, leaves open.
_SERVER_SIDE = (
    "SET idle_in_transaction_session_timeout = '2min'; SET tcp_keepalives_idle = 60; SET tcp_keepalives_interval = 10;"
    " SET tcp_keepalives_count = 3"
)
# Dagster's switch for handing over in batches what it has as batches (events that a run plans); off unless set.
_BATCH_SIZE = "DAGSTER_EVENT_BATCH_SIZE"
# Characters of an error that is none of ours, and so has no bound, in an event; Dagster keeps half a million.
_ERROR_SIZE = "DAGSTER_EVENT_ERROR_FIELD_SIZE_LIMIT"


@atexit.register
def _end_without_collecting() -> None:
    """Leave memory to the end of the process; Python would search all of it for cycles first.

    That takes a third of a second of every command. Bindings made with nanobind (DuckDB's, which the stand-in needs)
    take what is not collected for a leak and say so on the terminal.
    """
    if "_duckdb" not in sys.modules:
        gc.freeze()


class _Unconfigured:
    """A class of dagster.yaml that is told nothing there."""

    @classmethod
    def config_type(cls) -> dict[str, dg.Field]:
        return {}


class InstanceStorage(_Unconfigured, DagsterPostgresStorage):
    """Runs, events and schedules in PostgreSQL: DAGSTER_POSTGRES_URL, or the embedded cluster, started on demand.

    Raises ClickException with the sentence and remedy of a SettingError, EmbeddedError or TargetError.
    """

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, _config_value: Mapping[str, object]
    ) -> InstanceStorage:
        # Dagster's commands are click's: this ends them with the sentence and remedy alone, without frames.
        try:
            settings = load_settings()
            if settings.flux_log_format == "json":
                _log_json()
            return cls(postgres_url=dagster_storage_url(settings), inst_data=inst_data)
        except FluxError as error:
            raise ClickException(str(error)) from error
        except (DagsterPostgresException, DBAPIError) as error:
            raise ClickException(_root_message(error)) from error

    def __init__(self, postgres_url: str, inst_data: ConfigurableClassData | None = None) -> None:
        """Keep connections open between events: a new one for each costs ten times what storing the event does."""
        postgres_url = with_parameters(postgres_url)
        super().__init__(postgres_url, inst_data=inst_data)
        self._run_storage = _RunStorage(postgres_url, should_autocreate_tables=False)
        self._event_log_storage = EventLog(postgres_url)
        # A run imports and makes tens of thousands of objects that stay. Python would search them for cycles a hundred
        # times, a tenth of the processor time of an unchanged sync.
        gc.set_threshold(10_000, 20, 50)
        os.environ.setdefault(_BATCH_SIZE, "1000")
        os.environ.setdefault(_ERROR_SIZE, "20000")
        engine = create_engine(postgres_url, isolation_level="AUTOCOMMIT", pool_size=4, max_overflow=16)
        _ping_after_a_pause(engine)
        event.listen(engine, "connect", _bound_on_the_server)
        for part in (self._run_storage, self._event_log_storage, self._schedule_storage):
            part._engine = engine


@cache
def _log_json() -> None:
    """Have every run's lines in the terminal as JSON, for which Dagster has no setting but each run's own config."""
    make = dg.colored_console_logger.logger_fn

    def made(context: dg.InitLoggerContext) -> logging.Logger:
        console = make(context)
        JsonLines.take_over(console)
        return console

    dg.colored_console_logger._logger_fn = made


def _bound_on_the_server(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    cursor.execute(_SERVER_SIDE)
    cursor.close()
    connection.commit()


def _root_message(error: BaseException) -> str:
    """Return the message of the connection itself, from below what Dagster and SQLAlchemy make of it."""
    while isinstance(error, DagsterPostgresException | DBAPIError):
        below = error.__cause__ if isinstance(error, DagsterPostgresException) else error.orig
        if below is None:
            break
        error = below
    return reported(error)


def _ping_after_a_pause(engine: Engine) -> None:
    """Test a kept connection before it is used again, unless it was used a moment ago.

    SQLAlchemy's own `pool_pre_ping` tests it every time: 768 times in the run of ten layers.
    """

    @event.listens_for(engine, "checkin")
    def note_when(_connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        record.info["used"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def test(connection: DBAPIConnection, record: ConnectionPoolEntry, _proxy: PoolProxiedConnection) -> None:
        if time.monotonic() - record.info.get("used", math.inf) > _PAUSE_SECONDS:
            try:
                engine.dialect.do_ping(connection)
            except engine.dialect.loaded_dbapi.Error as error:
                raise InvalidatePoolError from error  # all that are as old; another one is made


class _AtHome(_Unconfigured):
    """Keeps files in a folder under FLUX_HOME."""

    _folder: ClassVar[str]

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, _config_value: Mapping[str, object]) -> Self:
        folder: Path = load_settings().flux_home / "dagster" / cls._folder
        folder.mkdir(parents=True, exist_ok=True)
        return cls(base_dir=str(folder), inst_data=inst_data)  # type: ignore[call-arg]


class HomeArtifactStorage(_AtHome, LocalArtifactStorage):
    """Files of runs under FLUX_HOME, whichever folder the command is started in and whatever DAGSTER_HOME says."""

    _folder = "artifacts"


class HomeComputeLogs(_AtHome, LocalComputeLogManager):
    """What steps print, under FLUX_HOME: the UI shows it also after a command that had no DAGSTER_HOME."""

    _folder = "compute_logs"

    @contextmanager
    def capture_logs(self, log_key: Sequence[str]) -> Generator[Any]:
        """Capture as Dagster does, with helper processes that ignore a terminal's Ctrl-C and end with this one."""
        with ExitStack() as stack:
            # Processes inherit which signals are blocked.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                captured = stack.enter_context(super().capture_logs(log_key))
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            yield captured
