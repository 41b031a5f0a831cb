"""What a table is like now, read from PostgreSQL's catalogs: columns, indexes, constraints, partitions, views on it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from flux_assets.errors import LayerError, SyncError
from flux_assets.postgis.session import Rows, run
from flux_assets.sqlfiles import query

_GIVEN = sql.Placeholder()


@dataclass(frozen=True)
class Relation:
    """A table by its OID and kind (`r` ordinary, `p` partitioned, `v` view, …)."""

    oid: int
    kind: str


@dataclass(frozen=True)
class LiveColumn:
    """A column in the database; `type` as format_type() writes it, `filled` when it has a default or fills itself.

    `collation` where it is not the type's own; `folds` when by it values are equal that differ in their bytes.
    """

    name: str
    type: str
    not_null: bool
    generated: bool
    filled: bool
    collation: str | None
    folds: bool
    comment: str | None

    @property
    def bare_type(self) -> str:
        """The type as declarations spell it: lower case, without the schema PostGIS may be installed in."""
        head, parenthesis, rest = self.type.lower().partition("(")
        return head.rpartition(".")[2] + parenthesis + rest


@dataclass(frozen=True)
class LiveIndex:
    """An index in the database; `body` is its definition from the access method on, without any table's name."""

    name: str
    is_unique: bool
    is_primary: bool
    valid: bool
    nulls_not_distinct: bool
    body: str
    method: str
    is_constraint: bool
    columns: list[str]

    @property
    def shape(self) -> tuple[str, bool]:
        """What must be equal for one index to replace another."""
        return self.body, self.is_unique

    def stands_for(self, other: LiveIndex) -> bool:
        """Tell whether attaching a partition with this index need not build one for `other`, the public table's."""
        kind, others = (self.is_primary, self.is_constraint), (other.is_primary, other.is_constraint)
        return self.shape == other.shape and kind == others

    def covers(self, method: str, column_names: tuple[str, ...]) -> bool:
        """Tell whether this is a plain index over just these columns; plain lower-case names need no quotes."""
        return self.body.replace('"', "") == f"{method} ({', '.join(column_names)})"

    def keeps_unique(self, key: tuple[str, ...]) -> bool:
        """Tell whether this index guarantees that no two rows are equal in `key`."""
        return self.is_unique and self.valid and self.covers("btree", key)


@dataclass(frozen=True)
class Constraint:
    """A CHECK (`c`) or foreign key (`f`) constraint with its definition."""

    name: str
    type: str
    definition: str
    columns: list[str]

    def stands_for(self, other: Constraint) -> bool:
        """Tell whether this is `other`, the public table's, which may be NOT VALID where this one has been proven."""
        proven = other.definition.removesuffix(" NOT VALID")
        return self.name == other.name and self.definition in {other.definition, proven}


@dataclass(frozen=True)
class Shape:
    """A table as it stands, with all that another one must have to take its place under a public table."""

    oid: int
    kind: str
    columns: list[LiveColumn]
    indexes: list[LiveIndex]
    constraints: list[Constraint]


def oid_of(schema: str, name: str) -> sql.Composed:
    """Make an expression for the OID of the relation of that name, NULL when there is none."""
    return query("catalog", "oid_of").format(schema=sql.Literal(schema), name=sql.Literal(name))


def shape_queries(oid: sql.Composable) -> list[sql.Composed]:
    """Make the queries whose answers `read_shape` takes; `oid` is an expression."""
    return [query("catalog", name).format(oid=oid) for name in _SHAPE]


def read_shape(answers: Sequence[Rows]) -> Shape | None:
    """Return the shape of a table from the answers to its queries, None when there is no table."""
    relation, *parts = answers
    if not relation:
        return None
    (oid, kind), (found_columns, found_indexes, found_constraints) = relation[0], parts
    return Shape(
        oid=oid,
        kind=kind,
        columns=[LiveColumn(*row) for row in found_columns],
        indexes=[LiveIndex(*row) for row in found_indexes],
        constraints=[Constraint(*row) for row in found_constraints],
    )


