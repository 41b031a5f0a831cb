"""Audits of dynamic tables as readers see them, and of their sources' columns and tokens, without syncing."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import psycopg

from flux_assets.checks.audit import AuditResult
from flux_assets.checks.sync_audits import ALWAYS_JUDGED, SyncCase, SyncTimes, refusal, sync_audits
from flux_assets.errors import FluxError, SyncError
from flux_assets.postgis.catalog import count_rows
from flux_assets.postgis.errors import translate_error
from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.relations import LiveTable
from flux_assets.postgis.session import Target, prepare
from flux_assets.snowflake.source import Source
from flux_assets.spec import DynamicTable
from flux_assets.spec.facts import Volume
from flux_assets.sync.reader import OpenSource
from flux_assets.sync.setup import TableSetup

# Whoever locks a table for long must not keep the next sync from beginning.
_LIMITS = "SET lock_timeout = '10s'; SET statement_timeout = '60s'"
_OF_THE_SOURCE = frozenset({"columns", "lag"})
# Judged by the ledger or the source, whatever stands under the table's name.
_BESIDE_THE_ROWS = ALWAYS_JUDGED | {"columns"}


@dataclass(frozen=True, kw_only=True)
class AuditRequest:
    """Which audits of a table are wanted, by `names`, and what a sync knows that the table does not show.

    `missing` are columns that the source lacks; None has the source asked for them, and for the token of the lag.
    """

    table: DynamicTable
    names: Collection[str] = ()
    vanished: int = 0
    allowed: float | None = None
    missing: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class LiveAudit:
    """What was found of a table; `error` is why some of the audits asked for are not among `audits`.

    `version` is the same as long as nobody writes the table: its row count, and a hash over where each row lies and
    which transaction wrote it. None before the first sync.
    """

    version: str | None
    audits: tuple[AuditResult, ...] = ()
    error: FluxError | None = None


@dataclass(frozen=True, kw_only=True)
class _Auditing:
    """The session that audits run in, and what the sources said of tables: what they lack, or why that is unknown."""

    session: psycopg.Connection
    schema: str
    stop: Stop
    missing: Mapping[str, tuple[str, ...] | FluxError]
    tokens: Mapping[str, str]
    volumes: Mapping[str, Volume]

    def audited(self, request: AuditRequest, times: SyncTimes | None) -> LiveAudit:
        """Run the audits asked for of a table; `times` are None before its first sync."""
        live = LiveTable(self.schema, request.table)
        wanted = [audit for audit in sync_audits(request.table) if audit.name in request.names]
        rows: int | FluxError = times.rows if times else 0
        if any(audit.name not in _BESIDE_THE_ROWS for audit in wanted):
            rows = self._counted(live, synced=times is not None)
        missing = self.missing.get(live.name, request.missing or ())
        case = SyncCase(
            connection=self.session,
            layer=live,
            relation=live.public,
            alone=True,
            rows=rows if isinstance(rows, int) else times.rows if times else 0,
            promised_rows=times.rows if times else None,
            vanished=request.vanished,
            allowed=request.allowed,
            missing=() if isinstance(missing, FluxError) else missing,
            token=self.tokens.get(live.name),
            times=times,
            volume=self.volumes.get(live.name, Volume()),
        )
        error = obstacle = rows if isinstance(rows, FluxError) else None
        judged: list[AuditResult] = []
        for audit in wanted:
            if obstacle and audit.name not in _BESIDE_THE_ROWS:
                continue
            if audit.name == "columns" and isinstance(missing, FluxError):
                judged.append(refusal(request.table, "columns", missing.problem))
                continue
            try:
                judged.append(audit.run(case))
            except psycopg.Error as refused:
                error = error or self._described(live, refused)
        case.note_dropped_keys(judged)
        return LiveAudit(version=times.mark if times else None, audits=tuple(judged), error=error)

    def _counted(self, live: LiveTable, *, synced: bool) -> int | FluxError:
        """Return the table's number of rows, or why there is nothing to count."""
        try:
            obstacle = TableSetup(self.session, live).obstacle(synced=synced)
            return obstacle or count_rows(self.session, live.own_rows)
        except psycopg.Error as refused:
            return self._described(live, refused)

    def _described(self, live: LiveTable, refused: psycopg.Error) -> FluxError:
        """Return why a statement about one table was refused; raise what concerns all of them."""
        if self.stop.asked or self.session.closed or self.session.broken:
            raise refused
        explained = TableSetup(self.session, live).explanation(refused)
        return explained or translate_error(live.title, refused, self.stop, SyncError)


def audit_tables(
    requests: Sequence[AuditRequest], target: Target, open_source: OpenSource, stop: Stop
) -> dict[str, LiveAudit]:
    """Run the audits asked for, in one session; raises TargetError or SyncError only where no table can be read."""
    missing, tokens = _ask_sources(requests, open_source)
    names = [request.table.name for request in requests]
    try:
        with target.session("audit of the sync", stop) as session:
            session.execute(_LIMITS)
            prepare(session, target.schema)
            times = SyncTimes.read(session, target.schema, names)
            auditing = _Auditing(
                session=session,
                schema=target.schema,
                stop=stop,
                missing=missing,
                tokens=tokens,
                volumes=target.volumes,
            )
            return {each.table.name: auditing.audited(each, times.get(each.table.name)) for each in requests}
    except psycopg.Error as error:
        raise translate_error(", ".join(names), error, stop, SyncError) from error


def _ask_sources(
    requests: Sequence[AuditRequest], open_source: OpenSource
) -> tuple[dict[str, tuple[str, ...] | FluxError], dict[str, str]]:
    """Ask the sources, which wakes no warehouse; one that cannot be reached must not hide what can be seen here."""
    asking = [each for each in requests if each.missing is None and not _OF_THE_SOURCE.isdisjoint(each.names)]
    if not asking:
        return {}, {}
    try:
        with open_source() as source:
            tokens = source.retrying(lambda: source.tokens([each.table for each in asking])) or {}
            missing = {each.table.name: _missing(each.table, source) for each in asking if "columns" in each.names}
            return missing, tokens
    except FluxError as error:
        return {each.table.name: error for each in asking}, {}


def _missing(table: DynamicTable, source: Source) -> tuple[str, ...] | FluxError:
    try:
        return source.retrying(lambda: source.mapping(table)).missing
    except FluxError as error:
        return error
