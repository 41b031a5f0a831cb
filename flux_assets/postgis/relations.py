"""A declared table as statements: what it is called, its DDL, indexes, comments, rights and statistics."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import psycopg
import sqlalchemy as sa
from psycopg import sql

from flux_assets.postgis.catalog import Relation
from flux_assets.postgis.session import run
from flux_assets.spec import Declaration, DynamicTable, StaticTable, index_method, index_terms, type_ddl
from flux_assets.sqlfiles import query

VERSIONS = "flux_versions"
_LOCK_TIMEOUT = "10s"  # of ANALYZE, for somebody else's maintenance of the same table
_LIMIT_WAIT = sql.SQL(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
_SINCE_ANALYZE_ONLY = 180000  # the server version
_LONGEST = 63  # bytes of a PostgreSQL identifier
_BEFORE = "_before_flux"
# Every sync updates rows in place: room on the page keeps the new row beside the old and its indexes untouched.
_FILL_PERCENT = 85
_COMPAT = "_compat"
_TEMPLATE = sql.Identifier("pg_temp", "public_table")


@dataclass(frozen=True)
class PublicTable:
    """One declared table in one target schema; every name below includes both."""

    schema: str
    table: Declaration

    @property
    def name(self) -> str:
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
        return f"{self.name[: _LONGEST - len(_BEFORE)]}{_BEFORE}"

    def free_old_name(self, connection: psycopg.Connection) -> tuple[str, str]:
        """Return the first of these names that is free, with a number if need be, and what it adds to the table's."""
        return self.free_name(connection, self.schema, self.name)

    @staticmethod
    def free_name(connection: psycopg.Connection, schema: str, name: str) -> tuple[str, str]:
        """Return the first free name for a relation of somebody else that gives up its own, and what that adds."""
        number, suffix = 1, _BEFORE
        while Relation.find(connection, schema, old_name := f"{name[: _LONGEST - len(suffix)]}{suffix}"):
            number += 1
            suffix = f"{_BEFORE}_{number}"
        return old_name, suffix

    @property
    def old_title(self) -> str:
        """That table as messages name it."""
        return f"{self.schema}.{self.old_name}"

    def announcing(
        self,
        kind: Literal["published", "rolled back", "synced"],
        *,
        version: str | None = None,
        sync_id: int | None = None,
    ) -> sql.Composed:
        """Make a statement that tells caches of the new `version`, or of the ledger's row whose sync changed the table.

        It belongs into the transaction that makes the change, so that it is heard when, and only when, the change can
        be seen. `sync_id` is None where a table only followed another that was synced.
        """
        what = {"sync_id": sync_id} if kind == "synced" else {"version": version}
        payload = json.dumps({"schema": self.schema, "table": self.name, "kind": kind, **what})
        return sql.SQL("NOTIFY flux_published, {}").format(sql.Literal(payload))

    def comments(self) -> Iterator[sql.Composed]:
        """Yield the statements that set the comments of the table and of every column."""
        yield sql.SQL("COMMENT ON TABLE {} IS {}").format(self.public, sql.Literal(self.table.description))
        for column in self.table.columns:
            yield sql.SQL("COMMENT ON COLUMN {} IS {}").format(
                sql.Identifier(self.schema, self.name, column.name), sql.Literal(column.comment)
            )