def shapes(connection: psycopg.Connection, oids: Iterable[sql.Composable]) -> list[Shape | None]:
    """Return the shapes of several tables, each given by an expression for its OID, in one round trip."""
    answers = run(connection, [query for oid in oids for query in shape_queries(oid)])
    each = len(_SHAPE)
    return [read_shape(answers[first : first + each]) for first in range(0, len(answers), each)]


_SHAPE = ("relation_of", "columns", "indexes", "constraints")


def find(connection: psycopg.Connection, schema: str, name: str) -> Relation | None:
    """Return the relation of that name; None when there is none."""
    with connection.cursor(row_factory=class_row(Relation)) as cursor:
        return cursor.execute(query("catalog", "find"), [schema, name]).fetchone()


def columns(connection: psycopg.Connection, oid: int) -> list[LiveColumn]:
    """Return the columns in their order."""
    with connection.cursor(row_factory=class_row(LiveColumn)) as cursor:
        return cursor.execute(query("catalog", "columns").format(oid=_GIVEN), [oid]).fetchall()


def indexes(connection: psycopg.Connection, oid: int) -> list[LiveIndex]:
    """Return the indexes, those of constraints included."""
    with connection.cursor(row_factory=class_row(LiveIndex)) as cursor:
        return cursor.execute(query("catalog", "indexes").format(oid=_GIVEN), [oid]).fetchall()


def inbound_keys(connection: psycopg.Connection, oid: int) -> list[str]:
    """Return the foreign keys of other tables that refer to this one, as `table (constraint)`."""
    return _first_column(connection, "inbound_keys", [oid])


def partitions(connection: psycopg.Connection, oid: int) -> list[str]:
    """Return the partitions as `schema.name`."""
    return heirs(connection, oid)


def heirs(connection: psycopg.Connection, oid: int) -> list[str]:
    """Return the tables that inherit from this one, without those that inherit from them."""
    return _first_column(connection, "heirs", [oid])


def parents(connection: psycopg.Connection, oid: int) -> list[str]:
    """Return the tables that this one inherits from, or is a partition of."""
    return _first_column(connection, "parents", [oid])


def dependent_views(connection: psycopg.Connection, oid: int, column_names: list[str]) -> list[str]:
    """Return the views that read any of these columns."""
    return _first_column(connection, "dependent_views", [oid, oid, oid, column_names])


def primary_key(connection: psycopg.Connection, oid: int) -> tuple[str, ...]:
    """Return the columns of the primary key; none when there is no key."""
    return tuple(_first_column(connection, "primary_key", {"oid": oid}))


def _first_column(connection: psycopg.Connection, name: str, parameters: list[object] | dict[str, object]) -> list[str]:
    return [row[0] for row in connection.execute(query("catalog", name), parameters)]


def count_rows(session: psycopg.Connection, table: sql.Composable) -> int:
    """Return the exact number of rows."""
    row = session.execute(sql.SQL("SELECT count(*) FROM {}").format(table)).fetchone()
    return int(row[0]) if row else 0


def refuse_folding_keys(
    kind: type[LayerError] | type[SyncError], title: str, key: Collection[str], columns: Iterable[LiveColumn]
) -> None:
    """Raise an error of this kind where the collation of a key's column makes different values equal."""
    folding = [column for column in columns if column.name in key and column.folds]
    if folding:
        raise kind(
            f"{title}: the key's column {folding[0].name} has the nondeterministic collation {folding[0].collation}, to"
            " which different keys are equal (such as those that differ in case alone), so the table cannot hold every"
            " row of the source.",
            f'Run ALTER TABLE {title} ALTER COLUMN {folding[0].name} TYPE {folding[0].type} COLLATE "default"; and put'
            f" COLLATE {folding[0].collation} into the queries that are to ignore the difference. The table is"
            " unchanged.",
        )
