"""Audits as asset checks, and what a failed load or sync leaves in Dagster: an observation and the earlier outcomes."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator

import dagster as dg

from flux_assets.checks.audit import AuditResult
from flux_assets.checks.audits import audits_of
from flux_assets.checks.live_audits import all_audits_of
from flux_assets.checks.sync_audits import ALWAYS_JUDGED, sync_audits
from flux_assets.errors import FluxError
from flux_assets.orchestration.dagster_internals import (
    AssetCheckEvaluationTargetMaterializationData,
    AssetCheckExecutionRecord,
    finished_evaluations,
)
from flux_assets.orchestration.names import Names
from flux_assets.spec import DynamicTable, StaticTable

JUDGED_AT = "judged_at"
# How earlier releases began what they reported of rows that were not published.
_OF_A_CANDIDATE = "Of a version that was not published:"
_LIVE = "WARN: investigate. Judged on the published rows."
_OF_A_LOAD = {
    "ERROR": "ERROR: do not trust the table. A load itself refuses a version that fails it, so Dagster has nothing to"
    " block.",
    "WARN": "WARN: investigate; a version that fails it is published, with the rows named.",
}
_OF_A_SYNC = {
    "ERROR": "ERROR: do not trust the table. A sync itself refuses rows that would break it, so Dagster has nothing to"
    " block.",
    "WARN": "WARN: investigate; the rows are synced all the same.",
}


def check_specs(table: StaticTable | DynamicTable, names: Names) -> list[dg.AssetCheckSpec]:
    """Return a check for each audit of the table; its description ends with what a failure means."""
    if isinstance(table, StaticTable):
        audits, meaning = all_audits_of(table), _OF_A_LOAD
        own = dict.fromkeys({audit.name for audit in audits} - {audit.name for audit in audits_of(table)}, _LIVE)
    else:
        audits, meaning = sync_audits(table), _OF_A_SYNC
        own = dict.fromkeys(ALWAYS_JUDGED, "")  # they explain their severities themselves
    return [
        dg.AssetCheckSpec(
            audit.name,
            asset=names.key(table.name),
            description=f"{audit.description} {own.get(audit.name, meaning[audit.severity])}".strip(),
        )
        for audit in audits
    ]


def check_results(
    key: dg.AssetKey, audits: Iterable[AuditResult], selected: Collection[str], judged: str = ""
) -> Iterator[dg.AssetCheckResult]:
    """Yield the outcomes of the selected checks, with figures, offending keys and the query that finds them.

    `judged` names what they are about, where that is not the published table.
    """
    for audit in audits:
        if audit.name in selected:
            yield dg.AssetCheckResult(
                asset_key=key,
                check_name=audit.name,
                passed=audit.passed,
                severity=dg.AssetCheckSeverity(audit.severity),
                description=f"{judged} {audit.description}".strip(),
                metadata={
                    **audit.numbers,
                    **({"sample": _markdown(*(f"- `{key}`" for key in audit.sample))} if audit.sample else {}),
                    **({"sql": _markdown("```sql", audit.sql, "```")} if audit.sql else {}),
                },
            )


def _markdown(*lines: str) -> dg.MarkdownMetadataValue:
    return dg.MetadataValue.md("\n".join(lines))


def as_evaluation(
    asset: dg.AssetKey,
    result: dg.AssetCheckResult,
    description: str | None,
    about: AssetCheckEvaluationTargetMaterializationData | None = None,
) -> dg.AssetCheckEvaluation:
    """Return a result as an event: a step may yield no AssetCheckResult of a check that was not selected."""
    return dg.AssetCheckEvaluation(
        asset_key=asset,
        check_name=str(result.check_name),
        passed=result.passed,
        severity=result.severity,
        metadata=result.metadata,
        description=description,
        target_materialization_data=about,
    )


def log_outcomes(name: str, audits: Collection[AuditResult], log: dg.DagsterLogManager) -> None:
    """Log what checks that ran without their asset found: one line, or one a failure."""
    failed = [audit for audit in audits if not audit.passed]
    log.info(f"{name}: {len(audits) - len(failed)} of {len(audits)} checks passed")
    for audit in failed:
        log.warning(f"{name}: {audit.name} ({audit.severity}) failed: {'; '.join(audit.sample[:3]) or _figures(audit)}")


def _figures(audit: AuditResult) -> str:
    return ", ".join(f"{name} {value}" for name, value in audit.numbers.items())


def without_outcome(job: dg.JobDefinition, keys: Iterable[dg.AssetCheckKey]) -> Iterator[dg.Output[None]]:
    """Yield that checks have no outcome on purpose; Dagster would log them as missing otherwise."""
    for key in keys:
        if output_name := job.asset_layer.get_op_output_name(key):
            yield dg.Output(None, output_name)


def recorded_outcome(record: AssetCheckExecutionRecord) -> dg.AssetCheckResult | None:
    """Return a recorded outcome with the time of its judgement in JUDGED_AT; None where it was only planned.

    That time may be before the record's, which may itself repeat an earlier one.
    """
    evaluation = record.evaluation
    if not isinstance(evaluation, dg.AssetCheckEvaluation):
        return None
    judged_at = evaluation.metadata.get(JUDGED_AT, dg.MetadataValue.timestamp(record.create_timestamp))
    return dg.AssetCheckResult(
        asset_key=evaluation.asset_key,
        check_name=evaluation.check_name,
        passed=evaluation.passed,
        severity=evaluation.severity,
        description=evaluation.description,
        metadata={**evaluation.metadata, JUDGED_AT: judged_at},
    )


def _last_outcome(instance: dg.DagsterInstance, key: dg.AssetCheckKey) -> dg.AssetCheckResult | None:
    """Return the last outcome of the check on published rows, also where this run has planned it since."""
    for record in finished_evaluations(instance, key):
        outcome = recorded_outcome(record)
        if outcome and not (outcome.description or "").startswith(_OF_A_CANDIDATE):
            return outcome
    return None


def repeat_outcomes(
    context: dg.AssetExecutionContext,
    asset: dg.AssetKey,
    names: Collection[str],
    comparison: str,
    before: Iterable[dg.AssetCheckResult] = (),
) -> Iterator[dg.AssetCheckResult | dg.AssetCheckEvaluation]:
    """Yield the last outcomes of these checks; where Dagster has none, those of `before`.

    And that of the `comparison` if this run planned it: its step does not run after a failure. One that was never made
    is reported as such, because Dagster would show it as failed.
    """
    unknown = set()
    for name in sorted(names):
        if outcome := _last_outcome(context.instance, dg.AssetCheckKey(asset, name)):
            yield outcome
        else:
            unknown.add(name)
    yield from (result for result in before if result.check_name in unknown)
    key = dg.AssetCheckKey(asset, comparison)
    if key not in context.job_def.asset_layer.asset_graph.asset_check_keys:
        return
    outcome = _last_outcome(context.instance, key) or dg.AssetCheckResult(
        asset_key=key.asset_key,
        check_name=key.name,
        passed=False,
        severity=dg.AssetCheckSeverity.WARN,
        description="No comparison has been made yet. Execute the check to make one.",
    )
    yield as_evaluation(asset, outcome, outcome.description)


def failed_attempt(
    what: str, asset: dg.AssetKey, error: FluxError, audits: Iterable[AuditResult] = ()
) -> dg.AssetObservation:
    """Return the observation of a failed load or sync (`what`) for the page of the asset."""
    return dg.AssetObservation(
        asset,
        description=f"A {what} failed. Published data is unchanged, and so are the outcomes of its checks.",
        metadata={
            "last_attempt": "failed",
            "ended_at": dg.MetadataValue.timestamp(time.time()),
            "error": _markdown(str(error)),
            **{
                f"not_published/{audit.name}": f"{audit.severity}: {'; '.join(audit.sample) or _figures(audit)}"
                for audit in audits
                if not audit.passed
            },
        },
    )
