"""Audits of dynamic tables as readers see them, and of their sources' columns and tokens, without syncing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import psycopg

from flux_assets.checks.audit import AuditResult
from flux_assets.checks.sync_audits import ALWAYS_JUDGED, SyncCase, SyncTimes, read_sync_times, refusal, sync_audits
from flux_assets.errors import FluxError, SyncError
from flux_assets.postgis import catalog
from flux_assets.postgis.errors import translate_error
from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.relations import LiveTable
from flux_assets.postgis.session import Target, prepare
from flux_assets.snowflake.source import Source
from flux_assets.spec import DynamicTable
from flux_assets.sqlfiles import query
from flux_assets.sync import setup
from flux_assets.sync.reader import OpenSource

# Whoever locks a table for long must not keep the next sync from beginning.
_LIMITS = "SET lock_timeout = '10s'; SET statement_timeout = '60s'"
_OF_THE_SOURCE = frozenset({"columns", "lag"})
# Judged by the ledger or the source, whatever stands under the table's name.
_BESIDE_THE_ROWS = ALWAYS_JUDGED | {"columns"}


@dataclass(frozen=True, kw_only=True)
class AuditRequest:
    """Which audits of a table are wanted, by `names`, and what a sync knows that the table does not show.

    `missing` are columns that the source lacks; None has the source asked for them, when they are wanted, and for its
    change token, which lag is measured by.
    """

    table: DynamicTable
    names: Collection[str] = ()
    vanished: int = 0
    allowed: float | None = None
    missing: tuple[str, ...] | None = None

    @property
    def of_the_source(self) -> bool:
        """Whether the source has to be asked."""
        return self.missing is None and not _OF_THE_SOURCE.isdisjoint(self.names)


@dataclass(frozen=True, kw_only=True)
class LiveAudit:
    """What was found of a table. `version` is the same as long as nobody writes it; None before the first sync.

    `error` is why some of the audits asked for are not among `audits`.
    """

    version: str | None
    audits: tuple[AuditResult, ...] = ()
    error: FluxError | None = None


@dataclass(frozen=True, kw_only=True)
class _Answers:
    """What the sources said when they were asked: by table, missing columns or why they cannot be told; and tokens."""

    missing: dict[str, tuple[str, ...] | FluxError] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Last:
    """What the last sync left of a table: its rows and mark; and the table's clocks."""

    rows: int | None = None
    mark: str | None = None
    clocks: SyncTimes | None = None


@dataclass(frozen=True, kw_only=True)
class _Context:
    session: psycopg.Connection
    schema: str
    stop: Stop
    answers: _Answers


def audit_tables(
    questions: Sequence[AuditRequest], target: Target, open_source: OpenSource, stop: Stop
) -> dict[str, LiveAudit]:
    """Run the audits asked for, in one session; what is wrong with one table hides no other.

    A version is the row count and a hash over where each row lies and which transaction wrote it. Raises TargetError
    or SyncError when none can be read.
    """
    answers = _asked(questions, open_source)
    names = [question.table.name for question in questions]
    try:
        with target.session("audit of the sync", stop) as session:
            session.execute(_LIMITS)
            prepare(session, target.schema)
            last = _last(session, target.schema, names)
            context = _Context(session=session, schema=target.schema, stop=stop, answers=answers)
            return {
                question.table.name: _audited(context, question, last[question.table.name]) for question in questions
            }
    except psycopg.Error as error:
        raise translate_error(", ".join(names), error, stop, SyncError) from error


def _asked(questions: Sequence[AuditRequest], open_source: OpenSource) -> _Answers:
    """Ask the sources, which wakes no warehouse; one that cannot be reached must not hide what can be seen here."""
    asking = [question for question in questions if question.of_the_source]
    if not asking:
        return _Answers()
    try:
        with open_source() as source:
            tokens = source.retrying(lambda: source.tokens([question.table for question in asking])) or {}
            missing = {q.table.name: _missing(q.table, source) for q in asking if "columns" in q.names}
            return _Answers(missing=missing, tokens=tokens)
    except FluxError as error:
        return _Answers(missing={question.table.name: error for question in asking})


def _missing(table: DynamicTable, source: Source) -> tuple[str, ...] | FluxError:
    try:
        return source.retrying(lambda: source.mapping(table)).missing
    except FluxError as error:
        return error


def _last(session: psycopg.Connection, schema: str, names: Sequence[str]) -> dict[str, _Last]:
    clocks = read_sync_times(session, schema, names)
    states = {name: (rows, mark) for name, rows, mark in session.execute(query("sync", "last_marks"), [schema, names])}
    return {
        name: _Last(rows=states[name][0], mark=states[name][1], clocks=clocks.get(name)) if name in states else _Last()
        for name in names
    }


def _audited(context: _Context, question: AuditRequest, last: _Last) -> LiveAudit:
    live = LiveTable(context.schema, question.table)
    wanted = [audit for audit in sync_audits(question.table) if audit.name in question.names]
    beside = [audit for audit in wanted if audit.name in _BESIDE_THE_ROWS]
    rows, error = last.rows or 0, None
    if wanted != beside:
        found = _counted(context, live, synced=last.mark is not None)
        rows, error = (rows, found) if isinstance(found, FluxError) else (found, None)
    missing = context.answers.missing.get(live.name, question.missing or ())
    case = SyncCase(
        connection=context.session,
        layer=live,
        table=question.table,
        relation=live.public,
        alone=True,
        rows=rows,
        promised_rows=last.rows,
        vanished=question.vanished,
        allowed=question.allowed,
        missing=() if isinstance(missing, FluxError) else missing,
        token=context.answers.tokens.get(live.name),
        clocks=last.clocks,
    )
    judged: list[AuditResult] = []
    for audit in beside if error else wanted:
        if audit.name == "columns" and isinstance(missing, FluxError):
            judged.append(refusal(question.table, "columns", missing.problem))
            continue
        try:
            judged.append(audit.run(case))
        except psycopg.Error as refused:
            error = error or _described(context, live, refused)
    return LiveAudit(version=last.mark, audits=tuple(judged), error=error)


def _counted(context: _Context, live: LiveTable, *, synced: bool) -> int | FluxError:
    """Return the table's number of rows, or why there is nothing to count."""
    try:
        return setup.obstacle(context.session, live, synced=synced) or catalog.count_rows(
            context.session, live.own_rows
        )
    except psycopg.Error as refused:
        return _described(context, live, refused)


def _described(context: _Context, live: LiveTable, refused: psycopg.Error) -> FluxError:
    """Return why a statement about one table was refused; raise what concerns all of them."""
    if context.stop.asked or context.session.closed or context.session.broken:
        raise refused
    return setup.explanation(context.session, live, refused) or translate_error(
        live.title, refused, context.stop, SyncError
    )
