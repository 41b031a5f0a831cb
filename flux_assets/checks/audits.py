"""Which audits follow from a declaration, and running them on a staged version or on the published table."""

from __future__ import annotations

from collections.abc import Collection

from flux_assets.checks import geometries, ledger_audits, map_ready, values
from flux_assets.checks.audit import Audit, AuditResult, Case, Severity
from flux_assets.spec import Declaration


def audits_of(table: Declaration) -> tuple[Audit, ...]:
    """Return the audits that judge rows, staged or live, blocking ones first."""
    found = [*values.audits(table), *geometries.audits(table)]
    return tuple(sorted(found, key=lambda audit: audit.severity != "ERROR"))


def live_audits_of(table: Declaration) -> tuple[Audit, ...]:
    """Return the audits that only make sense of the published table."""
    return (*map_ready.audits(table), *ledger_audits.audits(table))


def all_audits_of(table: Declaration) -> tuple[Audit, ...]:
    """Return the audits of rows and those of the published table."""
    return (*audits_of(table), *live_audits_of(table))


def run_audits(case: Case, severity: Severity | None = None) -> tuple[AuditResult, ...]:
    """Run the audits of rows on a staged version; `severity` narrows them down."""
    return tuple(audit.run(case) for audit in audits_of(case.layer.table) if severity in {None, audit.severity})


def run_audit(case: Case, name: str) -> AuditResult | None:
    """Run one audit of rows on a staged version; return None when the table has none of that name."""
    return next((audit.run(case) for audit in audits_of(case.layer.table) if audit.name == name), None)


def run_live_audits(case: Case, names: Collection[str] | None = None) -> tuple[AuditResult, ...]:
    """Run the audits of the published table, or those named."""
    return tuple(audit.run(case) for audit in all_audits_of(case.layer.table) if names is None or audit.name in names)


def refusing(results: Collection[AuditResult]) -> tuple[AuditResult, ...]:
    """Return the failed audits that keep a version from being published."""
    return tuple(result for result in results if result.severity == "ERROR" and not result.passed)
