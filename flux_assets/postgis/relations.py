"""A declared table as statements: what it is called, its DDL, indexes, comments, rights and statistics."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import psycopg
import sqlalchemy as sa
from geoalchemy2 import Geography, Geometry
from psycopg import sql

from flux_assets.postgis.catalog import LiveIndex
from flux_assets.postgis.session import run
from flux_assets.spec import Declaration, DynamicTable, StaticTable, index_columns, index_method
from flux_assets.sqlfiles import query

VERSIONS = "flux_versions"
PARTITIONED = "p"  # pg_class.relkind of a partitioned table
_LONGEST = 63  # bytes of a PostgreSQL identifier
_BEFORE = "_before_flux"
_LONGEST_BEFORE = _LONGEST - len(_BEFORE)


@dataclass(frozen=True)
class PublicTable:
    """One declared table in one target schema; every name below includes both."""

    schema: str
    table: Declaration

    @property
    def name(self) -> str:
        """The public table's name."""
        return self.table.name

    @property
    def public(self) -> sql.Identifier:
        """The table that readers use."""
        return sql.Identifier(self.schema, self.name)

    @property
    def title(self) -> str:
        """The table as messages name it."""
        return f"{self.schema}.{self.name}"

    @property
    def old_name(self) -> str:
        """The name that a table of somebody else is given when ours takes its place."""
        return f"{self.name[:_LONGEST_BEFORE]}{_BEFORE}"

    @property
    def old_title(self) -> str:
        """That table as messages name it."""
        return f"{self.schema}.{self.old_name}"


@dataclass(frozen=True)
class LiveTable(PublicTable):
    """A table that the sync keeps equal to its source."""

    table: DynamicTable

    @property
    def own_rows(self) -> sql.Composed:
        """The rows that a sync knows: the table's own, not those of tables that inherit from it."""
        return own_rows(self.public)


@dataclass(frozen=True)
class Layer(PublicTable):
    """A static table, published version by version."""

    table: StaticTable

    def relation(self, version: str, lease: int) -> str:
        """Return the name of a version's table, unique also when that version is loaded again under another lease."""
        stem, tail = f"{self.schema}__{self.name}", f"__{version[:8]}_{lease}"
        if len(stem) + len(tail) > _LONGEST:
            short = hashlib.sha256(stem.encode()).hexdigest()[:8]
            stem = f"{stem[: _LONGEST - len(tail) - 9]}_{short}"
        return stem + tail


def version_table(relation: str) -> sql.Identifier:
    """Return a version's table by its name in the register."""
    return sql.Identifier(VERSIONS, relation)


def own_rows(table: sql.Identifier) -> sql.Composed:
    """Return the rows of a table that has no partitions, for FROM, DELETE, UPDATE and LOCK TABLE.

    An archive that INHERITS from the table shows its rows in it unless a statement says ONLY: they would be counted,
    compared and deleted as ours. Of a partitioned table, ONLY is empty.
    """
    return sql.SQL("ONLY {}").format(table)


def own_rows_by_kind(table: sql.Identifier, kind: str) -> sql.Composable:
    """Return the rows of a relation of this kind (pg_class.relkind), with those of its partitions where it has any."""
    return table if kind == PARTITIONED else own_rows(table)


def text_by_value(value: sql.Composable) -> sql.Composed:
    """Return a text, or what reads as text, that equals another one when their bytes do.

    A nondeterministic collation or citext, which users choose for searches, would make 'Crew 1' equal 'CREW 1'. An
    index of another collation does not serve it, so this is for tables joined by hash and columns that need it.
    """
    return sql.SQL('({})::text COLLATE "C"').format(value)


def by_value(value: sql.Composable, column: sa.Column[object]) -> sql.Composable:
    """Return a value of a declared column so that it can be compared with another one of that column."""
    return text_by_value(value) if isinstance(column.type, sa.String) else value


def same_by_value(table: sa.Table, names: Iterable[str], left: str, right: str) -> sql.Composed:
    """Return the condition that two sides agree in each of the columns."""
    pairs = (
        sql.SQL("{} = {}").format(
            *(by_value(sql.Identifier(side, name), table.columns[name]) for side in (left, right))
        )
        for name in names
    )
    return sql.SQL(" AND ").join(pairs)


def values_of(table: sa.Table, names: Iterable[str], side: str) -> sql.Composed:
    """Return the columns of one side, with commas, each so that it can be compared by its value."""
    return sql.SQL(", ").join(by_value(sql.Identifier(side, name), table.columns[name]) for name in names)


