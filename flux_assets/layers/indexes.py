"""Making a version the equal of its public table, so that attaching it builds and scans nothing.

Here: the indexes and constraints a version needs, building them, proving that nothing is missing. Users own the
public table too: an index or constraint that they added counts as much as a declared one. Not here: columns (shape.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import Empty, SimpleQueue

import psycopg
from psycopg import errors, sql

from flux_assets.errors import PublishError
from flux_assets.postgis import catalog, ddl
from flux_assets.postgis.catalog import LiveIndex, count_rows
from flux_assets.postgis.connect import Stop, Target
from flux_assets.postgis.names import VERSIONS, Layer, own_rows, version_table
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
    """Whether a version made earlier still has its table, with the rows it was registered with."""
    there = catalog.find(connection, VERSIONS, relation) is not None
    return there and count_rows(connection, own_rows(version_table(relation))) == rows


def missing_indexes(
    connection: psycopg.Connection, table: StaticTable, relation: str, public_oid: int | None
) -> list[IndexToBuild]:
    """The indexes that the version lacks, the slowest to build (GiST) first."""
    on = version_table(relation)
    standing = catalog.indexes(connection, _oid(connection, relation))
    missing = [
        IndexToBuild(ddl.create_index(on, index), index_method(index))
        for index in sorted(table.indexes, key=lambda index: index_method(index) != "gist")
        if not any(ddl.same_index(live, index) for live in standing)
    ]
    missing += [
        IndexToBuild(ddl.create_unique_index(on, key), "btree")
        for key in filter(None, [table.key, *table.unique_keys])
        if not any(live.keeps_unique(key) for live in standing)
    ]
    if public_oid is not None:
        missing += _users_indexes(connection, table, relation, standing, public_oid)
    return missing


def _users_indexes(
    connection: psycopg.Connection, table: StaticTable, relation: str, standing: list[LiveIndex], public_oid: int
) -> Iterator[IndexToBuild]:
    """One for each of the public table's: attaching never lets one index stand for two that are alike."""
    spare = [live for live in standing if not live.is_primary]
    coming = [index for index in table.indexes if not any(ddl.same_index(live, index) for live in standing)]
    here = _names(connection, relation)
    for live in catalog.indexes(connection, public_oid):
        if live.is_primary or not here.issuperset(live.columns):  # an index goes with a column that is being removed
            continue
        if twin := next((mine for mine in spare if mine.shape == live.shape), None):
            spare.remove(twin)
        elif declared := next((index for index in coming if ddl.same_index(live, index)), None):
            coming.remove(declared)
        else:
            yield IndexToBuild(ddl.create_equal_index(version_table(relation), live), live.method)


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
            memory = sql.Literal(_SORT_MEMORY) if index.method == "btree" else sql.SQL("DEFAULT")
            session.execute(sql.SQL("SET maintenance_work_mem = {}").format(memory))
            while not _built(session, index.statement):
                stop.check()


def _built(session: psycopg.Connection, statement: sql.Composed) -> bool:
    """False when another session has just taken the name that PostgreSQL chose; next time it chooses another."""
    try:
        session.execute(statement)
    except errors.DuplicateTable:  # no statement names an index of itself
        return False
    except errors.UniqueViolation as error:
        if error.diag.schema_name != "pg_catalog":
            raise
        return False
    return True


def add_constraints(connection: psycopg.Connection, table: StaticTable, relation: str, public_oid: int | None) -> None:
    """Turn the key's index into the primary key and give the version every constraint of the public table."""
    on, oid = version_table(relation), _oid(connection, relation)
    standing = catalog.indexes(connection, oid)
    if table.key and not any(live.is_primary for live in standing):
        _use_index(connection, on, _unique_index(standing, table.key), "PRIMARY KEY")
    if public_oid is None:
        return
    _use_unique_indexes(connection, on, oid, public_oid)
    _add_checks_and_keys(connection, relation, oid, public_oid)


def refuse_unequal(connection: psycopg.Connection, layer: Layer, relation: str, public_oid: int) -> None:
    """Raise PublishError when attaching the version would still build or scan something under an exclusive lock."""
    missing = list(_inequalities(connection, relation, public_oid))
    if missing:
        raise PublishError(
            f"{layer.title}: attaching the version would do work under an exclusive lock, because it lacks"
            f" {'; '.join(missing)}.",
            "Run the load again: the public table was changed while the version was being made.",
        )


