"""Making a version that may be published: fetch, stage, index, audit.

Here: the steps between the release file and an audited version in the register. Not here: publishing it (load.py).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass, field

import psycopg
from psycopg import errors

from flux_assets.clock import Clock
from flux_assets.errors import AuditError, ReleaseError
from flux_assets.failpoints import reach
from flux_assets.loading.copy_faults import described
from flux_assets.loading.options import LoadOptions
from flux_assets.postgis import audits, catalog, equal, register, space, stage, statistics
from flux_assets.postgis.audit import AuditResult, Case
from flux_assets.postgis.connect import Target
from flux_assets.postgis.ddl import create_template, create_version
from flux_assets.postgis.layer import Layer, version_table
from flux_assets.postgis.register import Version
from flux_assets.postgis.shape import Public
from flux_assets.release.decode import LayerStream
from flux_assets.release.gunzip import expanded_bytes
from flux_assets.release.source import Release, ReleaseFile


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """What every step of one load needs: the layer, where it comes from and goes to, and how to report."""

    layer: Layer
    release: Release
    target: Target
    control: psycopg.Connection
    options: LoadOptions
    log: Callable[[str], None]
    clock: Clock = field(default_factory=Clock)


@dataclass(frozen=True)
class Candidate:
    """An audited version, and the bytes of CSV that went into it."""

    version: Version
    csv_bytes: int


def make_candidate(
    shop: Workshop, file: ReleaseFile, version: Version, public: Public, published: Version | None
) -> Candidate:
    """Load the file into a table of its own, index and audit it, and note it in the register.

    `published` is the version that readers see now. Raises ReleaseError, LayerError, or AuditError when a blocking
    audit failed; the version's table then stays for inspection.
    """
    with shop.clock.timed("fetch"):
        path = shop.release.at_hand(file)
    reach("load.fetched")
    need = space.estimate(shop.control, shop.layer, expanded_bytes(path))
    space.refuse_above(shop.layer, need, shop.options.disk_limit)
    register.add_staging(shop.control, shop.layer, version)
    reach("load.registered")
    stream = LayerStream(path, file.file, shop.layer.table, sha256=file.sha256)
    try:
        with shop.clock.timed("stage"), described(shop.layer, path, file.file):
            _fill(shop, stream, version, public, need)
    except BaseException as error:
        _forget(shop, version)
        if isinstance(error, ReleaseError):
            shop.release.fetch(file)  # another file than the promised one is better refused as that
        raise
    reach("load.staged")
    case = Case(
        connection=shop.control,
        layer=shop.layer,
        relation=version_table(version.relation),
        rows=stream.facts.rows,
        promised_rows=file.rows,
        published_rows=published.rows if published else None,
        accept_fewer_rows=shop.options.accept_fewer_rows,
        decoded=True,
        present=stream.facts.present,
    )
    results, doubled = _index_and_audit(shop, case, version, public)
    reach("load.audited")
    judged = _judge(shop, case, version, results, stream, refused=doubled is not None)
    reach("load.judged")
    _refuse(shop, judged, results, file)
    if doubled is not None:
        raise doubled  # in a unique index that no audit speaks of: a user's own, or one declared as an index
    return Candidate(judged, stream.facts.csv_bytes)


def make_equal(
    control: psycopg.Connection, layer: Layer, target: Target, options: LoadOptions, relation: str, public: Public
) -> None:
    """Give a version made earlier what the public table has gained since."""
    if doubled := _finish(_start_indexes(control, layer, target, options, relation, public)):
        raise doubled
    equal.add_constraints(control, layer.table, relation, public.oid)
    if public.oid is not None and not public.changes:
        equal.require_columns(control, relation, public.oid)


def _fill(shop: Workshop, stream: LayerStream, version: Version, public: Public, need: space.Need) -> None:
    create = [create_version(shop.layer, version.relation, like_template=public.oid is not None)]
    create += [change(version_table(version.relation)) for change in public.changes]
    limit = None if shop.options.disk_limit is None else shop.options.disk_limit - need.kept
    stop = shop.options.stop
    with shop.target.session(f"stage {shop.layer.name}", stop) as session:
        if public.oid is not None:
            session.execute(create_template(shop.layer))
        stage.fill(session, version.relation, create, stream, stream.schema, limit_bytes=limit, stop=stop)


def _forget(shop: Workshop, version: Version) -> None:
    """The staging transaction was rolled back, so there is no table; say so where we still can."""
    if not shop.control.closed and not shop.control.broken:
        register.mark_dropped(shop.control, shop.layer, version)


def _index_and_audit(
    shop: Workshop, case: Case, version: Version, public: Public
) -> tuple[tuple[AuditResult, ...], errors.UniqueViolation | None]:
    with shop.clock.timed("index"):
        building = _start_indexes(shop.control, shop.layer, shop.target, shop.options, version.relation, public)
        # A GiST index takes one core for a while: the warning audits, which need no index, fill the other.
        try:
            warned = audits.run_audits(case, severity="WARN")
        finally:
            wait(building)
        doubled = _finish(building)
        if doubled is None:
            equal.add_constraints(shop.control, shop.layer.table, version.relation, public.oid)
    reach("load.indexed")
    with shop.clock.timed("analyze"):
        # So that the first readers after the swap are planned for; the public table's own statistics follow the swap.
        statistics.analyze(shop.control, case.relation)
    reach("load.analyzed")
    with shop.clock.timed("audit"):
        return (*audits.run_audits(case, severity="ERROR"), *warned), doubled


def _start_indexes(
    control: psycopg.Connection, layer: Layer, target: Target, options: LoadOptions, relation: str, public: Public
) -> list[Future[None]]:
    missing = equal.missing_indexes(control, layer.table, relation, public.oid)
    return equal.build_side_by_side(target, missing, f"index {layer.name}", options.index_sessions, options.stop)


def _finish(building: list[Future[None]]) -> errors.UniqueViolation | None:
    """Wait for all indexes; what the server said when one could not be built because of duplicates."""
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
    shop: Workshop,
    case: Case,
    version: Version,
    results: tuple[AuditResult, ...],
    stream: LayerStream,
    *,
    refused: bool,
) -> Version:
    return register.judged(
        shop.control,
        shop.layer,
        version,
        state="rejected" if refused or audits.refusing(results) else "staged",
        rows=case.rows,
        size=catalog.size_bytes(shop.control, case.relation),
        extent=stream.facts.extent,
        audits=[result.as_json() for result in results],
    )


def _refuse(shop: Workshop, version: Version, results: tuple[AuditResult, ...], file: ReleaseFile) -> None:
    for result in results:
        if not result.passed:
            shop.log(f"{shop.layer.title}: audit {result.name} ({result.severity}) failed: {_told(result)}")
    if refused := audits.refusing(results):
        said = "; ".join(f"{result.name}: {_told(result)}" for result in refused)
        raise AuditError(
            f"{shop.layer.title}: {file.file} was not published: {said}.",
            f"The version is kept for inspection as flux_versions.{version.relation}; mend the file and load again.",
            results,
        )


def _told(result: AuditResult) -> str:
    numbers = ", ".join(f"{name} {value}" for name, value in result.numbers.items())
    more = f"; and {len(result.sample) - 3} more" if len(result.sample) > 3 else ""
    return f"{'; '.join(result.sample[:3])}{more} ({numbers})" if result.sample else numbers
