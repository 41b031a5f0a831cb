"""Tables compared with those of the same names in another schema, where the old system goes on, before the switch."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from flux_assets.compare import match
from flux_assets.compare.match import Comparison, Match
from flux_assets.errors import reported
from flux_assets.postgis import relations
from flux_assets.postgis.catalog import Relation
from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.relations import PublicTable, own_rows
from flux_assets.postgis.session import Target, translated
from flux_assets.spec import Declaration, DynamicTable

_NO_KEY = "a column of the key is not on both sides"


@dataclass(frozen=True, kw_only=True)
class TableDifference:
    """How a table differs from its namesake: whether there are both, in columns, and in rows of the `compared` columns.

    `rows` is None where they could not be compared, for the `problem`. Types are those of the namesake and ours;
    `changed`, `missing` and `extra` rows are ours against its.
    """

    name: str
    absent: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    retyped: tuple[str, ...] = ()
    compared: tuple[str, ...] = ()
    rows: Match | None = None
    problem: str = ""

    @classmethod
    def found(
        cls, tables: Sequence[Declaration], schema: str, target: Target, ignored: Collection[str], stop: Stop
    ) -> Iterator[TableDifference]:
        """Compare each table with its namesake in another schema of the database, as of one snapshot; change nothing.

        Columns that are `ignored` are left out altogether; of times that a sync notes, only the values are. Values are
        compared as the declared type.
        """
        with match.comparing(target, "old schema", stop) as session:
            for table in tables:
                stop.check()
                ours, theirs = PublicTable(target.schema, table), PublicTable(schema, table)
                with translated(ours.title, stop), session.transaction():
                    yield _difference(session, ours, theirs, ignored)

    @property
    def is_same(self) -> bool:
        """Whether an application that read the namesake finds all of it: its columns with their types, and its rows."""
        return not (self.absent or self.lacking or self.retyped) and self.rows is not None and self.rows.same


@dataclass(frozen=True)
class _Side:
    """A table as it stands in one of the schemas."""

    public: PublicTable
    relation: Relation

    @property
    def types(self) -> dict[str, str]:
        return {column.name: column.bare_type for column in self.relation.columns()}

    @property
    def is_keyed(self) -> bool:
        """Whether no two rows share a key."""
        key = self.public.table.key
        return bool(key) and any(index.keeps_unique(key) for index in self.relation.indexes())

    def as_declared(self, columns: Sequence[str]) -> sql.Composed:
        """Return the rows, each value as the declared type."""
        declared, cast = self.public.table.table.columns, sql.SQL("{name}::{kind} AS {name}")
        values = sql.SQL(", ").join(
            cast.format(name=sql.Identifier(name), kind=sql.SQL(relations.type_name(declared[name])))
            for name in columns
        )
        return sql.SQL("(SELECT {} FROM {})").format(values, own_rows(self.public.public, self.relation.kind))


def _side(session: psycopg.Connection, public: PublicTable) -> _Side | None:
    relation = Relation.find(session, public.schema, public.name)
    return _Side(public, relation) if relation else None


def _difference(
    session: psycopg.Connection, ours: PublicTable, theirs: PublicTable, ignored: Collection[str]
) -> TableDifference:
    table, (here, there) = ours.table, (_side(session, public) for public in (ours, theirs))
    if here is None or there is None:
        absent = (public.title for public, side in ((ours, here), (theirs, there)) if side is None)
        return TableDifference(name=table.name, absent=tuple(absent))
    mine, old = ({k: v for k, v in side.types.items() if k not in ignored} for side in (here, there))
    noted = table.bookkeeping if isinstance(table, DynamicTable) else ()
    both = tuple(name for name in table.column_names if name in mine and name in old and name not in noted)
    is_comparable = set(table.key or both[:2] or "?") <= set(both)
    rows, problem = _matched(session, here, there, both) if is_comparable else (None, _NO_KEY)
    return TableDifference(
        name=table.name,
        lacking=tuple(f"{name} ({kind})" for name, kind in old.items() if name not in mine),
        added=tuple(f"{name} ({kind})" for name, kind in mine.items() if name not in old),
        retyped=tuple(
            f"{name} ({old[name]}, here {mine[name]})" for name in mine if name in old and old[name] != mine[name]
        ),
        compared=both if is_comparable else (),
        rows=rows,
        problem=problem,
    )


def _matched(
    session: psycopg.Connection, ours: _Side, theirs: _Side, columns: tuple[str, ...]
) -> tuple[Match | None, str]:
    comparison = Comparison(
        table=ours.public.table,
        expected=theirs.as_declared(columns),
        actual=ours.as_declared(columns),
        columns=columns,
        exact=False,
        keyed=ours.is_keyed and theirs.is_keyed,
    )
    try:
        with session.transaction():
            return comparison.match(session), ""
    # A value that is none of the declared type, or a right that lacks: the other tables can be compared all the same.
    except (psycopg.DataError, psycopg.ProgrammingError, psycopg.InternalError) as error:
        return None, reported(error.diag.message_primary or error)