def type_name(column: sa.Column[object]) -> str:
    """Return a declared column's type as PostgreSQL's format_type() writes it, PostGIS types in lower case."""
    kind = column.type
    match kind:
        case Geometry() | Geography():
            return f"{type(kind).__name__.lower()}({str(kind.geometry_type).lower()},{kind.srid})"
        case sa.String():  # Text included
            return f"character varying({kind.length})" if kind.length else "text"
        case sa.Numeric() if not isinstance(kind, sa.Float):
            return f"numeric({kind.precision},{kind.scale or 0})"
    return _PLAIN[type(kind)]


_PLAIN: dict[type, str] = {
    sa.Integer: "integer",
    sa.BigInteger: "bigint",
    sa.Double: "double precision",
    sa.DateTime: "timestamp without time zone",
    sa.Date: "date",
}


def create_public(layer: Layer) -> Iterator[sql.Composed]:
    """Yield the statements that create the public table, empty, with its key and plain indexes.

    It is partitioned by the key's first column. GiST and other unique indexes are on the versions: a GiST index here
    breaks ST_EstimatedExtent, and a unique one would have to include the partition column.
    """
    table = layer.table
    partition_by = (table.key or table.column_names)[0]
    key = [sql.SQL("PRIMARY KEY ({})").format(names(table.key))] if table.key else []
    yield sql.SQL("CREATE TABLE {} ({}) PARTITION BY LIST ({})").format(
        layer.public,
        sql.SQL(", ").join([*(column_definition(column) for column in table.columns), *key]),
        sql.Identifier(partition_by),
    )
    for index in table.indexes:
        if on_public(index):
            yield create_index(layer.public, index)
    yield from comments(layer)


def on_public(index: sa.Index) -> bool:
    """Tell whether a declared index is on the public table as well as on its version."""
    return index_method(index) == "btree" and not index.unique


_TEMPLATE = sql.Identifier("pg_temp", "public_table")


def create_template(layer: Layer) -> sql.Composed:
    """Create a temporary, empty copy of the public table as it is.

    LIKE locks the table it copies until the transaction ends, and staging takes long: a user's ALTER would wait for all
    of it, and every reader behind the ALTER. So the public table is copied first, on its own.
    """
    return sql.SQL("CREATE {}").format(_like(sql.SQL("TEMP TABLE public_table"), layer.public))


def create_version(layer: Layer, relation: str, *, like_template: bool) -> sql.Composed:
    """Create a version's table without indexes: like the session's template, or by the declaration without one."""
    return _create_copy(layer, sql.SQL("TABLE {}").format(version_table(relation)), like_template=like_template)


def create_probe(layer: Layer, *, like_template: bool) -> sql.Composed:
    """Create a temporary table as a version's would be, emptied at the end of every transaction."""
    new = _create_copy(layer, sql.SQL("TEMP TABLE flux_probe"), like_template=like_template)
    return sql.SQL("{} ON COMMIT DELETE ROWS").format(new)


def _create_copy(layer: Layer, new: sql.Composable, *, like_template: bool) -> sql.Composed:
    if like_template:
        return sql.SQL("CREATE {}").format(_like(new, _TEMPLATE))
    definitions = (column_definition(column) for column in layer.table.columns)
    return sql.SQL("CREATE {} ({})").format(new, sql.SQL(", ").join(definitions))


def _like(new: sql.Composable, old: sql.Identifier) -> sql.Composed:
    return sql.SQL(
        "{} (LIKE {} INCLUDING CONSTRAINTS INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING STORAGE"
        " INCLUDING COMPRESSION)"
    ).format(new, old)


def column_definition(column: sa.Column[object]) -> sql.Composed:
    """Return `name type [NOT NULL]`."""
    null = sql.SQL("" if column.nullable else " NOT NULL")
    return sql.SQL("{} {}{}").format(sql.Identifier(column.name), sql.SQL(_trusted(type_name(column))), null)


def create_index(on: sql.Identifier, index: sa.Index) -> sql.Composed:
    """Create a declared index on any table of the layer; PostgreSQL chooses its name."""
    return sql.SQL("CREATE {}INDEX ON {} USING {} ({})").format(
        sql.SQL("UNIQUE " if index.unique else ""), on, sql.Identifier(index_method(index)), names(index_columns(index))
    )