@dataclass(frozen=True)
class LiveTable(PublicTable):
    """A table that the sync keeps equal to its source."""

    table: DynamicTable

    @staticmethod
    def compat(schema: str) -> str:
        """Return the schema of the views that show the synced tables of a schema under further names."""
        return f"{schema[: _LONGEST - len(_COMPAT)]}{_COMPAT}"

    @property
    def compat_schema(self) -> str:
        """The schema of the table's view."""
        return self.compat(self.schema)

    @property
    def own_rows(self) -> sql.Composable:
        """The rows that a sync knows: the table's own, not those of tables that inherit from it."""
        return own_rows(self.public)

    def create(self) -> Iterator[sql.Composed]:
        """Yield the statements that create the table, empty, with its key, indexes and comments."""
        columns = [column_definition(column) for column in self.table.columns]
        key = sql.SQL("PRIMARY KEY ({})").format(names(self.table.key))
        yield sql.SQL("CREATE TABLE {} ({}) WITH (fillfactor = {})").format(
            self.public, sql.SQL(", ").join([*columns, key]), _FILL_PERCENT
        )
        for index in self.table.indexes:
            yield create_index(self.public, index)
        yield from self.comments()

    def analyze(self, session: psycopg.Connection) -> None:
        """Collect the statistics, without reading the tables that inherit where possible.

        Before PostgreSQL 18 a sample of those is read as well; they are not written to, or locked against writing.
        """
        analyze(session, self.own_rows if session.info.server_version >= _SINCE_ANALYZE_ONLY else self.public)


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

    @property
    def public_indexes(self) -> list[sa.Index]:
        """The declared indexes that are on the public table as well as on its version.

        A GiST index there breaks ST_EstimatedExtent, and a unique one would have to include the partition column.
        """
        return [index for index in self.table.indexes if index_method(index) == "btree" and not index.unique]

    def create_public(self) -> Iterator[sql.Composed]:
        """Yield the statements that create the public table, empty, partitioned by the key's first column."""
        key = [sql.SQL("PRIMARY KEY ({})").format(names(self.table.key))] if self.table.key else []
        yield sql.SQL("CREATE TABLE {} ({}) PARTITION BY LIST ({})").format(
            self.public,
            sql.SQL(", ").join([*(column_definition(column) for column in self.table.columns), *key]),
            sql.Identifier((self.table.key or self.table.column_names)[0]),
        )
        for index in self.public_indexes:
            yield create_index(self.public, index)
        yield from self.comments()

    def create_template(self) -> sql.Composed:
        """Create a temporary, empty copy of the public table as it is.

        LIKE locks the table it copies until the transaction ends, and staging takes long: a user's ALTER would wait for
        all of it, and every reader behind the ALTER. So the public table is copied first, on its own.
        """
        return query("ddl", "create_like").format(new=sql.SQL("TEMP TABLE public_table"), old=self.public)

    def create_version(self, relation: str, *, like_template: bool) -> sql.Composed:
        """Create a version's table without indexes: like the session's template, or by the declaration without one."""
        return self._create_copy(
            sql.SQL("TABLE {}").format(sql.Identifier(VERSIONS, relation)), like_template=like_template
        )

    def create_probe(self, *, like_template: bool) -> sql.Composed:
        """Create a temporary table as a version's would be, emptied at the end of every transaction."""
        new = self._create_copy(sql.SQL("TEMP TABLE flux_probe"), like_template=like_template)
        return sql.SQL("{} ON COMMIT DELETE ROWS").format(new)

    def _create_copy(self, new: sql.Composable, *, like_template: bool) -> sql.Composed:
        if like_template:
            return query("ddl", "create_like").format(new=new, old=_TEMPLATE)
        columns = sql.SQL(", ").join(column_definition(column) for column in self.table.columns)
        return sql.SQL("CREATE {} ({})").format(new, columns)

    def analyze(self, session: psycopg.Connection, relation: str) -> None:
        """Collect the statistics of the public table, whose version has been analyzed, without reading that twice.

        Planning a scan reads the version's statistics; joins, groups and ST_EstimatedExtent read the public table's.
        Before PostgreSQL 18, ANALYZE of a partitioned table cannot be told to leave its partition out, but a column
        whose target is 0 keeps the statistics that it has. The targets are put back in the same transaction, so that
        nothing of this is ever left behind; like ANALYZE itself it locks out no reader and no writer.
        """
        prepared = [_LIMIT_WAIT, query("statistics", "smaller_sample")]
        if session.info.server_version >= _SINCE_ANALYZE_ONLY:
            run(session, [*prepared, sql.SQL("ANALYZE ONLY {}").format(self.public)])
            return
        version = sql.Identifier(VERSIONS, relation)
        asked = query("statistics", "targets"), [version.as_string(session)]
        targets: dict[str, int] = dict(session.execute(*asked).fetchall())
        analyze_alone = [
            _with_targets(version, dict.fromkeys(targets, 0)),
            sql.SQL("ANALYZE {}").format(self.public),
            _with_targets(version, targets),
        ]
        run(session, [*prepared, *analyze_alone])


def _with_targets(table: sql.Identifier, targets: Mapping[str, int]) -> sql.Composed:
    change = sql.SQL("ALTER COLUMN {} SET STATISTICS {}")
    changes = [change.format(sql.Identifier(name), sql.Literal(target)) for name, target in targets.items()]
    return sql.SQL("ALTER TABLE {} {}").format(table, sql.SQL(", ").join(changes))


