"""Audits as asset checks, and what a failed load or sync leaves in Dagster: an observation and the earlier outcomes."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import dagster as dg

from flux_assets.checks.audit import AuditResult
from flux_assets.checks.audits import audits_of
from flux_assets.checks.live_audits import all_audits_of
from flux_assets.errors import FluxError
from flux_assets.orchestration.dagster_internals import finished_evaluations
from flux_assets.spec import Declaration, StaticTable

_CONSEQUENCE = {
    "ERROR": "ERROR: do not trust the table. A load itself refuses a version that fails it, so Dagster has nothing to"
    " block.",
    "WARN": "WARN: investigate; a version that fails it is published, with the rows named.",
}
_LIVE = "WARN: investigate. Judged on the published rows."


def check_specs(table: StaticTable) -> list[dg.AssetCheckSpec]:
    """Return one check for each audit of the table; the load refuses a version that fails one of severity ERROR."""
    staged = {audit.name for audit in audits_of(table)}
    return [
        dg.AssetCheckSpec(
            audit.name,
            asset=table.name,
            description=f"{audit.description} {_CONSEQUENCE[audit.severity] if audit.name in staged else _LIVE}",
        )
        for audit in all_audits_of(table)
    ]


def check_results(
    table: Declaration, audits: Iterable[AuditResult], selected: Collection[str], judged: str = ""
) -> Iterator[dg.AssetCheckResult]:
    """Yield the outcomes of the selected checks, with figures, offending keys and the query that finds them.

    `judged` names what they are about, where that is not the published table.
    """
    for audit in audits:
        if audit.name in selected:
            yield dg.AssetCheckResult(
                asset_key=table.name,
                check_name=audit.name,
                passed=audit.passed,
                severity=dg.AssetCheckSeverity(audit.severity),
                description=f"{judged} {audit.description}".strip(),
                metadata=_metadata(audit),
            )


def log_outcomes(name: str, audits: Collection[AuditResult], log: dg.DagsterLogManager) -> None:
    """Log what checks that ran without their asset found: one line, or one a failure."""
    failed = [audit for audit in audits if not audit.passed]
    log.info(f"{name}: {len(audits) - len(failed)} of {len(audits)} checks passed")
    for audit in failed:
        numbers = ", ".join(f"{number} {value}" for number, value in audit.numbers.items())
        log.warning(f"{name}: {audit.name} ({audit.severity}) failed: {'; '.join(audit.sample[:3]) or numbers}")


def without_outcome(job: dg.JobDefinition, keys: Iterable[dg.AssetCheckKey]) -> Iterator[dg.Output[None]]:
    """Yield that checks have no outcome on purpose; Dagster would log them as missing otherwise."""
    for key in keys:
        if output_name := job.asset_layer.get_op_output_name(key):
            yield dg.Output(None, output_name)


def _metadata(audit: AuditResult) -> dict[str, int | float | str | dg.MarkdownMetadataValue]:
    shown: dict[str, int | float | str | dg.MarkdownMetadataValue] = {**audit.numbers}
    if audit.sample:
        shown["sample"] = dg.MetadataValue.md("\n".join(f"- `{key}`" for key in audit.sample))
    if audit.sql:
        shown["sql"] = dg.MetadataValue.md(f"```sql\n{audit.sql}\n```")
    return shown


JUDGED_AT = "judged_at"
# How earlier releases began what they reported of rows that were not published.
_OF_A_CANDIDATE = "Of a version that was not published:"


@dataclass(frozen=True)
class Outcome:
    """The last outcome of a check on the published rows, and when it was judged, which may be before its report."""

    judged_at: float
    evaluation: dg.AssetCheckEvaluation

    @staticmethod
    def of(recorded_at: float, evaluation: dg.AssetCheckEvaluation) -> Outcome:
        """Return the outcome of an evaluation, which may itself repeat an earlier one."""
        judged_at = evaluation.metadata.get(JUDGED_AT)
        return Outcome(judged_at.value if isinstance(judged_at, dg.TimestampMetadataValue) else recorded_at, evaluation)

    def again(self) -> dg.AssetCheckResult:
        """Return the same outcome, for a check that this run planned."""
        return dg.AssetCheckResult(**self._fields)

    def unplanned(self) -> dg.AssetCheckEvaluation:
        """Return the same outcome, for a check that is not of the step that reports it."""
        return dg.AssetCheckEvaluation(**self._fields)

    @property
    def _fields(self) -> dict[str, Any]:
        names = ("asset_key", "check_name", "passed", "severity", "description")
        judged_at = {JUDGED_AT: dg.MetadataValue.timestamp(self.judged_at)}
        return {name: getattr(self.evaluation, name) for name in names} | {
            "metadata": {**self.evaluation.metadata, **judged_at}
        }


def _last_outcomes(instance: dg.DagsterInstance, keys: Iterable[dg.AssetCheckKey]) -> dict[dg.AssetCheckKey, Outcome]:
    """Return the last outcome of each check, also where this run has planned it since."""
    found: dict[dg.AssetCheckKey, Outcome] = {}
    for key in keys:
        for record in finished_evaluations(instance, key):
            evaluation = record.evaluation
            if evaluation is not None and not (evaluation.description or "").startswith(_OF_A_CANDIDATE):
                found[key] = Outcome.of(record.create_timestamp, evaluation)
    return found


def repeat_outcomes(
    context: dg.AssetExecutionContext, table: str, names: Collection[str], before: Iterable[dg.AssetCheckResult] = ()
) -> Iterator[dg.AssetCheckResult]:
    """Yield the last outcomes of these checks; where Dagster has none, those of `before`."""
    asset = dg.AssetKey(table)
    found = _last_outcomes(context.instance, [dg.AssetCheckKey(asset, name) for name in sorted(names)])
    yield from (outcome.again() for outcome in found.values())
    known = {key.name for key in found}
    yield from (result for result in before if result.check_name in names and result.check_name not in known)


def repeat_comparison(context: dg.AssetExecutionContext, table: str, name: str) -> Iterator[dg.AssetCheckEvaluation]:
    """Yield the last outcome of the comparison `name` if this run planned it: its step does not run after a failure.

    One that was never made is reported as such: Dagster would show it as failed.
    """
    key = dg.AssetCheckKey(dg.AssetKey(table), name)
    if key not in context.job_def.asset_layer.asset_graph.asset_check_keys:
        return
    found = _last_outcomes(context.instance, [key])
    yield found[key].unplanned() if found else _never_compared(key)


def _never_compared(key: dg.AssetCheckKey) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key=key.asset_key,
        check_name=key.name,
        passed=False,
        severity=dg.AssetCheckSeverity.WARN,
        description="No comparison has been made yet. Execute the check to make one.",
    )


def failed_attempt(what: str, table: str, error: FluxError, audits: Iterable[AuditResult] = ()) -> dg.AssetObservation:
    """Return the observation of a failed load or sync (`what`) for the page of the asset."""
    shown: dict[str, dg.MetadataValue] = {
        "last_attempt": dg.MetadataValue.text("failed"),
        "ended_at": dg.MetadataValue.timestamp(time.time()),
        "error": dg.MetadataValue.md(str(error)),
    }
    for audit in audits:
        if not audit.passed:
            details = "; ".join(audit.sample) or ", ".join(f"{name} {value}" for name, value in audit.numbers.items())
            shown[f"not_published/{audit.name}"] = dg.MetadataValue.text(f"{audit.severity}: {details}")
    return dg.AssetObservation(
        table,
        description=f"A {what} failed. Published data is unchanged, and so are the outcomes of its checks.",
        metadata=shown,
    )
