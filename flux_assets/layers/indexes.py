"""The last steps of a version: the equal of its public table, so that attaching it builds and scans nothing; audits.

Users own the public table too: an index or constraint that they added counts as much as a declared one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue

import psycopg
from psycopg import errors, sql

from flux_assets.checks.audit import AuditResult, Case, Severity
from flux_assets.checks.audits import audits_of
from flux_assets.errors import AuditError, PublishError
from flux_assets.layers.context import VersionContext
from flux_assets.layers.schema_diff import Public
from flux_assets.layers.versions import Extent, Version
from flux_assets.ledger.runs import reach
from flux_assets.postgis import relations
from flux_assets.postgis.catalog import Relation, Shape
from flux_assets.postgis.relations import VERSIONS, Layer, revoking_all
from flux_assets.postgis.session import run
from flux_assets.spec import StaticTable, index_method

# Of a b-tree build. Short runs are sorted within the processor's caches and merged in one go: 2.7 million keys took 1.7
# seconds of CPU with 8 MB, 2.2 with 64 and 3.1 with 256. With less than 32 MB a worker PostgreSQL starts no workers
# for a build, which is meant: builds run side by side already. Other methods use their memory otherwise.
_SORT_MEMORY = "8MB"


def finish(
    context: VersionContext, case: Case, version: Version, public: Public, *, extent: Extent | None, source: str
) -> Version:
    """Index and audit a version that is filled, and note it in the register; `source` is what messages call its rows.

    Raises LayerError, or AuditError when a blocking audit failed; the version's table then stays for inspection.
    """
    results, doubled = _index_and_audit(context, case, version, public)
    reach("load.audited")
    refused = [result for result in results if result.refuses]
    found = replace(
        version,
        state="rejected" if refused or doubled else "staged",
        rows=case.rows,
        extent=extent,
        audits=[result.as_json() for result in results],
    )
    judged = found.judged(context.control, context.layer)
    reach("load.judged")
    for result in results:
        # References are judged once more beside the layers that are published with it, where there are any.
        if not result.passed and not (context.joined and result.name == "relationships"):
            context.log(result.failure(context.layer.title))
    if refused:
        failures = "; ".join(f"{result.name}: {result.findings}" for result in refused)
        raise AuditError(
            f"{context.layer.title}: {source} was not published: {failures}.",
            f"The version is kept for inspection as flux_versions.{version.relation}; fix"
            f" {source if context.layer.table.file == 'none' else 'the file'} and reload.",
            results,
        )
    if doubled is not None:
        raise doubled  # in a unique index that no audit speaks of: a user's own, or one declared as an index
    return judged


def make_equal(context: VersionContext, version: Version, public: Public) -> None:
    """Give a version made earlier what the public table has gained since, and keep it from readers as a new one is."""
    control, relation = context.control, version.relation
    control.execute(revoking_all(version.table))
    if doubled := _built(_start_building(context, _shapes(control, relation, public.oid))):
        raise doubled
    pair = _shapes(control, relation, public.oid)
    _add_constraints(control, context.layer.table, pair)
    if pair.public is not None and not public.changes:
        _require_columns(control, pair.on, pair.mine, pair.public)


def _index_and_audit(
    context: VersionContext, case: Case, version: Version, public: Public
) -> tuple[list[AuditResult], errors.UniqueViolation | None]:
    control, relation = context.control, version.relation
    with context.clock.timed("index"):
        pair = _shapes(control, relation, public.oid)
        building = _start_building(context, pair)
        # A GiST index takes one core for a while: the warning audits, which need no index, fill the other.
        try:
            warned = _audited(replace(case, shape=pair.mine), "WARN")
        finally:
            wait(building)
        doubled = _built(building)
        if doubled is None:
            _add_constraints(control, context.layer.table, _shapes(control, relation, public.oid))
    reach("load.indexed")
    with context.clock.timed("analyze"):
        # So that the first readers after the swap are planned for; the public table's own statistics follow the swap.
        relations.analyze(control, case.relation)
    reach("load.analyzed")
    with context.clock.timed("audit"):
        shape = _shapes(control, relation, None).mine
        return [*_audited(replace(case, shape=shape), "ERROR"), *warned], doubled


def _audited(case: Case, severity: Severity) -> list[AuditResult]:
    return [audit.run(case) for audit in audits_of(case.layer.table) if audit.severity == severity]


@dataclass(frozen=True)
class _Pair:
    """A version's table, and the public table that it is to equal (None before the first publish), as they stand."""

    on: sql.Identifier
    mine: Shape
    public: Shape | None


