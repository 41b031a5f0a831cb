"""One run of the step that syncs dynamic tables: sync, audit, record.

Dagster counts an evaluation only from the newest materialisation on, so every tick reports every check; outcomes of an
unchanged table are repeated for an hour.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dagster as dg

from flux_assets.checks.audit import Audit, AuditResult, Numbers
from flux_assets.checks.sync_audits import ALWAYS_JUDGED, refusal, sync_audits
from flux_assets.checks.unmatched import ALL_ASSIGNED
from flux_assets.compare.match import MATCHES_SOURCE
from flux_assets.errors import FluxError, SourceError, SyncError
from flux_assets.orchestration.checks import (
    Outcome,
    check_results,
    failed_attempt,
    log_outcomes,
    repeat_comparison,
    repeat_outcomes,
    without_outcome,
)
from flux_assets.orchestration.dagster_internals import is_finished
from flux_assets.orchestration.executor import stop_of
from flux_assets.orchestration.metadata import describe_result, synced_metadata
from flux_assets.orchestration.pictures import sync_pictures
from flux_assets.orchestration.resources import WarehouseResource
from flux_assets.postgis.session import Target
from flux_assets.spec import DynamicTable
from flux_assets.sync.result import SyncOptions, TableResult

SECONDS_BETWEEN_JUDGEMENTS = 3600
_CONSEQUENCE = {
    "ERROR": "ERROR: do not trust the table. A sync itself refuses rows that would break it, so Dagster has nothing to"
    " block.",
    "WARN": "WARN: investigate; the rows are synced all the same.",
}
Reported = dg.AssetCheckResult | dg.AssetCheckEvaluation


def check_specs(tables: Sequence[DynamicTable]) -> list[dg.AssetCheckSpec]:
    """Return one check for each audit of each table."""
    return [
        dg.AssetCheckSpec(audit.name, asset=table.name, description=_description(audit))
        for table in tables
        for audit in sync_audits(table)
    ]


def _description(audit: Audit) -> str:
    """Return the description of a check; one that explains its severities itself needs no more words."""
    return audit.description if audit.name in ALWAYS_JUDGED else f"{audit.description} {_CONSEQUENCE[audit.severity]}"


def names_of(table: DynamicTable) -> frozenset[str]:
    """Return the names of all the table's checks."""
    return frozenset(audit.name for audit in sync_audits(table))


def refused(table: DynamicTable, done: TableResult) -> tuple[AuditResult, ...]:
    """Return what a failed sync found of rows that it did not write; nothing for other faults."""
    problem = done.error.problem if done.error else ""
    if isinstance(done.error, SyncError) and done.error.audits:
        return done.error.audits
    if done.vanished:
        allowed = table.may_vanish(done.rows)
        numbers: Numbers = {"rows": done.rows, "vanished": done.vanished, "allowed_to_vanish": int(allowed)}
        return (refusal(table, "row_count", problem, numbers),)
    if isinstance(done.error, SourceError):
        return (refusal(table, "columns", problem),)
    return ()


@dataclass(frozen=True)
class Reports:
    """What a run reports of checks: `selected` were asked of it, `last` are the newest outcomes so far."""

    selected: frozenset[dg.AssetCheckKey]
    last: dict[dg.AssetCheckKey, Outcome]

    @staticmethod
    def of(context: dg.AssetExecutionContext, tables: Iterable[DynamicTable]) -> Reports:
        """Read the last outcomes of all checks in one query."""
        keys = [_key(table, name) for table in tables for name in names_of(table)]
        found = context.instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
        last = {
            key: Outcome.of(record.create_timestamp, record.evaluation)
            for key, record in found.items()
            if is_finished(record) and record.evaluation
        }
        return Reports(frozenset(context.selected_asset_check_keys), last)

    def due(self, table: DynamicTable) -> frozenset[str]:
        """Return the names of the checks that are judged also when nobody wrote the table."""
        keys = {name: _key(table, name) for name in names_of(table)}
        return frozenset(name for name, key in keys.items() if key in self.selected or self._is_old(key))

    def _is_old(self, key: dg.AssetCheckKey) -> bool:
        return key not in self.last or time.time() - self.last[key].judged_at > SECONDS_BETWEEN_JUDGEMENTS

    def selected_of(self, table: DynamicTable) -> frozenset[str]:
        """Return the names of the table's checks that the run was asked for."""
        return frozenset(key.name for key in self.selected if key.asset_key == dg.AssetKey(table.name))

    def results(self, table: DynamicTable, audits: Iterable[AuditResult]) -> Iterator[Reported]:
        """Yield what was judged just now."""
        for result in check_results(table, audits, names_of(table)):
            key = _key(table, str(result.check_name))
            yield result if key in self.selected else _unplanned(key, result)

    def repeated(self, table: DynamicTable, audits: Iterable[AuditResult]) -> Iterator[Reported]:
        """Yield the last outcomes of the table's other checks, with the time at which they were judged."""
        for name in sorted(names_of(table) - {audit.name for audit in audits}):
            key = _key(table, name)
            if key in self.last and key not in self.selected:
                yield self.last[key].unplanned()


