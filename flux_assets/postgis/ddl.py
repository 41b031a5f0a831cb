"""Declarations as statements: the public table, a version's table, indexes, comments, rights."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa
from geoalchemy2 import Geography, Geometry
from psycopg import sql

from flux_assets.postgis.catalog import LiveIndex
from flux_assets.postgis.names import Layer, PublicTable, version_table
from flux_assets.spec import index_columns, index_method
from flux_assets.sqlfiles import query


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
