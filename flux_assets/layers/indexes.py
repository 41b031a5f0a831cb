"""Making a version the equal of its public table, so that attaching it builds and scans nothing.

Users own the public table too: an index or constraint that they added counts as much as a declared one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import Empty, SimpleQueue

import psycopg
from psycopg import errors, sql

from flux_assets.errors import PublishError
from flux_assets.postgis import catalog, relations
from flux_assets.postgis.catalog import LiveIndex, Shape, count_rows
from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.relations import VERSIONS, Layer, own_rows, version_table
from flux_assets.postgis.session import Target, run
from flux_assets.spec import StaticTable, index_method

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
    mine, *theirs = catalog.shapes(connection, [catalog.oid_of(VERSIONS, relation), *public])
    return _standing(relation, mine), theirs[0] if theirs else None


def missing_indexes(table: StaticTable, relation: str, mine: Shape, public: Shape | None) -> list[IndexToBuild]:
    """Return the indexes that the version lacks, the slowest to build (GiST) first."""
    on, standing = version_table(relation), mine.indexes
    missing = [
        IndexToBuild(relations.create_index(on, index), index_method(index))
        for index in sorted(table.indexes, key=lambda index: index_method(index) != "gist")
        if not any(relations.same_index(live, index) for live in standing)
    ]
    missing += [
        IndexToBuild(relations.create_unique_index(on, key), "btree")
        for key in filter(None, [table.key, *table.unique_keys])
        if not any(live.keeps_unique(key) for live in standing)
    ]
    if public is not None:
        missing += _users_indexes(table, relation, mine, public)
    return missing


def _users_indexes(table: StaticTable, relation: str, mine: Shape, public: Shape) -> Iterator[IndexToBuild]:
    """Yield one for each of the public table's: attaching never lets one index stand for two that are alike."""
    spare = [live for live in mine.indexes if not live.is_primary]
    coming = [index for index in table.indexes if not any(relations.same_index(live, index) for live in mine.indexes)]
    here = _names(mine)
    for live in public.indexes:
        if live.is_primary or not here.issuperset(live.columns):  # an index goes with a column that is being removed
            continue
        if twin := next((own for own in spare if own.shape == live.shape), None):
            spare.remove(twin)
        elif declared := next((index for index in coming if relations.same_index(live, index)), None):
            coming.remove(declared)
        else:
            yield IndexToBuild(relations.create_equal_index(version_table(relation), live), live.method)


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
    found = iter(catalog.shapes(connection, oids) if versions else [])
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
