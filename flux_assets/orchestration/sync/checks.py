"""The audits of dynamic tables as asset checks, and which of them a sync reports.

Dagster counts an evaluation only from the newest materialisation on, so every tick reports every check; outcomes of an
unchanged table are repeated for an hour.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import dagster as dg

from flux_assets.checks.audit import Audit, AuditResult, Numbers
from flux_assets.checks.sync_audits import ALWAYS_JUDGED, refusal, sync_audits
from flux_assets.errors import SourceError, SyncError
from flux_assets.orchestration.dagster_internals import is_finished
from flux_assets.orchestration.failed_attempts import Outcome
from flux_assets.orchestration.layers.checks import check_results
from flux_assets.spec import DynamicTable
from flux_assets.sync.result import TableResult

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
        allowed = table.vanished.allowed(done.rows)
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
