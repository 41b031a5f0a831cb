"""The audits of dynamic tables as asset checks.

Here: the checks an asset declares, which of them a sync reports, and what a refused sync says in them. Not here: the
judging (postgis/sync_audits.py).

A tick comes every five minutes, and Dagster keeps every evaluation twice. Runs whose selection includes the checks
report all of them. The job's selection leaves them out, so that nothing is planned for them; its runs report those that
are news: another outcome than the last one recorded, or the last one is an hour old.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from flux_assets.asset_checks import check_results
from flux_assets.errors import SourceError, SyncError
from flux_assets.postgis.audit import Audit, AuditResult, Numbers
from flux_assets.postgis.sync_audits import ALWAYS_JUDGED, refusal, sync_audits
from flux_assets.spec import DynamicTable
from flux_assets.sync_result import TableSync

SECONDS_BETWEEN_REPORTS = 3600
_CONSEQUENCE = {
    "ERROR": "ERROR: do not trust the table; a sync that would break it leaves the table as it was.",
    "WARN": "WARN: look at it; the rows are synced all the same.",
}
# What time alone moves: that their figures are others is no news.
_MOVING = ALWAYS_JUDGED | {"map_ready"}

Reported = dg.AssetCheckResult | dg.AssetCheckEvaluation


def check_specs(tables: Sequence[DynamicTable]) -> list[dg.AssetCheckSpec]:
    """One check for each audit of each table."""
    return [
        dg.AssetCheckSpec(audit.name, asset=table.name, description=_told(audit))
        for table in tables
        for audit in sync_audits(table)
    ]


def _told(audit: Audit) -> str:
    """A check that says itself what it takes how seriously needs no more words."""
    return audit.description if audit.name in ALWAYS_JUDGED else f"{audit.description} {_CONSEQUENCE[audit.severity]}"


def names_of(table: DynamicTable) -> frozenset[str]:
    """Names of all the table's checks."""
    return frozenset(audit.name for audit in sync_audits(table))


def refused(table: DynamicTable, done: TableSync) -> tuple[AuditResult, ...]:
    """What a failed sync says of the table's checks; nothing where the fault is not one of rows or columns."""
    said = done.error.problem if done.error else ""
    if isinstance(done.error, SyncError) and done.error.audits:
        return done.error.audits
    if done.vanished:
        allowed = table.vanished.allowed(done.rows, emptied=done.rows_read == 0)
        numbers: Numbers = {"rows": done.rows, "vanished": done.vanished, "allowed_to_vanish": int(allowed)}
        return (refusal(table, "row_count", said, numbers),)
    if isinstance(done.error, SourceError):
        return (refusal(table, "columns", said),)
    return ()


@dataclass(frozen=True)
class Reports:
    """Which checks of a run are to be reported: `selected` ones always, others when they are news."""

    selected: frozenset[dg.AssetCheckKey]
    last: dict[dg.AssetCheckKey, tuple[float, dg.AssetCheckEvaluation]]

    @staticmethod
    def of(context: dg.AssetExecutionContext, tables: Iterable[DynamicTable]) -> Reports:
        """What was last recorded is asked in one query."""
        keys = [dg.AssetCheckKey(dg.AssetKey(table.name), name) for table in tables for name in names_of(table)]
        found = context.instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
        last = {
            key: (record.create_timestamp, record.evaluation)
            for key, record in found.items()
            if record.status is not AssetCheckExecutionRecordStatus.PLANNED and record.evaluation
        }
        return Reports(frozenset(context.selected_asset_check_keys), last)

    def due(self, table: DynamicTable) -> frozenset[str]:
        """Names of the checks that are reported whatever they say."""
        keys = {name: dg.AssetCheckKey(dg.AssetKey(table.name), name) for name in names_of(table)}
        return frozenset(name for name, key in keys.items() if key in self.selected or self._is_old(key))

    def _is_old(self, key: dg.AssetCheckKey) -> bool:
        return key not in self.last or time.time() - self.last[key][0] > SECONDS_BETWEEN_REPORTS

    def selected_of(self, table: DynamicTable) -> frozenset[str]:
        """Names of the table's checks that the run was asked for."""
        return frozenset(key.name for key in self.selected if key.asset_key == dg.AssetKey(table.name))

    def results(self, table: DynamicTable, audits: Iterable[AuditResult]) -> Iterator[Reported]:
        """What is reported of these outcomes."""
        for result in check_results(table, audits, names_of(table)):
            key = dg.AssetCheckKey(dg.AssetKey(table.name), str(result.check_name))
            if key in self.selected:
                yield result
            elif self._is_old(key) or self._is_news(key, result):
                yield _unplanned(key, result)

    def _is_news(self, key: dg.AssetCheckKey, result: dg.AssetCheckResult) -> bool:
        """Another outcome, or another number of rows at fault; that there is a row more in the table is none."""
        _, last = self.last[key]
        if (last.passed, last.severity) != (result.passed, result.severity):
            return True
        counted = not result.passed and key.name not in _MOVING
        return counted and _counts(last.metadata) != _counts(result.metadata)


def _counts(metadata: Mapping[str, dg.MetadataValue[Any]]) -> dict[str, int | None]:
    values = {name: value for name, value in metadata.items() if name != "rows"}
    return {name: value.value for name, value in values.items() if isinstance(value, dg.IntMetadataValue)}


def _unplanned(key: dg.AssetCheckKey, result: dg.AssetCheckResult) -> dg.AssetCheckEvaluation:
    """Dagster takes an AssetCheckResult of a check that was not selected too, but with a warning in the log."""
    return dg.AssetCheckEvaluation(
        asset_key=key.asset_key, check_name=key.name, passed=result.passed, severity=result.severity,
        metadata=result.metadata, description=result.description,
    )  # fmt: skip