def _shapes(connection: psycopg.Connection, relation: str, public_oid: int | None) -> _Pair:
    public = [] if public_oid is None else [sql.Literal(public_oid)]
    mine, *theirs = Shape.read_all(connection, [Relation.oid_of(VERSIONS, relation), *public])
    return _Pair(sql.Identifier(VERSIONS, relation), _standing(relation, mine), theirs[0] if theirs else None)


def _standing(relation: str, found: Shape | None) -> Shape:
    if found is None:
        raise PublishError(
            f"The version's table {VERSIONS}.{relation} is gone.", "Run the load again; it stages a new one."
        )
    return found


def _missing_indexes(table: StaticTable, pair: _Pair) -> Iterator[tuple[sql.Composed, str]]:
    """Yield statement and access method of each index that the version lacks, the slowest to build (GiST) first.

    Of the public table's, each has one of its own: attaching never lets one index stand for two that are alike.
    """
    standing, columns = pair.mine.indexes, {column.name for column in pair.mine.columns}
    coming = [index for index in table.indexes if not any(live.is_declared(index) for live in standing)]
    for index in sorted(coming, key=lambda index: index_method(index) != "gist"):
        yield relations.create_index(pair.on, index), index_method(index)
    for key in filter(None, [table.key, *table.unique_keys]):
        if not any(live.keeps_unique(key) for live in standing):
            yield sql.SQL("CREATE UNIQUE INDEX ON {} ({})").format(pair.on, relations.names(key)), "btree"
    spare = [live for live in standing if not live.is_primary]
    for live in pair.public.indexes if pair.public else ():
        if live.is_primary or not columns.issuperset(live.columns):  # an index goes with a column that is being removed
            continue
        if twin := next((own for own in spare if own.shape == live.shape), None):
            spare.remove(twin)
        elif declared := next((index for index in coming if live.is_declared(index)), None):
            coming.remove(declared)
        else:
            yield live.create_on(pair.on), live.method


def _start_building(context: VersionContext, pair: _Pair) -> list[Future[None]]:
    """Start building what the version lacks, in sessions each of which takes one index after another."""
    waiting: SimpleQueue[tuple[sql.Composed, str]] = SimpleQueue()
    for missing in _missing_indexes(context.layer.table, pair):
        waiting.put(missing)
    workers = min(max(1, context.options.index_sessions), waiting.qsize())
    pool = ThreadPoolExecutor(max_workers=max(1, workers), thread_name_prefix="index")
    futures = [pool.submit(_build_waiting, context, waiting) for _ in range(workers)]
    pool.shutdown(wait=False)
    return futures


def _build_waiting(context: VersionContext, waiting: SimpleQueue[tuple[sql.Composed, str]]) -> None:
    stop = context.options.stop
    with context.target.session(f"index {context.layer.name}", stop) as session:
        while True:
            try:
                statement, method = waiting.get_nowait()
            except Empty:
                return
            stop.check()
            while not _was_built(session, statement, method):
                stop.check()


def _was_built(session: psycopg.Connection, statement: sql.Composed, method: str) -> bool:
    """Build an index; return False when another session has just taken the name that PostgreSQL chose.

    Next time it chooses another.
    """
    memory = sql.Literal(_SORT_MEMORY) if method == "btree" else sql.SQL("DEFAULT")
    try:
        run(session, [sql.SQL("SET maintenance_work_mem = {}").format(memory), statement])
    except errors.DuplicateTable:  # no statement names an index of itself
        return False
    except errors.UniqueViolation as error:
        if error.diag.schema_name != "pg_catalog":
            raise
        return False
    return True


def _built(building: list[Future[None]]) -> errors.UniqueViolation | None:
    """Wait for all indexes; return the error of one that could not be built because of duplicates."""
    wait(building)
    problems = [problem for future in building if (problem := future.exception()) is not None]
    for problem in problems:
        if not isinstance(problem, errors.UniqueViolation):
            raise problem
    return next((problem for problem in problems if isinstance(problem, errors.UniqueViolation)), None)


