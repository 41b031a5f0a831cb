"""What a table looks like now, read from PostgreSQL's catalogs.

Here: columns, indexes, constraints, partitions, dependent views of any table. Not here: changing anything,
and who has locked it (lock_holders.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from flux_assets.postgis.batch import Rows, run

_RELATION = sql.SQL("SELECT oid, relkind::text AS kind FROM pg_class WHERE oid = {oid}")
_OID_OF = sql.SQL(
    "(SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname = {schema} AND c.relname = {name})"
)
_GIVEN = sql.Placeholder()
_COLUMNS = sql.SQL("""
SELECT attname AS name, format_type(atttypid, atttypmod) AS type, attnotnull AS not_null,
       attgenerated <> '' AS generated, atthasdef OR attidentity <> '' AS filled,
       CASE WHEN attcollation <> typcollation THEN attcollation::regcollation::text END AS collation,
       coalesce(NOT collisdeterministic, false) AS folds, col_description(attrelid, attnum) AS comment
FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid LEFT JOIN pg_collation ON pg_collation.oid = attcollation
WHERE attrelid = {oid} AND attnum > 0 AND NOT attisdropped ORDER BY attnum
""")
# The text behind USING names access method, columns, operator classes, options and predicate, and no table.
_INDEXES = sql.SQL("""
SELECT c.relname AS name, i.indisunique AS is_unique, i.indisprimary AS is_primary, i.indisvalid AS valid,
       i.indnullsnotdistinct AS nulls_not_distinct,
       substr(pg_get_indexdef(i.indexrelid), strpos(pg_get_indexdef(i.indexrelid), ' USING ' || am.amname) + 7) AS body,
       am.amname AS method, con.oid IS NOT NULL AS is_constraint,
       ARRAY(SELECT DISTINCT a.attname::text FROM pg_depend d
             JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
             WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid
               AND (d.classid, d.objid) IN (('pg_class'::regclass, i.indexrelid), ('pg_constraint'::regclass, con.oid))
       ) AS columns
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am am ON am.oid = c.relam
LEFT JOIN pg_constraint con ON con.conindid = i.indexrelid AND con.conrelid = i.indrelid AND con.contype IN ('p', 'u')
WHERE i.indrelid = {oid} ORDER BY c.relname
""")
_CONSTRAINTS = sql.SQL("""
SELECT conname AS name, contype::text AS type, pg_get_constraintdef(oid) AS definition,
       ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = conrelid AND attnum = ANY (conkey)) AS columns
FROM pg_constraint WHERE conrelid = {oid} AND contype IN ('c', 'f') ORDER BY conname
""")
_HEIRS = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s ORDER BY 1"
_PARENTS = "SELECT inhparent::regclass::text FROM pg_inherits WHERE inhrelid = %s ORDER BY 1"
_INBOUND_KEYS = """
SELECT conrelid::regclass::text || ' (' || conname || ')'
FROM pg_constraint WHERE confrelid = %s AND contype = 'f' AND conparentid = 0 ORDER BY 1
"""
_DEPENDENT_VIEWS = """
SELECT DISTINCT v.oid::regclass::text
FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid JOIN pg_class v ON v.oid = r.ev_class
WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = %s AND v.oid <> %s
  AND d.refobjsubid IN (SELECT attnum FROM pg_attribute WHERE attrelid = %s AND attname = ANY (%s))
ORDER BY 1
"""


@dataclass(frozen=True)
class Relation:
    """A table by its OID and kind (`r` plain, `p` partitioned, `v` view, …)."""

    oid: int
    kind: str


@dataclass(frozen=True)
class LiveColumn:
    """A column as it stands; `type` as format_type() writes it, `filled` when it has a default or fills itself.

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
    """An index as it stands; `body` is its definition from the access method on, without any table's name."""

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
        """What must be equal for one index to stand for another."""
        return self.body, self.is_unique

    def stands_for(self, other: LiveIndex) -> bool:
        """Whether attaching a partition with this index need not build one for `other`, the public table's."""
        kind, others = (self.is_primary, self.is_constraint), (other.is_primary, other.is_constraint)
        return self.shape == other.shape and kind == others

    def covers(self, method: str, column_names: tuple[str, ...]) -> bool:
        """Whether this is a plain index over just these columns; plain lower-case names need no quotes."""
        return self.body.replace('"', "") == f"{method} ({', '.join(column_names)})"

    def keeps_unique(self, key: tuple[str, ...]) -> bool:
        """Whether this index guarantees that no two rows are equal in `key`."""
        return self.is_unique and self.valid and self.covers("btree", key)


@dataclass(frozen=True)
class Constraint:
    """A CHECK (`c`) or foreign key (`f`) constraint with its definition."""

    name: str
    type: str
    definition: str
    columns: list[str]

    def stands_for(self, other: Constraint) -> bool:
        """Whether this is `other`, the public table's, where that may be NOT VALID and this has been proven."""
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
    return _OID_OF.format(schema=sql.Literal(schema), name=sql.Literal(name))


