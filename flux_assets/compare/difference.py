"""How two states of a table differ, in columns and in rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import psycopg
from psycopg import sql

from flux_assets.compare.match import Comparison, Match, Place
from flux_assets.errors import reported
from flux_assets.postgis import relations
from flux_assets.postgis.catalog import Relation
from flux_assets.spec import Declaration, DynamicTable

_NO_KEY = "a column of the key is not on both sides"


@dataclass(frozen=True, kw_only=True)
class Side:
    """A state of a table: its `rows` for FROM, its columns with their types, whether no two rows share a key."""

    rows: sql.Composable
    types: Mapping[str, str]
    is_keyed: bool

    @classmethod
    def of(cls, table: Declaration, relation: Relation, rows: sql.Composable) -> Side:
        """Return the state that a relation holds."""
        key = table.key
        return cls(
            rows=rows,
            types={column.name: column.bare_type for column in relation.columns()},
            is_keyed=bool(key) and any(index.keeps_unique(key) for index in relation.indexes()),
        )

    def as_declared(self, table: Declaration, columns: Sequence[str]) -> sql.Composed:
        """Return the rows, each value as the declared type."""
        declared, cast = table.table.columns, sql.SQL("{name}::{kind} AS {name}")
        values = sql.SQL(", ").join(
            cast.format(name=sql.Identifier(name), kind=sql.SQL(relations.type_name(declared[name])))
            for name in columns
        )
        return sql.SQL("(SELECT {} FROM {})").format(values, self.rows)


@dataclass(frozen=True, kw_only=True)
class TableDifference:
    """How a table differs from an older state: whether there are both, in columns, in rows of the `compared` columns.

    `rows` is None where they could not be compared, for the `problem`. Types are those of the old state and of the new;
    `changed`, `missing` and `extra` rows are the new against the old. `changed` counts rows by column, and `places` are
    some of those that differ; both only where they were asked for.
    """

    name: str
    absent: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    retyped: tuple[str, ...] = ()
    compared: tuple[str, ...] = ()
    rows: Match | None = None
    problem: str = ""
    changed: Mapping[str, int] = field(default_factory=dict)
    places: Sequence[Place] = ()

    @classmethod
    def between(
        cls,
        session: psycopg.Connection,
        table: Declaration,
        old: Side,
        new: Side,
        *,
        ignored: Collection[str] = (),
        most_places: int | None = None,
    ) -> TableDifference:
        """Compare two states as the session's transaction sees them; change nothing.

        Columns that are `ignored` are left out altogether; of times that a sync notes, only the values are. With
        `most_places`, values are compared by their bytes, and columns and places of the changes are found.
        """
        then, now = ({k: v for k, v in side.types.items() if k not in ignored} for side in (old, new))
        noted = table.bookkeeping if isinstance(table, DynamicTable) else ()
        both = tuple(name for name in table.column_names if name in now and name in then and name not in noted)
        found = cls(
            name=table.name,
            lacking=tuple(f"{name} ({kind})" for name, kind in then.items() if name not in now),
            added=tuple(f"{name} ({kind})" for name, kind in now.items() if name not in then),
            retyped=tuple(
                f"{name} ({then[name]}, here {now[name]})" for name in now if name in then and then[name] != now[name]
            ),
        )
        if not set(table.key or both[:2] or "?") <= set(both):
            return replace(found, problem=_NO_KEY)
        comparison = Comparison(
            table=table,
            expected=old.as_declared(table, both),
            actual=new.as_declared(table, both),
            columns=both,
            exact=most_places is not None,
            keyed=old.is_keyed and new.is_keyed,
        )
        try:
            with session.transaction():
                rows = comparison.match(session)
                found = replace(found, compared=both, rows=rows)
                if most_places is None or rows.same or not comparison.keyed:
                    return found
                feature = relations.feature_of(table, both)
                places = [] if feature is None else comparison.places(session, feature, most_places)
                return replace(found, changed=comparison.changed_columns(session), places=places)
        # A value that is none of the declared type, or a right that lacks: other tables can be compared all the same.
        except (psycopg.DataError, psycopg.ProgrammingError, psycopg.InternalError) as error:
            return replace(found, compared=both, problem=reported(error.diag.message_primary or error))

    @property
    def is_same(self) -> bool:
        """Whether an application that read the old state finds all of it: columns with their types, and rows."""
        return not (self.absent or self.lacking or self.retyped) and self.rows is not None and self.rows.same
