"""What the database knows of the declarations, so that SQL can say of every table whether it can be trusted.

Here: keeping table postgres_sync.tables as the declarations have it. Not here: the judgement (view v_table_status).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from psycopg import sql

from flux_assets.spec import Declaration, DynamicTable

_Row = tuple[str, str, int, timedelta | None, timedelta | None]
Known = frozenset[_Row]
# Rows that are right already are neither written nor locked: loads and syncs do this side by side, all the time.
_KEEP = """
INSERT INTO postgres_sync.tables AS known (schema_name, layer_name, kind, place, late_after, still_after)
SELECT {schema}, * FROM (VALUES {rows}) AS declared (layer_name, kind, place, late_after, still_after)
EXCEPT SELECT schema_name, layer_name, kind, place, late_after, still_after FROM postgres_sync.tables
ORDER BY 2
ON CONFLICT (schema_name, layer_name) DO UPDATE SET kind = excluded.kind, place = excluded.place,
    late_after = excluded.late_after, still_after = excluded.still_after
"""
_KNOWN = """
SELECT layer_name, kind, place, late_after, still_after FROM postgres_sync.tables WHERE schema_name = {schema}
"""
_FORGET = "DELETE FROM postgres_sync.tables WHERE schema_name = {schema} AND layer_name <> ALL ({names})"


def known_in(schema: str) -> sql.Composed:
    """A query for what the database knows of the tables of a schema."""
    return sql.SQL(_KNOWN).format(schema=sql.Literal(schema))


def register_declarations(
    schema: str, declared: Sequence[Declaration], used: Sequence[Declaration], known: Known | None = None
) -> list[sql.Composed]:
    """Statements, without rows, that make the database know the tables `declared` for a schema, and those alone.

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
            sql.SQL(_FORGET).format(schema=sql.Literal(schema), names=sql.Literal(list(tables))),
        )
    return statements


def _keep(schema: str, rows: Sequence[_Row]) -> sql.Composed:
    values = [
        sql.SQL("({}, {}, {}::integer, {}::interval, {}::interval)").format(*map(sql.Literal, row)) for row in rows
    ]
    return sql.SQL(_KEEP).format(schema=sql.Literal(schema), rows=sql.SQL(", ").join(values))


def _row(table: Declaration, place: int) -> _Row:
    if isinstance(table, DynamicTable):
        return table.name, "dynamic", place, table.freshness.fail, table.freshness.still
    return table.name, "static", place, None, None