def own_rows(table: sql.Identifier, kind: str = "r") -> sql.Composable:
    """Return the rows of a relation of this kind (pg_class.relkind), for FROM, DELETE, UPDATE and LOCK TABLE.

    An archive that INHERITS from the table shows its rows in it unless a statement says ONLY: they would be counted,
    compared and deleted as ours. Of a partitioned table, ONLY is empty.
    """
    return table if kind == "p" else sql.SQL("ONLY {}").format(table)


def text_by_value(value: sql.Composable) -> sql.Composed:
    """Return a text, or what reads as text, that equals another one when their bytes do.

    A nondeterministic collation or citext, which users choose for searches, would make 'Crew 1' equal 'CREW 1'. An
    index of another collation does not serve it, so this is for tables joined by hash and columns that need it.
    """
    return sql.SQL('({})::text COLLATE "C"').format(value)


def by_value(value: sql.Composable, column: sa.Column[object]) -> sql.Composable:
    """Return a value of a declared column so that it can be compared with another one of that column."""
    return text_by_value(value) if isinstance(column.type, sa.String) else value


def values_of(table: sa.Table, names: Sequence[str], side: str) -> list[sql.Composable]:
    """Return the columns of one side, each so that it can be compared by its value."""
    return [by_value(sql.Identifier(side, name), table.columns[name]) for name in names]


def same_by_value(table: sa.Table, names: Sequence[str], left: str, right: str) -> sql.Composed:
    """Return the condition that two sides agree in each of the columns."""
    sides = (values_of(table, names, side) for side in (left, right))
    return sql.SQL(" AND ").join(sql.SQL("{} = {}").format(*pair) for pair in zip(*sides, strict=True))


def names(columns: Iterable[str]) -> sql.Composed:
    """Return column names, quoted, with commas."""
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def feature_of(table: Declaration, columns: Collection[str]) -> sql.Composable | None:
    """Return what is drawn of a row that has these columns: its geometry, position, or a line between two positions."""
    if table.spatial_columns:
        name = table.spatial_columns[0].name
        return sql.SQL("{}::geometry").format(sql.Identifier(name)) if name in columns else None
    point = sql.SQL("ST_SetSRID(ST_MakePoint({}, {}), 4326)")
    points = [
        point.format(sql.Identifier(position.longitude), sql.Identifier(position.latitude))
        for position in table.positions[:2]
        if {position.longitude, position.latitude} <= set(columns)
    ]
    return sql.SQL("ST_MakeLine({}, {})").format(*points) if len(points) == 2 else points[0] if points else None


def type_name(column: sa.Column[object]) -> str:
    """Return a declared column's type as PostgreSQL's format_type() writes it, PostGIS types in lower case."""
    text = type_ddl(column).replace(", ", ",").replace("varchar(", "character varying(")
    return "text" if text == "varchar" else re.sub(r"^numeric\((\d+)\)$", r"numeric(\1,0)", text)


def column_definition(column: sa.Column[object]) -> sql.Composed:
    """Return `name type [NOT NULL]`."""
    null = sql.SQL("" if column.nullable else " NOT NULL")
    return sql.SQL("{} {}{}").format(sql.Identifier(column.name), sql.SQL(type_name(column)), null)


def _term(term: str) -> sql.Composable:
    # Expressions belong to declarations, as types do.
    return sql.SQL(term) if term.startswith("(") else sql.Identifier(term)


def create_index(on: sql.Identifier, index: sa.Index) -> sql.Composed:
    """Create a declared index on any table of the layer; PostgreSQL chooses its name."""
    return sql.SQL("CREATE {}INDEX ON {} USING {} ({})").format(
        sql.SQL("UNIQUE " if index.unique else ""),
        on,
        sql.Identifier(index_method(index)),
        sql.SQL(", ").join(_term(term) for term in index_terms(index)),
    )


def revoking_all(table: sql.Identifier) -> sql.Composed:
    """Return the statement that leaves a table to its owner, whatever default privileges grant.

    ALTER DEFAULT PRIVILEGES without IN SCHEMA grants on every table of a role, also in schemas of its own: map tools
    would list each layer once more for each of its versions, past the row-level security of the public table.
    """
    return query("ddl", "revoke_all").format(table=sql.Literal(table.as_string()))


def analyze(session: psycopg.Connection, table: sql.Composable) -> None:
    """Collect the statistics of a table; of a public table those of its version as well.

    Gives up with LockNotAvailable when somebody else's maintenance holds the table for ten seconds.
    """
    run(session, [_LIMIT_WAIT, sql.SQL("ANALYZE {}").format(table)])
