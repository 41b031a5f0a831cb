"""What a statement names: a layer's tables and versions, a table's own rows, and texts compared by their bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa
from psycopg import sql

from flux_assets.spec import Declaration, DynamicTable, StaticTable

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
