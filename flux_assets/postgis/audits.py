"""The audits of a declaration: before a version is published, and of the live table on demand.

Here: which follow from a declaration, running them, which results refuse a version. The claims are in blocking.py
(ERROR: do not publish) and warnings.py (WARN: look). Not here: Dagster's asset checks.
"""

from __future__ import annotations

from collections.abc import Collection

from flux_assets.postgis import blocking, warnings
from flux_assets.postgis.audit import Audit, AuditResult, Case, Severity
from flux_assets.spec import Declaration


def audits_of(table: Declaration) -> tuple[Audit, ...]:
    """The audits that follow from a declaration, blocking ones first."""
    return (*blocking.audits(table), *warnings.audits(table))


def run_audits(
    case: Case, names: Collection[str] | None = None, severity: Severity | None = None
) -> tuple[AuditResult, ...]:
    """Run the layer's audits; `names` and `severity` narrow them down."""
    return tuple(
        audit.run(case)
        for audit in audits_of(case.layer.table)
        if (names is None or audit.name in names) and severity in {None, audit.severity}
    )


def refusing(results: Collection[AuditResult]) -> tuple[AuditResult, ...]:
    """The failed audits that keep a version from being published."""
    return tuple(result for result in results if result.severity == "ERROR" and not result.passed)
