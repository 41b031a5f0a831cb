"""A layer's audits as asset checks: run with the asset they judge the staged version, alone the published table.

Some make sense for the published table only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import dagster as dg

from flux_assets.checks.audit import AuditResult
from flux_assets.checks.live_audits import all_audits_of, live_audits_of
from flux_assets.spec import Declaration, StaticTable

_CONSEQUENCE = {
    "ERROR": "ERROR: do not trust the table. A load itself refuses a version that fails it, so Dagster has nothing to"
    " block.",
    "WARN": "WARN: investigate; a version that fails it is published, with the rows named.",
}
_LIVE = "WARN: investigate. Judged on the published rows."


def check_specs(table: StaticTable) -> list[dg.AssetCheckSpec]:
    """Return one check for each audit of the table; the load refuses a version that fails one of severity ERROR."""
    live = {audit.name for audit in live_audits_of(table)}
    return [
        dg.AssetCheckSpec(
            audit.name,
            asset=table.name,
            description=f"{audit.description} {_LIVE if audit.name in live else _CONSEQUENCE[audit.severity]}",
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
