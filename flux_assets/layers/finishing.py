"""The last steps of any version before it may be published: indexes, audits, its row in the register."""

from __future__ import annotations

from concurrent.futures import Future, wait
from dataclasses import replace

import psycopg
from psycopg import errors

from flux_assets.checks import audits
from flux_assets.checks.audit import AuditResult, Case
from flux_assets.errors import AuditError
from flux_assets.layers import indexes, versions
from flux_assets.layers.context import LoadOptions, VersionContext
from flux_assets.layers.schema_diff import Public
from flux_assets.layers.versions import Version
from flux_assets.postgis import relations
from flux_assets.postgis.catalog import Shape
from flux_assets.postgis.relations import Layer, revoking_all, version_table
from flux_assets.postgis.session import Target
from flux_assets.steps import reach

# Judged once more beside the layers that are published with it, where there are any.
REFERENCES = "relationships"
Extent = tuple[float, float, float, float]


def finish(
    context: VersionContext, case: Case, version: Version, public: Public, *, extent: Extent | None, source: str
) -> Version:
    """Index and audit a version that is filled, and note it in the register; `source` is what messages call its rows.

    Raises LayerError, or AuditError when a blocking audit failed; the version's table then stays for inspection.
    """
    results, doubled = _index_and_audit(context, case, version, public)
    reach("load.audited")
    judged = _judge(context, case, version, results, extent, refused=doubled is not None)
    reach("load.judged")
    _refuse(context, judged, results, source)
    if doubled is not None:
        raise doubled  # in a unique index that no audit speaks of: a user's own, or one declared as an index
    return judged


def make_equal(
    control: psycopg.Connection, layer: Layer, target: Target, options: LoadOptions, relation: str, public: Public
) -> None:
    """Give a version made earlier what the public table has gained since, and keep it from readers as a new one is."""
    control.execute(revoking_all(version_table(relation)))
    mine, theirs = indexes.shapes(control, relation, public.oid)
    if doubled := _finish(_start_indexes(layer, target, options, relation, mine, theirs)):
        raise doubled
    mine, theirs = indexes.shapes(control, relation, public.oid)
    indexes.add_constraints(control, layer.table, relation, mine, theirs)
    if theirs is not None and not public.changes:
        indexes.require_columns(control, relation, mine, theirs)


def _index_and_audit(
    context: VersionContext, case: Case, version: Version, public: Public
) -> tuple[tuple[AuditResult, ...], errors.UniqueViolation | None]:
    with context.clock.timed("index"):
        mine, theirs = indexes.shapes(context.control, version.relation, public.oid)
        building = _start_indexes(context.layer, context.target, context.options, version.relation, mine, theirs)
        # A GiST index takes one core for a while: the warning audits, which need no index, fill the other.
        try:
            warned = audits.run_audits(replace(case, shape=mine), severity="WARN")
        finally:
            wait(building)
        doubled = _finish(building)
        if doubled is None:
            mine, theirs = indexes.shapes(context.control, version.relation, public.oid)
            indexes.add_constraints(context.control, context.layer.table, version.relation, mine, theirs)
    reach("load.indexed")
    with context.clock.timed("analyze"):
        # So that the first readers after the swap are planned for; the public table's own statistics follow the swap.
        relations.analyze(context.control, case.relation)
    reach("load.analyzed")
    with context.clock.timed("audit"):
        mine, _ = indexes.shapes(context.control, version.relation, None)
        return (*audits.run_audits(replace(case, shape=mine), severity="ERROR"), *warned), doubled


def _start_indexes(
    layer: Layer, target: Target, options: LoadOptions, relation: str, mine: Shape, public: Shape | None
) -> list[Future[None]]:
    missing = indexes.missing_indexes(layer.table, relation, mine, public)
    return indexes.build_side_by_side(target, missing, f"index {layer.name}", options.index_sessions, options.stop)


def _finish(building: list[Future[None]]) -> errors.UniqueViolation | None:
    """Wait for all indexes; return the error of one that could not be built because of duplicates."""
    wait(building)
    doubled = None
    for future in building:
        problem = future.exception()
        if isinstance(problem, errors.UniqueViolation):
            doubled = problem
        elif problem is not None:
            raise problem
    return doubled


def _judge(
    context: VersionContext,
    case: Case,
    version: Version,
    results: tuple[AuditResult, ...],
    extent: Extent | None,
    *,
    refused: bool,
) -> Version:
    return versions.judged(
        context.control,
        context.layer,
        version,
        state="rejected" if refused or audits.refusing(results) else "staged",
        rows=case.rows,
        extent=extent,
        audits=[result.as_json() for result in results],
    )


def _refuse(context: VersionContext, version: Version, results: tuple[AuditResult, ...], source: str) -> None:
    for result in results:
        if not result.passed and not (context.joined and result.name == REFERENCES):
            context.log(describe_audit(context.layer, result))
    if refused := audits.refusing(results):
        failures = "; ".join(f"{result.name}: {_describe_findings(result)}" for result in refused)
        raise AuditError(
            f"{context.layer.title}: {source} was not published: {failures}.",
            f"The version is kept for inspection as flux_versions.{version.relation}; fix the file and reload.",
            results,
        )


def describe_audit(layer: Layer, result: AuditResult) -> str:
    """Say that an audit failed, in a line for the log."""
    return f"{layer.title}: audit {result.name} ({result.severity}) failed: {_describe_findings(result)}"


def _describe_findings(result: AuditResult) -> str:
    numbers = ", ".join(f"{name} {value}" for name, value in result.numbers.items())
    more = f"; and {len(result.sample) - 3} more" if len(result.sample) > 3 else ""
    return f"{'; '.join(result.sample[:3])}{more} ({numbers})" if result.sample else numbers
