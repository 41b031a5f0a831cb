"""What is wrong, as PostgreSQL knows it: failures in the ledger, late tables, layers that are not live."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg
from psycopg.rows import class_row

from flux_assets.alerting.cause import Clean, cause_of
from flux_assets.alerting.incident import Kind, Observation, Policy
from flux_assets.alerting.message import length
from flux_assets.ledger.status import TableStatus, is_prepared
from flux_assets.spec import DynamicTable, StaticTable
from flux_assets.sqlfiles import query

WATCHED: frozenset[Kind] = frozenset({"sync", "load", "layer", "late"})
_DIED = "The process of the run died without finishing. Run it again; see its log for how far it got."


@dataclass(frozen=True)
class Failure:
    """A run of a table that did not end well."""

    layer_name: str
    ended_at: datetime
    run_id: str | None
    message: str | None


@dataclass(frozen=True, kw_only=True)
class Watch:
    """What is watched, and how."""

    schema: str
    tables: Sequence[StaticTable | DynamicTable]
    policy: Policy
    clean: Clean

    @property
    def names(self) -> list[str]:
        return [table.name for table in self.tables]

    @property
    def dynamic(self) -> list[DynamicTable]:
        return [table for table in self.tables if isinstance(table, DynamicTable)]


def server_time(session: psycopg.Connection) -> datetime:
    """Return the server's clock (UTC), which the ledger's times come from."""
    row = session.execute("SELECT clock_timestamp()").fetchone()
    return row[0] if row else datetime.now(UTC)


def observed(
    session: psycopg.Connection, statuses: Mapping[str, TableStatus], watch: Watch, now: datetime
) -> Iterator[Observation]:
    """Yield all that is wrong with the tables. `statuses` are those of the tables that the database knows."""
    if is_prepared(session):
        yield from _failing(session, watch, now)
    for table in watch.tables:
        if status := statuses.get(table.name):
            yield from _standing(table, status, now)


def in_ledger(session: psycopg.Connection, schema: str, run_ids: Collection[str]) -> set[tuple[str, str]]:
    """Return the (run, table) on which these runs failed: what else they found is about unpublished rows."""
    if not run_ids or not is_prepared(session):
        return set()
    values = {"schema": schema, "run_ids": list(run_ids)}
    found = session.execute(query("watching", "failed_runs"), values).fetchall()
    return {(run_id, layer_name) for run_id, layer_name in found}


def _failing(session: psycopg.Connection, watch: Watch, now: datetime) -> Iterator[Observation]:
    with session.cursor(row_factory=class_row(Failure)) as cursor:
        values = {"names": watch.names, "schema": watch.schema, "died": _DIED}
        found = cursor.execute(query("watching", "failures"), values).fetchall()
    for table in watch.tables:
        if streak := [failure for failure in found if failure.layer_name == table.name]:
            kind: Kind = "sync" if isinstance(table, DynamicTable) else "load"
            yield _streak(kind, streak, watch, now)


def _streak(kind: Kind, streak: Sequence[Failure], watch: Watch, now: datetime) -> Observation:
    """Return one observation of a table's failures: syncs share a cause by reason, loads by run."""
    causes = [cause_of(watch.clean(failure.message or ""), watch.names) for failure in streak]
    newest = causes[0]
    of_cause = next((at for at, cause in enumerate(causes) if cause.head != newest.head), len(causes))
    reached = watch.policy.reached
    return Observation(
        kind=kind,
        cause=newest.head if kind == "sync" else newest.whole,
        apart="" if kind == "sync" else streak[0].run_id or streak[0].layer_name,
        problem=newest.problem,
        remedy=newest.remedy,
        tables=(streak[0].layer_name,),
        since=streak[-1].ended_at,
        ticks=len(streak),
        run_id=streak[0].run_id,
        ready=kind == "load" or reached(len(streak), streak[-1].ended_at, now),
        settled=kind == "load" or reached(of_cause, streak[of_cause - 1].ended_at, now),
    )


def _standing(table: StaticTable | DynamicTable, status: TableStatus, now: datetime) -> Iterator[Observation]:
    """Yield what is wrong with the published rows, whatever the last run reported."""
    if status.state == "broken":
        yield Observation(
            kind="layer",
            cause="broken",
            apart=table.name,
            tables=(table.name,),
            since=now,
            problem=f"{status.detail[:1].upper()}{status.detail[1:]}.",
            remedy="",
        )
    if isinstance(table, DynamicTable) and status.lag_seconds is not None:
        budget, lag = table.freshness.fail, timedelta(seconds=status.lag_seconds)
        if lag > budget:
            problem = f"Its data is {length(lag)} old; {length(budget)} are allowed."
            yield late(table.name, problem, now - lag + budget)


def late(table: str, problem: str, since: datetime) -> Observation:
    """Return that a table is not as fresh as it has to be; a symptom, where something keeps it from being synced."""
    return Observation(
        kind="late",
        cause="late",
        problem=problem,
        tables=(table,),
        since=since,
        symptom=True,
        remedy="Check that dynamic_sync_schedule runs; `flux-assets status` shows the last attempt.",
    )
