"""Making a version the equal of its public table, so that attaching it builds and scans nothing.

Users own the public table too: an index or constraint that they added counts as much as a declared one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue

import psycopg
from psycopg import errors, sql

from flux_assets.checks import audits
from flux_assets.checks.audit import AuditResult, Case
from flux_assets.errors import AuditError, PublishError
from flux_assets.layers import versions
from flux_assets.layers.context import LoadOptions, VersionContext
from flux_assets.layers.schema_diff import Public
from flux_assets.layers.versions import Version
from flux_assets.postgis import catalog, relations
from flux_assets.postgis.catalog import LiveIndex, Shape, count_rows
from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.relations import VERSIONS, Layer, own_rows, revoking_all, version_table
from flux_assets.postgis.session import Target, run
from flux_assets.spec import StaticTable, index_method
from flux_assets.steps import reach

# Of a b-tree build. Short runs are sorted within the processor's caches and merged in one go: 2.7 million keys took 1.7
# seconds of CPU with 8 MB, 2.2 with 64 and 3.1 with 256. With less than 32 MB a worker PostgreSQL starts no workers
# for a build, which is meant: builds run side by side already. Other methods use their memory otherwise.
_SORT_MEMORY = "8MB"


@dataclass(frozen=True)
class IndexToBuild:
    """A statement that creates an index, and the index's access method."""

    statement: sql.Composed
    method: str


def is_whole(connection: psycopg.Connection, relation: str, rows: int | None) -> bool:
    """Tell whether a version made earlier still has its table, with the rows it was registered with."""
    there = catalog.find(connection, VERSIONS, relation) is not None
    return there and count_rows(connection, own_rows(version_table(relation))) == rows


def shapes(connection: psycopg.Connection, relation: str, public_oid: int | None) -> tuple[Shape, Shape | None]:
    """Return the version's table, and the public table it is to equal, as they stand now.

    Raises PublishError when the version's table is gone.
    """
    public = [] if public_oid is None else [sql.Literal(public_oid)]
    mine, *theirs = Shape.read_all(connection, [catalog.oid_of(VERSIONS, relation), *public])
    return _standing(relation, mine), theirs[0] if theirs else None


def missing_indexes(table: StaticTable, relation: str, mine: Shape, public: Shape | None) -> list[IndexToBuild]:
    """Return the indexes that the version lacks, the slowest to build (GiST) first."""
    on, standing = version_table(relation), mine.indexes
    missing = [
        IndexToBuild(relations.create_index(on, index), index_method(index))
        for index in sorted(table.indexes, key=lambda index: index_method(index) != "gist")
        if not any(live.is_declared(index) for live in standing)
    ]
    missing += [
        IndexToBuild(sql.SQL("CREATE UNIQUE INDEX ON {} ({})").format(on, relations.names(key)), "btree")
        for key in filter(None, [table.key, *table.unique_keys])
        if not any(live.keeps_unique(key) for live in standing)
    ]
    if public is not None:
        missing += _users_indexes(table, relation, mine, public)
    return missing


def _users_indexes(table: StaticTable, relation: str, mine: Shape, public: Shape) -> Iterator[IndexToBuild]:
    """Yield one for each of the public table's: attaching never lets one index stand for two that are alike."""
    spare = [live for live in mine.indexes if not live.is_primary]
    coming = [index for index in table.indexes if not any(live.is_declared(index) for live in mine.indexes)]
    here = _names(mine)
    for live in public.indexes:
        if live.is_primary or not here.issuperset(live.columns):  # an index goes with a column that is being removed
            continue
        if twin := next((own for own in spare if own.shape == live.shape), None):
            spare.remove(twin)
        elif declared := next((index for index in coming if live.is_declared(index)), None):
            coming.remove(declared)
        else:
            yield IndexToBuild(live.create_on(version_table(relation)), live.method)


def build_side_by_side(
    target: Target, missing: Sequence[IndexToBuild], purpose: str, sessions: int, stop: Stop
) -> list[Future[None]]:
    """Start building indexes of one version in at most `sessions` sessions, each of which takes one after another."""
    waiting: SimpleQueue[IndexToBuild] = SimpleQueue()
    for index in missing:
        waiting.put(index)
    workers = min(max(1, sessions), len(missing))
    pool = ThreadPoolExecutor(max_workers=max(1, workers), thread_name_prefix="index")
    futures = [pool.submit(_build_waiting, target, waiting, purpose, stop) for _ in range(workers)]
    pool.shutdown(wait=False)
    return futures


def _build_waiting(target: Target, waiting: SimpleQueue[IndexToBuild], purpose: str, stop: Stop) -> None:
    with target.session(purpose, stop) as session:
        while True:
            try:
                index = waiting.get_nowait()
            except Empty:
                return
            stop.check()
            while not _built(session, index):
                stop.check()


def _built(session: psycopg.Connection, index: IndexToBuild) -> bool:
    """Build an index; return False when another session has just taken the name that PostgreSQL chose.

    Next time it chooses another.
    """
    memory = sql.Literal(_SORT_MEMORY) if index.method == "btree" else sql.SQL("DEFAULT")
    try:
        run(session, [sql.SQL("SET maintenance_work_mem = {}").format(memory), index.statement])
    except errors.DuplicateTable:  # no statement names an index of itself
        return False
    except errors.UniqueViolation as error:
        if error.diag.schema_name != "pg_catalog":
            raise
        return False
    return True


