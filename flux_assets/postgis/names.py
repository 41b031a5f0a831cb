"""Names that belong to one layer in one schema: its public table and its versions."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from psycopg import sql

from flux_assets.postgis.own_rows import own_rows
from flux_assets.spec import Declaration, DynamicTable, StaticTable

VERSIONS = "flux_versions"
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
        """The name of another one's table once it has given way, by a take-over or by hand."""
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
        """The rows that a sync knows: the table's own, not those of tables of others that inherit from it."""
        return own_rows(self.public)


@dataclass(frozen=True)
class Layer(PublicTable):
    """A static table, published version by version."""

    table: StaticTable

    def relation(self, version: str, lease: int) -> str:
        """Name of a version's table, unique also when the same version is loaded again under another lease."""
        stem, tail = f"{self.schema}__{self.name}", f"__{version[:8]}_{lease}"
        if len(stem) + len(tail) > _LONGEST:
            short = hashlib.sha256(stem.encode()).hexdigest()[:8]
            stem = f"{stem[: _LONGEST - len(tail) - 9]}_{short}"
        return stem + tail


def version_table(relation: str) -> sql.Identifier:
    """A version's table by its name in the register."""
    return sql.Identifier(VERSIONS, relation)
