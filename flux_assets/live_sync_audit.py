"""Looking at dynamic tables as readers see them, and at their sources' columns, without syncing.

Here: the session and the cases. Not here: the audits (postgis/sync_audits.py), and static layers (live_audit.py).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import psycopg

from flux_assets.errors import SourceError, SyncError
from flux_assets.postgis import catalog, stage
from flux_assets.postgis.audit import AuditResult
from flux_assets.postgis.connect import Stop, Target
from flux_assets.postgis.faults import ours
from flux_assets.postgis.layer import LiveTable
from flux_assets.postgis.prerequisites import prepare
from flux_assets.postgis.sync_audits import SyncCase, refusal, sync_audits
from flux_assets.spec import DynamicTable
from flux_assets.warehouse.source import Source

OpenSource = Callable[[], AbstractContextManager[Source]]
# Whoever locks a table for long must not keep the next sync from beginning.
_LIMITS = "SET lock_timeout = '10s'; SET statement_timeout = '60s'"
_LAST = "SELECT layer_name, rows, mark FROM postgres_sync.sync_state WHERE schema_name = %s AND layer_name = ANY (%s)"


@dataclass(frozen=True, kw_only=True)
class Question:
    """Which audits of a table are wanted, by `names`, and what a sync knows that the table does not show.

    `missing` are columns that the source lacks; None has the source asked when that is wanted.
    """

    table: DynamicTable
    names: Collection[str] = ()
    vanished: int = 0
    allowed: float | None = None
    missing: tuple[str, ...] | None = None

    @property
    def of_the_source(self) -> bool:
        """Whether the source has to be asked."""
        return "columns" in self.names and self.missing is None


@dataclass(frozen=True, kw_only=True)
class Look:
    """What was found of a table. `version` is the same as long as nobody writes it; None before the first sync."""

    version: str | None
    audits: tuple[AuditResult, ...] = ()


def look_at(questions: Sequence[Question], target: Target, open_source: OpenSource, stop: Stop) -> dict[str, Look]:
    """Look at each table in one session, and run the audits asked for. Raises SyncError for a table that is not there.

    A version is the row count and a hash over where each row lies and which transaction wrote it.
    """
    found = _asked(questions, open_source)
    names = [question.table.name for question in questions]
    try:
        with target.session("audit of the sync", stop) as session:
            session.execute(_LIMITS)
            prepare(session, target.schema)
            last = {name: (rows, mark) for name, rows, mark in session.execute(_LAST, [target.schema, names])}
            return {
                question.table.name: _look(
                    session, target.schema, question, last.get(question.table.name, (None, None)), found
                )
                for question in questions
            }
    except psycopg.Error as error:
        raise ours(", ".join(names), error, stop, SyncError) from error


def _asked(questions: Sequence[Question], open_source: OpenSource) -> dict[str, tuple[str, ...] | SourceError]:
    """By table, the columns that its source lacks now, or why it cannot be read. No warehouse wakes up."""
    if not any(question.of_the_source for question in questions):
        return {}
    with open_source() as source:
        return {q.table.name: _missing(q.table, source) for q in questions if q.of_the_source}


def _missing(table: DynamicTable, source: Source) -> tuple[str, ...] | SourceError:
    try:
        return source.retrying(lambda: source.mapping(table)).missing
    except SourceError as error:
        return error


def _look(
    session: psycopg.Connection,
    schema: str,
    question: Question,
    last: tuple[int | None, str | None],
    found: Mapping[str, tuple[str, ...] | SourceError],
) -> Look:
    table, (rows, version) = question.table, last
    if not question.names:
        return Look(version=version)
    live = LiveTable(schema, table)
    if catalog.find(session, schema, live.name) is None:
        raise SyncError(f"{live.title} has not been synced yet.", "Sync it first.")
    missing = found.get(table.name, question.missing or ())
    case = SyncCase(
        connection=session, layer=live, table=table, relation=live.public, rows=stage.count(session, live.public),
        promised_rows=rows, vanished=question.vanished, allowed=question.allowed,
        missing=() if isinstance(missing, SourceError) else missing,
    )  # fmt: skip
    wanted = [audit for audit in sync_audits(table) if audit.name in question.names]
    unreadable = {"columns": refusal(table, "columns", missing.problem)} if isinstance(missing, SourceError) else {}
    return Look(version=version, audits=tuple(unreadable.get(audit.name) or audit.run(case) for audit in wanted))