def _add_constraints(connection: psycopg.Connection, table: StaticTable, pair: _Pair) -> None:
    """Turn the key's index into the primary key and give the version every constraint of the public table."""
    own = [live for live in pair.mine.indexes if not live.is_primary]
    use_index = sql.SQL("ALTER TABLE {} ADD {} USING INDEX {}")
    using: list[sql.Composed] = []
    if table.key and len(own) == len(pair.mine.indexes):
        primary = next(live for live in own if live.keeps_unique(table.key))
        own.remove(primary)
        using.append(use_index.format(pair.on, sql.SQL("PRIMARY KEY"), sql.Identifier(primary.name)))
    for live in pair.public.indexes if pair.public else ():
        if live.is_constraint and not live.is_primary:
            alike = [index for index in own if index.shape == live.shape]
            # The last: attaching gives the first that fits, constraint or not, to a plain index.
            for index in sorted(alike, key=lambda index: index.is_constraint)[-1:]:
                own.remove(index)
                if not index.is_constraint:
                    using.append(use_index.format(pair.on, sql.SQL("UNIQUE"), sql.Identifier(index.name)))
    if using:
        run(connection, using)
    if pair.public is not None:
        _add_checks_and_keys(connection, pair.on, pair.mine, pair.public)


def _add_checks_and_keys(connection: psycopg.Connection, on: sql.Identifier, mine: Shape, public: Shape) -> None:
    """Give the version the public table's CHECK constraints and foreign keys, as they now stand there."""
    columns = {column.name for column in mine.columns}
    known = {constraint.name: constraint for constraint in mine.constraints}
    replacing = sql.SQL("ALTER TABLE {} DROP CONSTRAINT IF EXISTS {}, ADD CONSTRAINT {} {}")
    for theirs in public.constraints:
        own, name = known.get(theirs.name), sql.Identifier(theirs.name)
        if columns.issuperset(theirs.columns) and not (own and own.stands_for(theirs)):
            connection.execute(replacing.format(on, name, name, sql.SQL(theirs.definition)))


def _require_columns(connection: psycopg.Connection, on: sql.Identifier, mine: Shape, public: Shape) -> None:
    """Give a version made earlier the NOT NULL that the public table has gained since."""
    loose = {column.name for column in mine.columns if not column.not_null}
    statement = sql.SQL("ALTER TABLE {} ALTER COLUMN {} SET NOT NULL")
    for column in public.columns:
        if column.not_null and column.name in loose:
            connection.execute(statement.format(on, sql.Identifier(column.name)))


def refuse_unequal(connection: psycopg.Connection, versions: Sequence[tuple[Layer, str, int]]) -> None:
    """Raise PublishError when attaching a version would still build or scan something under an exclusive lock.

    Each version is given by its layer, its table's name, and the OID of its public table.
    """
    oids = (named for _, relation, oid in versions for named in (Relation.oid_of(VERSIONS, relation), sql.Literal(oid)))
    found = iter(Shape.read_all(connection, oids) if versions else [])
    for layer, relation, _ in versions:
        mine, public = _standing(relation, next(found)), next(found)
        if missing := list(_inequalities(mine, public)) if public else []:
            raise PublishError(
                f"{layer.title}: attaching the version would do work under an exclusive lock, because it lacks"
                f" {'; '.join(missing)}.",
                "Run the load again: the public table changed while the version was being made.",
            )


def _inequalities(mine: Shape, public: Shape) -> Iterator[str]:
    spare = [live for live in mine.indexes if live.valid]
    for live in public.indexes:
        if twin := next((own for own in spare if own.stands_for(live)), None):
            spare.remove(twin)
        else:
            yield f"an index like {live.name} ({live.body})"
    for theirs in public.constraints:
        if not any(own.stands_for(theirs) for own in mine.constraints):
            yield f"the constraint {theirs.name} ({theirs.definition})"
    columns = {own.name: own for own in mine.columns}
    for column in public.columns:
        own = columns.pop(column.name, None)
        alike = own is not None and (own.type, own.collation) == (column.type, column.collation)
        if own is None or not alike or (column.not_null and not own.not_null):
            collation = f" COLLATE {column.collation}" if column.collation else ""
            yield f"the column {column.name} ({column.type}{collation}{' NOT NULL' if column.not_null else ''})"
    yield from (f"a public column {name}" for name in columns)