def add_constraints(
    connection: psycopg.Connection, table: StaticTable, relation: str, mine: Shape, public: Shape | None
) -> None:
    """Turn the key's index into the primary key and give the version every constraint of the public table."""
    on = version_table(relation)
    own = [live for live in mine.indexes if not live.is_primary]
    using: list[sql.Composed] = []
    if table.key and len(own) == len(mine.indexes):
        primary = next(live for live in own if live.keeps_unique(table.key))
        own.remove(primary)
        using.append(_use_index(on, primary, "PRIMARY KEY"))
    if public is not None:
        using += _use_unique_indexes(on, own, public)
    if using:
        run(connection, using)
    if public is not None:
        _add_checks_and_keys(connection, relation, mine, public)


def refuse_unequal(connection: psycopg.Connection, versions: Sequence[tuple[Layer, str, int]]) -> None:
    """Raise PublishError when attaching a version would still build or scan something under an exclusive lock.

    Each version is given by its layer, its table's name, and the OID of its public table.
    """
    oids = (named for _, relation, oid in versions for named in (catalog.oid_of(VERSIONS, relation), sql.Literal(oid)))
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


def _use_unique_indexes(on: sql.Identifier, own: list[LiveIndex], public: Shape) -> Iterator[sql.Composed]:
    """Make a unique constraint of an index for each that the public table has and the version has not."""
    spare = list(own)
    for live in public.indexes:
        if live.is_constraint and not live.is_primary:
            alike = [index for index in spare if index.shape == live.shape]
            # The last: attaching gives the first that fits, constraint or not, to a plain index.
            for index in sorted(alike, key=lambda index: index.is_constraint)[-1:]:
                spare.remove(index)
                if not index.is_constraint:
                    yield _use_index(on, index, "UNIQUE")


def _add_checks_and_keys(connection: psycopg.Connection, relation: str, mine: Shape, public: Shape) -> None:
    """Give the version the public table's CHECK constraints and foreign keys, as they now stand there."""
    here, on = _names(mine), version_table(relation)
    known = {constraint.name: constraint for constraint in mine.constraints}
    for theirs in public.constraints:
        own, name = known.get(theirs.name), sql.Identifier(theirs.name)
        if here.issuperset(theirs.columns) and not (own and own.stands_for(theirs)):
            drop = sql.SQL("DROP CONSTRAINT IF EXISTS {}, ").format(name)
            add = sql.SQL("ADD CONSTRAINT {} {}").format(name, sql.SQL(theirs.definition))
            connection.execute(sql.SQL("ALTER TABLE {} ").format(on) + drop + add)


def require_columns(connection: psycopg.Connection, relation: str, mine: Shape, public: Shape) -> None:
    """Give a version made earlier the NOT NULL that the public table has gained since."""
    known = {column.name: column for column in mine.columns}
    for column in public.columns:
        own = known.get(column.name)
        if column.not_null and own is not None and not own.not_null:
            statement = sql.SQL("ALTER TABLE {} ALTER COLUMN {} SET NOT NULL")
            connection.execute(statement.format(version_table(relation), sql.Identifier(column.name)))


def _use_index(on: sql.Identifier, index: LiveIndex, kind: str) -> sql.Composed:
    statement = sql.SQL("ALTER TABLE {} ADD {} USING INDEX {}")
    return statement.format(on, sql.SQL(kind), sql.Identifier(index.name))


def _names(mine: Shape) -> set[str]:
    return {column.name for column in mine.columns}


def _standing(relation: str, found: Shape | None) -> Shape:
    if found is None:
        raise PublishError(
            f"The version's table {VERSIONS}.{relation} is gone.", "Run the load again; it stages a new one."
        )
    return found


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
    mine, theirs = shapes(control, relation, public.oid)
    if doubled := _finish(_start_indexes(layer, target, options, relation, mine, theirs)):
        raise doubled
    mine, theirs = shapes(control, relation, public.oid)
    add_constraints(control, layer.table, relation, mine, theirs)
    if theirs is not None and not public.changes:
        require_columns(control, relation, mine, theirs)


def _index_and_audit(
    context: VersionContext, case: Case, version: Version, public: Public
) -> tuple[tuple[AuditResult, ...], errors.UniqueViolation | None]:
    with context.clock.timed("index"):
        mine, theirs = shapes(context.control, version.relation, public.oid)
        building = _start_indexes(context.layer, context.target, context.options, version.relation, mine, theirs)
        # A GiST index takes one core for a while: the warning audits, which need no index, fill the other.
        try:
            warned = audits.run_audits(replace(case, shape=mine), severity="WARN")
        finally:
            wait(building)
        doubled = _finish(building)
        if doubled is None:
            mine, theirs = shapes(context.control, version.relation, public.oid)
            add_constraints(context.control, context.layer.table, version.relation, mine, theirs)
    reach("load.indexed")
    with context.clock.timed("analyze"):
        # So that the first readers after the swap are planned for; the public table's own statistics follow the swap.
        relations.analyze(context.control, case.relation)
    reach("load.analyzed")
    with context.clock.timed("audit"):
        mine, _ = shapes(context.control, version.relation, None)
        return (*audits.run_audits(replace(case, shape=mine), severity="ERROR"), *warned), doubled


def _start_indexes(
    layer: Layer, target: Target, options: LoadOptions, relation: str, mine: Shape, public: Shape | None
) -> list[Future[None]]:
    missing = missing_indexes(layer.table, relation, mine, public)
    return build_side_by_side(target, missing, f"index {layer.name}", options.index_sessions, options.stop)


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
        state="rejected" if refused or any(result.refuses for result in results) else "staged",
        rows=case.rows,
        extent=extent,
        audits=[result.as_json() for result in results],
    )


def _refuse(context: VersionContext, version: Version, results: tuple[AuditResult, ...], source: str) -> None:
    for result in results:
        if not result.passed and not (context.joined and result.name == REFERENCES):
            context.log(describe_audit(context.layer, result))
    if refused := [result for result in results if result.refuses]:
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
