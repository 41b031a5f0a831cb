"""What is wrong, as PostgreSQL knows it: failures in the ledger, late tables, layers that are not live."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg
from psycopg.rows import class_row

from flux_assets.alerting.cause import ErrorCause
from flux_assets.alerting.delivery import length
from flux_assets.alerting.incident import Kind, Observation, Observed, Policy
from flux_assets.ledger.status import TableStatus
from flux_assets.spec import DynamicTable, StaticTable
from flux_assets.sqlfiles import query

_KINDS: frozenset[Kind] = frozenset({"sync", "load", "layer", "writers"})
_DIED = "The process of the run died without finishing. Run it again; see its log for how far it got."


@dataclass(frozen=True)
class _Failure:
    """A run of a table that did not end well."""

    layer_name: str
    ended_at: datetime
    run_id: str | None
    message: str | None


@dataclass(frozen=True, kw_only=True)
class Watch:
    """What is watched, and how; `clean` takes the secrets out of a message."""

    schema: str
    tables: Sequence[StaticTable | DynamicTable]
    policy: Policy
    clean: Callable[[str], str]

    @property
    def names(self) -> list[str]:
        return [table.name for table in self.tables]

    def cause_of(self, message: str | None) -> ErrorCause:
        """Take an error's message apart, without the secrets that it may hold."""
        return ErrorCause.of(self.clean(message or ""), self.names)

    def observed(self, session: psycopg.Connection) -> tuple[Observed, dict[str, datetime]]:
        """Return all that is wrong with the tables by the server's clock (UTC), and when each was last made current."""
        row = session.execute("SELECT clock_timestamp()").fetchone()
        now = row[0] if row else datetime.now(UTC)
        known = TableStatus.read(session, self.schema)
        wrong = list(self._failing(session, now))
        for table in self.tables:
            if status := known.get(table.name):
                wrong += _standing(table, status, now)
        checked = {name: status.checked_at for name, status in known.items() if status.checked_at}
        return Observed(wrong, _KINDS, now), checked

    def failed_on(self, session: psycopg.Connection, run_ids: Collection[str]) -> set[tuple[str, str]]:
        """Return the (run, table) on which these runs failed: what else they found is about unpublished rows."""
        if not run_ids or not TableStatus.is_prepared(session):
            return set()
        values = {"schema": self.schema, "run_ids": list(run_ids)}
        return {(run_id, name) for run_id, name in session.execute(query("watching", "failed_runs"), values)}

    def _failing(self, session: psycopg.Connection, now: datetime) -> Iterator[Observation]:
        if not TableStatus.is_prepared(session):
            return
        with session.cursor(row_factory=class_row(_Failure)) as cursor:
            values = {"names": self.names, "schema": self.schema, "died": _DIED}
            failures = cursor.execute(query("watching", "failures"), values).fetchall()
        for table in self.tables:
            if streak := [failure for failure in failures if failure.layer_name == table.name]:
                yield self._streak("sync" if isinstance(table, DynamicTable) else "load", streak, now)

    def _streak(self, kind: Kind, streak: Sequence[_Failure], now: datetime) -> Observation:
        """Return one observation of a table's failures, newest first: syncs share a cause by reason, loads by run."""
        causes = [self.cause_of(failure.message) for failure in streak]
        newest, last, first = causes[0], streak[0], streak[-1]
        of_cause = next((at for at, cause in enumerate(causes) if cause.head != newest.head), len(causes))
        reached = self.policy.reached
        return Observation(
            kind=kind,
            cause=newest.head if kind == "sync" else newest.whole,
            apart="" if kind == "sync" else last.run_id or last.layer_name,
            problem=newest.problem,
            remedy=newest.remedy,
            tables=(last.layer_name,),
            since=first.ended_at,
            ticks=len(streak),
            run_id=last.run_id,
            ready=kind == "load" or reached(len(streak), first.ended_at, now),
            settled=kind == "load" or reached(of_cause, streak[of_cause - 1].ended_at, now),
        )


def _standing(table: StaticTable | DynamicTable, status: TableStatus, now: datetime) -> Iterator[Observation]:
    """Yield what is wrong with the published rows, whatever the last run reported."""
    if status.state == "broken":
        problem = _sentence(status.detail)
        yield Observation(
            kind="layer",
            cause="broken",
            apart=table.name,
            tables=(table.name,),
            since=now,
            problem=problem,
            remedy=_sentence(status.others_wrote),
        )
    elif status.others_wrote:
        problem, _, remedy = status.others_wrote.rpartition(": ")
        yield Observation(
            kind="writers",
            cause="others write",
            tables=(table.name,),
            since=status.others_wrote_at or now,
            problem=_sentence(problem),
            remedy=_sentence(remedy),
        )
    if isinstance(table, DynamicTable) and status.lag_seconds is not None:
        budget, lag = table.freshness.fail, timedelta(seconds=status.lag_seconds)
        if lag > budget:
            problem = f"Its data is {length(lag)} old; {length(budget)} are allowed."
            yield Observation.late(table.name, problem, now - lag + budget)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""
