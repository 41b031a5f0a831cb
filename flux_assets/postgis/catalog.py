"""What a table is like now, read from PostgreSQL's catalogs: columns, indexes, constraints, kin, row-level security."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import psycopg
import sqlalchemy as sa
from psycopg import sql

from flux_assets.errors import FluxError, LayerError, SyncError
from flux_assets.postgis.session import Rows, run
from flux_assets.spec import index_method, index_terms
from flux_assets.sqlfiles import query

# A schema, where the session does not find a function or type without it.
_QUALIFIED = re.compile(r"\b[A-Za-z_]\w*\.")
_SHAPE = ("relation_of", "columns", "indexes", "constraints")


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

    def covers(self, method: str, terms: tuple[str, ...]) -> bool:
        """Tell whether this is a plain index over just these columns and expressions, wherever PostGIS is installed.

        Plain lower-case names need no quotes.
        """
        return _QUALIFIED.sub("", self.body.replace('"', "")) == f"{method} ({', '.join(terms)})"

    def is_declared(self, index: sa.Index) -> bool:
        """Tell whether this is a declared index: same method, columns and uniqueness."""
        return self.covers(index_method(index), index_terms(index)) and self.is_unique == bool(index.unique)

    def create_on(self, table: sql.Identifier) -> sql.Composed:
        """Create an index on another table that equals this one."""
        unique = sql.SQL("UNIQUE " if self.is_unique else "")
        return sql.SQL("CREATE {}INDEX ON {} USING {}").format(unique, table, sql.SQL(self.body))

    def keeps_unique(self, key: tuple[str, ...]) -> bool:
        """Tell whether this index guarantees that no two rows are equal in `key`."""
        return self.is_unique and self.valid and self.covers("btree", key)


@dataclass(frozen=True)
class _Constraint:
    """A CHECK or foreign key constraint with its definition."""

    name: str
    definition: str
    columns: list[str]

    def stands_for(self, other: _Constraint) -> bool:
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
    constraints: list[_Constraint]

    @property
    def is_partitioned(self) -> bool:
        return self.kind == "p"

    @staticmethod
    def queries(oid: sql.Composable) -> list[sql.Composed]:
        """Make the queries whose answers `read` takes; `oid` is an expression."""
        return [query("catalog", name).format(oid=oid) for name in _SHAPE]

    @classmethod
    def read(cls, answers: Sequence[Rows]) -> Shape | None:
        """Return the shape of a table from the answers to its queries, None when there is no table."""
        relation, columns, indexes, constraints = answers
        if not relation:
            return None
        oid, kind = relation[0]
        return cls(
            oid=oid,
            kind=kind,
            columns=[LiveColumn(*row) for row in columns],
            indexes=[LiveIndex(*row) for row in indexes],
            constraints=[_Constraint(*row) for row in constraints],
        )

    @classmethod
    def read_all(cls, connection: psycopg.Connection, oids: Iterable[sql.Composable]) -> list[Shape | None]:
        """Return the shapes of several tables, each given by an expression for its OID, in one round trip."""
        answers = run(connection, [query for oid in oids for query in cls.queries(oid)])
        each = len(_SHAPE)
        return [cls.read(answers[first : first + each]) for first in range(0, len(answers), each)]


@dataclass(frozen=True)
class Relation:
    """A relation by its OID, and whom to ask about it; its kind is `r` ordinary, `p` partitioned, `v` view, …."""

    connection: psycopg.Connection
    oid: int
    kind: str = "r"

    @classmethod
    def find(cls, connection: psycopg.Connection, schema: str, name: str) -> Relation | None:
        """Return the relation of that name; None when there is none."""
        row = connection.execute(query("catalog", "find"), [schema, name]).fetchone()
        return cls(connection, *row) if row else None

    @staticmethod
    def oid_of(schema: str, name: str) -> sql.Composed:
        """Make an expression for the OID of the relation of that name, NULL when there is none."""
        return query("catalog", "oid_of").format(schema=sql.Literal(schema), name=sql.Literal(name))

    @property
    def kind_in_words(self) -> str:
        """The kind, where it is not what was made there."""
        kinds = {
            "r": "a plain table",
            "p": "a partitioned table",
            "v": "a view",
            "m": "a materialized view",
            "f": "a foreign table",
        }
        return kinds.get(self.kind, "a relation of another kind")

    def columns(self) -> list[LiveColumn]:
        """Return the columns in their order."""
        return [LiveColumn(*row) for row in self._ask("columns")]

    def indexes(self) -> list[LiveIndex]:
        """Return the indexes, those of constraints included."""
        return [LiveIndex(*row) for row in self._ask("indexes")]

    def _ask(self, name: str) -> Rows:
        return self.connection.execute(query("catalog", name).format(oid=sql.Literal(self.oid))).fetchall()

    def kin(self, kind: Literal["heirs", "parents", "inbound_keys"]) -> list[str]:
        """Return other tables as `schema.name`.

        `heirs` inherit from this one or are its partitions, without those that inherit from them; `parents` are those
        that this one inherits from or is a partition of; `inbound_keys` refer to it by the foreign key that follows in
        brackets.
        """
        return [row[0] for row in self.connection.execute(query("catalog", kind), [self.oid])]

    def primary_key(self) -> tuple[str, ...]:
        """Return the columns of the primary key; none when there is no key."""
        return tuple(row[0] for row in self.connection.execute(query("catalog", "primary_key"), {"oid": self.oid}))

    def protection(self, title: str) -> tuple[str, str]:
        """Return in words what restricts who sees which rows or values, and the statements for a person to lift it.

        Both are empty where nothing does; a renamed table takes all of it along.
        """
        asked = self.connection.execute(query("row_security", "protections"), [self.oid])
        enabled, forced, providers = asked.fetchone() or (False, False, [])
        policies = [row[0] for row in self.connection.execute(query("row_security", "policies"), [self.oid])]
        found = ["row-level security"] if enabled else []
        found += ["FORCE ROW LEVEL SECURITY"] if forced else []
        found += [f"the {'policy' if len(policies) == 1 else 'policies'} {', '.join(policies)}"] if policies else []
        found += [f"security labels of {provider}" for provider in providers]
        lifting = [
            *(f"DROP POLICY {name} ON {title}" for name in policies),
            f"ALTER TABLE {title} DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY",
            *(f"SECURITY LABEL FOR {provider} ON TABLE {title} IS NULL" for provider in providers),
        ]
        return (" and ".join(found), "; ".join(lifting)) if found else ("", "")

    def refuse_unprotected_copy(self, kind: type[FluxError], title: str, old_title: str) -> None:
        """Raise `kind` where a new table called `title` would lack what protects the rows of this older one."""
        protects, lifting = self.protection(old_title)
        if protects:
            raise kind(
                f"{old_title} has {protects}, which the new table {title} would not have: whoever may read it would see"
                " every row.",
                f"Take away the readers' rights (REVOKE ALL ON {old_title} FROM …), run {lifting}; and run this again."
                f" Then create the policies on the new {title}, which keeps them through every later run, and grant the"
                " rights again.",
            )

    def may(self, right: str) -> bool:
        """Tell whether the user has a right on it."""
        asked = "SELECT has_table_privilege(%s::oid, %s)", [self.oid, right]
        return self.connection.execute(*asked).fetchone() == (True,)

    def hides_rows(self) -> bool:
        """Tell whether policies of the table apply to us.

        Our sessions have row_security off: PostgreSQL then refuses a statement from which a policy would hide rows,
        where it would otherwise answer from the others, and a sync would insert the hidden ones again.
        """
        row = self.connection.execute("SELECT row_security_active(%s::oid)", [self.oid]).fetchone()
        return bool(row and row[0])


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


def hidden(kind: type[FluxError], connection: psycopg.Connection, title: str) -> FluxError:
    """Return the error for a table whose policies apply to us."""
    user = f'"{connection.info.user}"'
    return kind(
        f"{title} has row-level security that holds for user {user}: rows that it hides would seem to be missing.",
        f"Run ALTER TABLE {title} NO FORCE ROW LEVEL SECURITY as its owner, which lets the owner see every row and"
        f" changes nothing for others; where {user} is not the owner, ALTER ROLE {user} BYPASSRLS as a superuser.",
    )