def _inequalities(connection: psycopg.Connection, relation: str, public_oid: int) -> Iterator[str]:
    oid = _oid(connection, relation)
    mine = [live for live in catalog.indexes(connection, oid) if live.valid]
    for live in catalog.indexes(connection, public_oid):
        if twin := next((own for own in mine if own.stands_for(live)), None):
            mine.remove(twin)
        else:
            yield f"an index like {live.name} ({live.body})"
    constraints = catalog.constraints(connection, oid)
    for theirs in catalog.constraints(connection, public_oid):
        if not any(own.stands_for(theirs) for own in constraints):
            yield f"the constraint {theirs.name} ({theirs.definition})"
    columns = {own.name: own for own in catalog.columns(connection, oid)}
    public_columns = catalog.columns(connection, public_oid)
    for column in public_columns:
        own = columns.pop(column.name, None)
        alike = own is not None and (own.type, own.collation) == (column.type, column.collation)
        if own is None or not alike or (column.not_null and not own.not_null):
            collation = f" COLLATE {column.collation}" if column.collation else ""
            yield f"the column {column.name} ({column.type}{collation}{' NOT NULL' if column.not_null else ''})"
    yield from (f"a public column {name}" for name in columns)


def _use_unique_indexes(connection: psycopg.Connection, on: sql.Identifier, oid: int, public_oid: int) -> None:
    """Make a unique constraint of an index for each that the public table has and the version has not."""
    mine = catalog.indexes(connection, oid)
    for live in catalog.indexes(connection, public_oid):
        if live.is_constraint and not live.is_primary:
            alike = [own for own in mine if own.shape == live.shape and not own.is_primary]
            # The last: attaching gives the first that fits, constraint or not, to a plain index.
            for own in sorted(alike, key=lambda own: own.is_constraint)[-1:]:
                mine.remove(own)
                if not own.is_constraint:
                    _use_index(connection, on, own, "UNIQUE")


def _add_checks_and_keys(connection: psycopg.Connection, relation: str, oid: int, public_oid: int) -> None:
    """Give the version the public table's CHECK constraints and foreign keys, as they now stand there."""
    here, on = _names(connection, relation), version_table(relation)
    mine = {constraint.name: constraint for constraint in catalog.constraints(connection, oid)}
    for theirs in catalog.constraints(connection, public_oid):
        own, name = mine.get(theirs.name), sql.Identifier(theirs.name)
        if here.issuperset(theirs.columns) and not (own and own.stands_for(theirs)):
            drop = sql.SQL("DROP CONSTRAINT IF EXISTS {}, ").format(name)
            add = sql.SQL("ADD CONSTRAINT {} {}").format(name, sql.SQL(theirs.definition))
            connection.execute(sql.SQL("ALTER TABLE {} ").format(on) + drop + add)


def require_columns(connection: psycopg.Connection, relation: str, public_oid: int) -> None:
    """Give a version made earlier the NOT NULL that the public table has gained since."""
    on, oid = version_table(relation), _oid(connection, relation)
    mine = {column.name: column for column in catalog.columns(connection, oid)}
    for column in catalog.columns(connection, public_oid):
        own = mine.get(column.name)
        if column.not_null and own is not None and not own.not_null:
            statement = sql.SQL("ALTER TABLE {} ALTER COLUMN {} SET NOT NULL")
            connection.execute(statement.format(on, sql.Identifier(column.name)))


def _use_index(connection: psycopg.Connection, on: sql.Identifier, index: LiveIndex, kind: str) -> None:
    statement = sql.SQL("ALTER TABLE {} ADD {} USING INDEX {}")
    connection.execute(statement.format(on, sql.SQL(kind), sql.Identifier(index.name)))


def _unique_index(standing: list[LiveIndex], key: tuple[str, ...]) -> LiveIndex:
    return next(live for live in standing if live.keeps_unique(key))


def _names(connection: psycopg.Connection, relation: str) -> set[str]:
    return {column.name for column in catalog.columns(connection, _oid(connection, relation))}


def _oid(connection: psycopg.Connection, relation: str) -> int:
    found = catalog.find(connection, VERSIONS, relation)
    if found is None:
        raise PublishError(
            f"The version's table {VERSIONS}.{relation} is gone.", "Run the load again; it stages a new one."
        )
    return found.oid