def same_index(live: LiveIndex, index: sa.Index) -> bool:
    """Tell whether a live index is the declared one: same method, columns and uniqueness."""
    return live.covers(index_method(index), index_columns(index)) and live.is_unique == bool(index.unique)


def create_equal_index(on: sql.Identifier, live: LiveIndex) -> sql.Composed:
    """Create an index on another table that equals a live one."""
    unique = sql.SQL("UNIQUE " if live.is_unique else "")
    return sql.SQL("CREATE {}INDEX ON {} USING {}").format(unique, on, sql.SQL(_trusted(live.body)))


def create_unique_index(on: sql.Identifier, columns: tuple[str, ...]) -> sql.Composed:
    """Create a unique index over columns, for a key or a unique constraint."""
    return sql.SQL("CREATE UNIQUE INDEX ON {} ({})").format(on, names(columns))


def comments(layer: PublicTable) -> Iterator[sql.Composed]:
    """Yield the statements that set the comments of the table and of every column."""
    yield sql.SQL("COMMENT ON TABLE {} IS {}").format(layer.public, sql.Literal(layer.table.description))
    for column in layer.table.columns:
        yield sql.SQL("COMMENT ON COLUMN {} IS {}").format(
            sql.Identifier(layer.schema, layer.name, column.name), sql.Literal(column.comment)
        )


def names(columns: tuple[str, ...]) -> sql.Composed:
    """Return column names, quoted, with commas."""
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def _trusted(text: str) -> str:
    """Return text of PostgreSQL or of a checked declaration; psycopg types only literals as safe."""
    return text


def revoking_all(table: sql.Identifier) -> sql.Composed:
    """Return the statement that leaves a table to its owner, whatever default privileges grant.

    ALTER DEFAULT PRIVILEGES without IN SCHEMA grants on every table of a role, also in schemas of its own: map tools
    would list each layer once more for each of its versions, past the row-level security of the public table.
    """
    return query("ddl", "revoke_all").format(table=sql.Literal(table.as_string()))


LOCK_TIMEOUT = "10s"  # for somebody else's maintenance of the same table
_LIMIT_WAIT = sql.SQL(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
_HAS_ONLY = 180000


def analyze(session: psycopg.Connection, table: sql.Composable) -> None:
    """Collect the statistics of a table; of a public table those of its version as well.

    Gives up with LockNotAvailable when somebody else's maintenance holds the table for LOCK_TIMEOUT.
    """
    run(session, [_LIMIT_WAIT, sql.SQL("ANALYZE {}").format(table)])


def analyze_own_rows(session: psycopg.Connection, table: sql.Identifier) -> None:
    """Collect the statistics of a table that others may inherit from, without reading what inherits where possible.

    Before PostgreSQL 18 a sample of those tables is read as well; they are not written to, or locked against writing.
    """
    analyze(session, own_rows(table) if session.info.server_version >= _HAS_ONLY else table)


def analyze_public(session: psycopg.Connection, public: sql.Identifier, relation: str) -> None:
    """Collect the statistics of a public table whose version has been analyzed, without reading that twice.

    Before PostgreSQL 18, ANALYZE of a partitioned table cannot be told to leave its partition out, but a column whose
    target is 0 keeps the statistics that it has. The targets are put back in the same transaction, so that nothing of
    this is ever left behind; like ANALYZE itself it locks out no reader and no writer.
    """
    prepared = [_LIMIT_WAIT, query("statistics", "smaller_sample")]
    if session.info.server_version >= _HAS_ONLY:
        run(session, [*prepared, sql.SQL("ANALYZE ONLY {}").format(public)])
        return
    version = version_table(relation)
    targets: dict[str, int] = dict(
        session.execute(query("statistics", "targets"), [version.as_string(session)]).fetchall()
    )
    analyze_alone = [
        _with_targets(version, dict.fromkeys(targets, 0)),
        sql.SQL("ANALYZE {}").format(public),
        _with_targets(version, targets),
    ]
    run(session, [*prepared, *analyze_alone])


def _with_targets(table: sql.Identifier, targets: Mapping[str, int]) -> sql.Composed:
    change = sql.SQL("ALTER COLUMN {} SET STATISTICS {}")
    changes = [change.format(sql.Identifier(name), sql.Literal(target)) for name, target in targets.items()]
    return sql.SQL("ALTER TABLE {} {}").format(table, sql.SQL(", ").join(changes))
