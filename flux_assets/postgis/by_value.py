"""Text compared by what it holds, whatever collation or case-insensitive type its column has here.

Users give columns a nondeterministic collation, or put citext in place of text, so that their searches ignore case. To
a comparison of ours 'Crew 1' and 'CREW 1' are two values. Here: expressions for that, and refusing a key that cannot
hold both. Index scans need the index's own collation, so this is for whole tables that are joined by hash, and for
columns that need it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import sqlalchemy as sa
from psycopg import sql

from flux_assets.errors import LayerError, SyncError
from flux_assets.postgis.catalog import LiveColumn


def text_by_value(value: sql.Composable) -> sql.Composed:
    """A text, or what reads as text, that equals another one when their bytes do."""
    return sql.SQL('({})::text COLLATE "C"').format(value)


def by_value(value: sql.Composable, column: sa.Column[object]) -> sql.Composable:
    """A value of a declared column, to be compared with another one of that column."""
    return text_by_value(value) if isinstance(column.type, sa.String) else value


def same_by_value(table: sa.Table, names: Iterable[str], left: str, right: str) -> sql.Composed:
    """A condition: the two sides agree in each of the columns."""
    pairs = (
        sql.SQL("{} = {}").format(
            *(by_value(sql.Identifier(side, name), table.columns[name]) for side in (left, right))
        )
        for name in names
    )
    return sql.SQL(" AND ").join(pairs)


def values(table: sa.Table, names: Iterable[str], side: str) -> sql.Composed:
    """The columns of one side, with commas, each to be compared by its value."""
    return sql.SQL(", ").join(by_value(sql.Identifier(side, name), table.columns[name]) for name in names)


def refuse_folding_keys(
    kind: type[LayerError] | type[SyncError], title: str, key: Collection[str], columns: Iterable[LiveColumn]
) -> None:
    """Raise an error of this kind where a column of the key takes different values for the same."""
    folding = [column for column in columns if column.name in key and column.folds]
    if folding:
        raise kind(
            f"{title}: the key's column {folding[0].name} has the nondeterministic collation {folding[0].collation}, by"
            " which different keys are the same (as where case does not count), so it cannot hold every row of the"
            " source.",
            f'Run ALTER TABLE {title} ALTER COLUMN {folding[0].name} TYPE {folding[0].type} COLLATE "default"; and put'
            f" COLLATE {folding[0].collation} into the queries that are to ignore the difference. The table is as it"
            " was.",
        )
