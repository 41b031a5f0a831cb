"""The audits of a declaration: before a version is published, and of the live table.

Here: which follow from a declaration, running them, which results refuse a version. The claims are in blocking.py
(ERROR: do not publish), drawable.py (as the declaration says), warnings.py, plausible.py and unmatched.py (WARN:
look), and, of the live table alone, in map_ready.py, recent_failures.py and quarantined.py. Not here: Dagster's asset
checks, and the audits of dynamic tables (sync_audits.py).
"""

from __future__ import annotations

from collections.abc import Collection

from flux_assets.checks import (
    blocking,
    drawable,
    map_ready,
    plausible,
    quarantined,
    recent_failures,
    unmatched,
    warnings,
)
from flux_assets.checks.audit import Audit, AuditResult, Case, Severity
from flux_assets.spec import Declaration


def audits_of(table: Declaration) -> tuple[Audit, ...]:
    """The audits that judge rows, staged or live, blocking ones first."""
    kinds = (blocking, drawable, warnings, plausible, unmatched)
    return tuple(audit for kind in kinds for audit in kind.audits(table))


def live_audits_of(table: Declaration) -> tuple[Audit, ...]:
    """The audits that only make sense of the table that readers see."""
    return (*map_ready.audits(table), *recent_failures.audits(table), *quarantined.audits(table))


def all_audits_of(table: Declaration) -> tuple[Audit, ...]:
    """All of them."""
    return (*audits_of(table), *live_audits_of(table))


def run_audits(case: Case, severity: Severity | None = None) -> tuple[AuditResult, ...]:
    """Run the audits of a staged version's rows; `severity` narrows them down."""
    return tuple(audit.run(case) for audit in audits_of(case.layer.table) if severity in {None, audit.severity})


def run_audit(case: Case, name: str) -> AuditResult | None:
    """Run one audit of a staged version's rows, None when the table has none of that name."""
    return next((audit.run(case) for audit in audits_of(case.layer.table) if audit.name == name), None)


def run_live_audits(case: Case, names: Collection[str] | None = None) -> tuple[AuditResult, ...]:
    """Run the live table's audits, or those named."""
    return tuple(audit.run(case) for audit in all_audits_of(case.layer.table) if names is None or audit.name in names)


def refusing(results: Collection[AuditResult]) -> tuple[AuditResult, ...]:
    """The failed audits that keep a version from being published."""
    return tuple(result for result in results if result.severity == "ERROR" and not result.passed)
