"""Declarations as statements: the public table, a version's table, indexes, comments, rights."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa
from geoalchemy2 import Geography, Geometry
from psycopg import sql

from flux_assets.postgis.catalog import LiveIndex
from flux_assets.postgis.names import Layer, PublicTable, version_table
from flux_assets.spec import index_columns, index_method


def type_name(column: sa.Column[object]) -> str:
    """A declared column's type as PostgreSQL's format_type() writes it, PostGIS types in lower case."""
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
    """The public table, empty: partitioned by its key's first column, with the key and the plain indexes.

    GiST and other unique indexes stand on the versions: a GiST index here breaks ST_EstimatedExtent, and a unique
    one would have to include the partition column.
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
    """Whether a declared index stands on the public table as well as on its version."""
    return index_method(index) == "btree" and not index.unique


_TEMPLATE = sql.Identifier("pg_temp", "public_table")


def create_template(layer: Layer) -> sql.Composed:
    """A temporary, empty copy of the public table as it stands.

    LIKE locks the table it copies until the transaction ends, and staging takes long: a user's ALTER would wait for it
    all, and every reader behind the ALTER. So the public table is copied first, on its own.
    """
    return sql.SQL("CREATE {}").format(_like(sql.SQL("TEMP TABLE public_table"), layer.public))


def create_version(layer: Layer, relation: str, *, like_template: bool) -> sql.Composed:
    """A version's table without indexes: like the session's template, or by the declaration when there is none."""
    return _create_copy(layer, sql.SQL("TABLE {}").format(version_table(relation)), like_template=like_template)


def create_probe(layer: Layer, *, like_template: bool) -> sql.Composed:
    """A temporary table as a version's would be, emptied at the end of every transaction."""
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
    """`name type [NOT NULL]`."""
    null = sql.SQL("" if column.nullable else " NOT NULL")
    return sql.SQL("{} {}{}").format(sql.Identifier(column.name), sql.SQL(_trusted(type_name(column))), null)


def create_index(on: sql.Identifier, index: sa.Index) -> sql.Composed:
    """A declared index on any table of the layer; PostgreSQL chooses its name."""
    return sql.SQL("CREATE {}INDEX ON {} USING {} ({})").format(
        sql.SQL("UNIQUE " if index.unique else ""), on, sql.Identifier(index_method(index)), names(index_columns(index))
    )


def same_index(live: LiveIndex, index: sa.Index) -> bool:
    """Whether a standing index is the declared one: same method, columns and uniqueness."""
    return live.covers(index_method(index), index_columns(index)) and live.is_unique == bool(index.unique)


def create_equal_index(on: sql.Identifier, live: LiveIndex) -> sql.Composed:
    """An index on another table that equals one that stands."""
    unique = sql.SQL("UNIQUE " if live.is_unique else "")
    return sql.SQL("CREATE {}INDEX ON {} USING {}").format(unique, on, sql.SQL(_trusted(live.body)))


def create_unique_index(on: sql.Identifier, columns: tuple[str, ...]) -> sql.Composed:
    """A unique index over columns, for a key or a unique constraint."""
    return sql.SQL("CREATE UNIQUE INDEX ON {} ({})").format(on, names(columns))


def comments(layer: PublicTable) -> Iterator[sql.Composed]:
    """The table's and every column's comment."""
    yield sql.SQL("COMMENT ON TABLE {} IS {}").format(layer.public, sql.Literal(layer.table.description))
    for column in layer.table.columns:
        yield sql.SQL("COMMENT ON COLUMN {} IS {}").format(
            sql.Identifier(layer.schema, layer.name, column.name), sql.Literal(column.comment)
        )


def names(columns: tuple[str, ...]) -> sql.Composed:
    """Column names, quoted, with commas."""
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def _trusted(text: str) -> str:
    """Text that PostgreSQL or a checked declaration made; psycopg types only literals as safe."""
    return text


_REVOKING = sql.SQL("""
DO $$
DECLARE
    made CONSTANT regclass := {table};
    role text;
BEGIN
    FOR role IN SELECT DISTINCT CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE grantee::regrole::text END
                FROM pg_class, aclexplode(relacl) WHERE oid = made AND grantee <> relowner LOOP
        EXECUTE format('REVOKE ALL ON %s FROM %s', made, role);
    END LOOP;
END
$$
""")


def revoking_all(table: sql.Identifier) -> sql.Composed:
    """A statement that leaves a table to its owner; REVOKE ALL takes rights on single columns back too."""
    return _REVOKING.format(table=sql.Literal(table.as_string()))