def shape_queries(oid: sql.Composable) -> list[sql.Composed]:
    """Make the queries whose answers `read_shape` takes; `oid` is an expression."""
    return [query.format(oid=oid) for query in _SHAPE]


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


_SHAPE = (_RELATION, _COLUMNS, _INDEXES, _CONSTRAINTS)


def find(connection: psycopg.Connection, schema: str, name: str) -> Relation | None:
    """The relation of that name, None when there is none."""
    with connection.cursor(row_factory=class_row(Relation)) as cursor:
        return cursor.execute(
            "SELECT c.oid, c.relkind::text AS kind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = %s AND c.relname = %s",
            [schema, name],
        ).fetchone()


def columns(connection: psycopg.Connection, oid: int) -> list[LiveColumn]:
    """The columns in their order."""
    with connection.cursor(row_factory=class_row(LiveColumn)) as cursor:
        return cursor.execute(_COLUMNS.format(oid=_GIVEN), [oid]).fetchall()


def indexes(connection: psycopg.Connection, oid: int) -> list[LiveIndex]:
    """The indexes, those of constraints included."""
    with connection.cursor(row_factory=class_row(LiveIndex)) as cursor:
        return cursor.execute(_INDEXES.format(oid=_GIVEN), [oid]).fetchall()


def constraints(connection: psycopg.Connection, oid: int) -> list[Constraint]:
    """CHECK constraints and outbound foreign keys."""
    with connection.cursor(row_factory=class_row(Constraint)) as cursor:
        return cursor.execute(_CONSTRAINTS.format(oid=_GIVEN), [oid]).fetchall()


def inbound_keys(connection: psycopg.Connection, oid: int) -> list[str]:
    """Foreign keys of other tables that point here, as `table (constraint)`."""
    return [row[0] for row in connection.execute(_INBOUND_KEYS, [oid])]


def looked_up(connection: psycopg.Connection, oid: int) -> list[Relation]:
    """Tables that the table's own foreign keys point at; changing the table locks them too."""
    query = (
        "SELECT DISTINCT c.oid, c.relkind::text FROM pg_constraint k JOIN pg_class c ON c.oid = k.confrelid"
        " WHERE k.conrelid = %s AND k.contype = 'f'"
    )
    return [Relation(*row) for row in connection.execute(query, [oid])]


def partitions(connection: psycopg.Connection, oid: int) -> list[str]:
    """The partitions as `schema.name`."""
    return heirs(connection, oid)


def heirs(connection: psycopg.Connection, oid: int) -> list[str]:
    """The tables that inherit from this one, without those that inherit from them."""
    return [row[0] for row in connection.execute(_HEIRS, [oid])]


def parents(connection: psycopg.Connection, oid: int) -> list[str]:
    """The tables that this one inherits from, or is a partition of."""
    return [row[0] for row in connection.execute(_PARENTS, [oid])]


def partition_column(connection: psycopg.Connection, oid: int) -> tuple[str, str] | None:
    """Strategy (`l` for LIST) and column of a partitioned table's partition key."""
    return connection.execute(
        "SELECT partstrat::text, attname FROM pg_partitioned_table"
        " JOIN pg_attribute ON attrelid = partrelid AND attnum = partattrs[0] WHERE partrelid = %s",
        [oid],
    ).fetchone()


def dependent_views(connection: psycopg.Connection, oid: int, column_names: list[str]) -> list[str]:
    """Views that read any of these columns."""
    return [row[0] for row in connection.execute(_DEPENDENT_VIEWS, [oid, oid, oid, column_names])]


def primary_key(connection: psycopg.Connection, oid: int) -> tuple[str, ...]:
    """Columns of the primary key, empty when there is none."""
    query = (
        "SELECT attname FROM pg_constraint, unnest(conkey) WITH ORDINALITY AS k (num, place)"
        " JOIN pg_attribute ON attrelid = %(oid)s AND attnum = k.num"
        " WHERE conrelid = %(oid)s AND contype = 'p' ORDER BY place"
    )
    return tuple(row[0] for row in connection.execute(query, {"oid": oid}))


def size_bytes(connection: psycopg.Connection, table: sql.Identifier) -> int:
    """Bytes on disk of a plain table with its indexes and TOAST."""
    query = sql.SQL("SELECT pg_total_relation_size({}::regclass)").format(sql.Literal(table.as_string(connection)))
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0


def table_comment(connection: psycopg.Connection, oid: int) -> str | None:
    """The table's comment."""
    row = connection.execute("SELECT obj_description(%s, 'pg_class')", [oid]).fetchone()
    return row[0] if row else None


def count_rows(session: psycopg.Connection, table: sql.Composable) -> int:
    """Return the exact number of rows."""
    row = session.execute(sql.SQL("SELECT count(*) FROM {}").format(table)).fetchone()
    return int(row[0]) if row else 0