def _key(table: DynamicTable, name: str) -> dg.AssetCheckKey:
    return dg.AssetCheckKey(dg.AssetKey(table.name), name)


def _unplanned(key: dg.AssetCheckKey, result: dg.AssetCheckResult) -> dg.AssetCheckEvaluation:
    """Return the result as an evaluation: an AssetCheckResult of a check that was not selected logs a warning.

    The claim is on the check already: a pass does not repeat it every five minutes.
    """
    return dg.AssetCheckEvaluation(
        asset_key=key.asset_key,
        check_name=key.name,
        passed=result.passed,
        severity=result.severity,
        metadata=result.metadata,
        description=None if result.passed else result.description,
    )


if TYPE_CHECKING:
    from flux_assets.checks.audit import AuditResult
    from flux_assets.sync.live_audit import AuditRequest, LiveAudit

Event = dg.MaterializeResult[None] | dg.AssetObservation | dg.Output[None] | Reported
Events = Iterator[Event]


@dataclass(frozen=True, kw_only=True)
class SyncRequest:
    """What the run's config asks for."""

    force: bool = False
    accept_vanished: bool = False


class SyncStep:
    """The step of one run: a sync of the selected tables, and audits of those of which only checks are selected."""

    def __init__(
        self,
        context: dg.AssetExecutionContext,
        asked: SyncRequest,
        snowflake: WarehouseResource,
        target: Target,
        declared: Sequence[DynamicTable],
    ) -> None:
        self._context = context
        self._asked = asked
        self._target = target
        self._family = snowflake.family(declared)
        self._tables = {table.name: table for table in self._family.tables}
        self._wanted = {key.to_user_string() for key in context.selected_asset_keys}
        self._checked = {key.asset_key.to_user_string() for key in context.selected_asset_check_keys}
        self._opening = snowflake.opening(context.run.run_id, self._wanted | self._checked, context.log.info)
        self._stop = stop_of(context.run.run_id)
        self._reports = Reports.of(context, self._family.tables)

    def run(self) -> Events:
        """Yield what is recorded; raises FluxError at the end when a table failed."""
        failed = (yield from self._synced(self._wanted)) if self._wanted else {}
        if alone := sorted(self._checked - self._wanted):
            failed |= yield from self._audited([self._tables[name] for name in alone])
        if failed:
            raise _join_errors(failed)

    def _synced(self, wanted: set[str]) -> Generator[Event, None, dict[str, FluxError]]:
        from flux_assets.sync.sync import sync_tables

        options = SyncOptions(
            force=self._asked.force,
            accept_vanished=self._asked.accept_vanished,
            run_id=self._context.run.run_id,
            stop=self._stop,
        )
        result = sync_tables(wanted, self._family, self._opening, self._target, options, self._context.log.info)
        if result.busy:
            (self._context.log.warning if options.once else self._context.log.info)(result.busy)
            skipped = [key for key in self._reports.selected if key.asset_key.to_user_string() in wanted]
            yield from without_outcome(self._context.job_def, skipped)
            return {}
        done = [each for each in self._in_order(result.tables) if each.table in wanted]
        self._tell(result.tables, wanted)
        audited = self._audit_changed(done)
        for each in done:
            yield from self._recorded(each, audited.get(each.table))
        return {each.table: each.error for each in done if each.error is not None}

    def _in_order(self, results: Sequence[TableResult]) -> list[TableResult]:
        """Return the results with the tables that others are computed from first: Dagster insists."""
        return sorted(results, key=lambda each: bool(self._tables.keys() & self._tables[each.table].origins))

    def _tell(self, results: Sequence[TableResult], wanted: set[str]) -> None:
        for cause, names in _by_cause({each.table: each.error for each in results if each.error is not None}).items():
            # What several share, the failure of the step says, once.
            why = f"{names[0]} is unchanged: {cause}"
            several = f"{', '.join(names)} are unchanged; the step's failure says why"
            self._context.log.error(why if len(names) == 1 else several)
        for each in results:
            if each.error is not None:
                continue
            if each.table in wanted:
                self._context.log.info(describe_result(each))
            else:
                self._context.log.info(
                    f"{each.table}: {each.updated:,} rows follow the tables that they are computed from;"
                    " not selected, so nothing is recorded of it"
                )

    def _recorded(self, done: TableResult, audit: LiveAudit | None) -> Events:
        table, audits = self._tables[done.table], audit.audits if audit else ()
        if done.error is not None:
            yield from self._after_failure(table, done, done.error, audits)
            return
        yield dg.MaterializeResult(
            asset_key=table.name,
            data_version=dg.DataVersion(audit.version) if audit and audit.version else None,
            metadata={**sync_pictures(self._context, table, self._target, done), **synced_metadata(done)},
        )
        yield from self._reports.results(table, audits)
        yield from self._reports.repeated(table, audits)

    def _after_failure(
        self, table: DynamicTable, done: TableResult, error: FluxError, audits: Sequence[AuditResult]
    ) -> Events:
        """Yield what the attempt found of the source, and the earlier outcomes for the published rows."""
        found = refused(table, done)
        yield failed_attempt("sync", table.name, error, found)
        judged = [*(audit for audit in found if audit.name == "columns"), *audits]
        yield from self._reports.results(table, judged)
        left = self._reports.selected_of(table) - {audit.name for audit in judged}
        yield from repeat_outcomes(self._context, table.name, left)
        yield from repeat_comparison(self._context, table.name, MATCHES_SOURCE)

    def _audit_changed(self, done: Sequence[TableResult]) -> Mapping[str, LiveAudit]:
        """Audit the tables after the sync. It has ended, so an error here is logged only."""
        from flux_assets.sync.live_audit import audit_tables

        try:
            changed = {each.table for each in done if each.outcome == "changed"}
            questions = [self._question(each, changed) for each in done]
            audited = audit_tables(questions, self._target, self._opening, self._stop)
        except FluxError as error:
            self._context.log.warning(f"The sync is done, but its checks could not run: {error}")
            return {}
        for audit in audited.values():
            if audit.error is not None:
                self._context.log.warning(f"The sync is done, but checks of its rows could not run: {audit.error}")
        return audited

    def _question(self, done: TableResult, changed: Collection[str]) -> AuditRequest:
        """Return the audits to run: all of a table that changed, else those that are due, and always its lag.

        Rows that nobody wrote may lose what they belong to, when that is among the `changed`.

        Reading the source has shown its columns, as of this sync: the source need not be asked again.
        """
        from flux_assets.sync.live_audit import AuditRequest

        table, is_read = self._tables[done.table], done.was_read
        if done.error is not None:
            return AuditRequest(table=table, names=ALWAYS_JUDGED, missing=())
        names = names_of(table) if done.outcome == "changed" else self._reports.due(table) | ALWAYS_JUDGED
        if any(each.to_table in changed for each in table.assignments):
            names |= {ALL_ASSIGNED}
        if is_read:
            names |= {"columns"}
        elif "columns" not in self._reports.selected_of(table):
            names -= {"columns"}
        before = done.rows - done.inserted + done.deleted
        return AuditRequest(
            table=table,
            names=names,
            vanished=done.vanished,
            missing=done.missing if is_read or "columns" not in names else None,
            allowed=table.may_vanish(before),
        )

    def _audited(self, tables: Sequence[DynamicTable]) -> Generator[Event, None, dict[str, FluxError]]:
        """Run the selected checks alone, on the published rows; returns why those of a table could not be run."""
        from flux_assets.sync.live_audit import AuditRequest, audit_tables

        questions = [AuditRequest(table=table, names=self._reports.selected_of(table)) for table in tables]
        audited = audit_tables(questions, self._target, self._opening, self._stop)
        for table in tables:
            log_outcomes(table.name, audited[table.name].audits, self._context.log)
            yield from self._reports.results(table, audited[table.name].audits)
        return {name: audit.error for name, audit in audited.items() if audit.error is not None}


def _join_errors(failed: Mapping[str, FluxError]) -> FluxError:
    """Return one error for all tables that failed; a cause that several share is reported once."""
    tables = _by_cause(failed)
    if len(tables) == 1:
        return next(iter(failed.values()))
    return SyncError("\n".join(f"{', '.join(names)}: {message}" for message, names in tables.items()))


def _by_cause(failed: Mapping[str, FluxError]) -> dict[str, list[str]]:
    """Return the tables that failed, by their error's message."""
    tables: dict[str, list[str]] = {}
    for name, error in failed.items():
        tables.setdefault(str(error), []).append(name)
    return tables
