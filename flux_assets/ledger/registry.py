"""What the database knows of the declarations, in postgres_sync.tables, so that SQL can say which table to trust."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from psycopg import sql

from flux_assets.spec import Declaration, DynamicTable
from flux_assets.sqlfiles import query

_Row = tuple[str, str, int, timedelta | None, timedelta | None]
Known = frozenset[_Row]


def known_in(schema: str) -> sql.Composed:
    """Make a query for what the database knows of the tables of a schema."""
    return query("registry", "known").format(schema=sql.Literal(schema))


def register_declarations(
    schema: str, declared: Sequence[Declaration], used: Sequence[Declaration], known: Known | None = None
) -> list[sql.Composed]:
    """Make statements, without rows, that make the database know the tables `declared` for a schema, and those alone.

    The `used` ones are known besides; when nobody says what is declared, nothing is forgotten. None where that is what
    is `known` already, as far as that was asked.
    """
    tables = {table.name: table for table in (*declared, *used)}
    rows = [_row(table, place) for place, table in enumerate(tables.values(), 1)]
    if known is not None and (known == set(rows) if declared else known.issuperset(rows)):
        return []
    statements = [_keep(schema, rows)] if rows else []
    if declared:
        statements.append(
            query("registry", "forget").format(schema=sql.Literal(schema), names=sql.Literal(list(tables))),
        )
    return statements


def _keep(schema: str, rows: Sequence[_Row]) -> sql.Composed:
    values = [
        sql.SQL("({}, {}, {}::integer, {}::interval, {}::interval)").format(*map(sql.Literal, row)) for row in rows
    ]
    return query("registry", "keep").format(schema=sql.Literal(schema), rows=sql.SQL(", ").join(values))


def _row(table: Declaration, place: int) -> _Row:
    if isinstance(table, DynamicTable):
        return table.name, "dynamic", place, table.freshness.fail, table.freshness.still
    return table.name, "static", place, None, None
