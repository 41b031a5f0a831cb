"""A table's own rows, without those of the tables that inherit from it.

An archive that INHERITS from a table shows its rows in that table to whoever does not say ONLY, and so they would pass
for rows of ours: counted, compared, deleted. Of a partitioned table, ONLY is nothing at all. Here: naming the rows in a
statement. Not here: who inherits from whom (catalog.py).
"""

from __future__ import annotations

from psycopg import sql

PARTITIONED = "p"


def own_rows(table: sql.Identifier) -> sql.Composed:
    """The rows of a table that is known to have no partitions, for FROM, DELETE, UPDATE and LOCK TABLE."""
    return sql.SQL("ONLY {}").format(table)


def own_rows_by_kind(table: sql.Identifier, kind: str) -> sql.Composable:
    """The rows of a relation of this kind (pg_class.relkind): those of its partitions where it is partitioned."""
    return table if kind == PARTITIONED else own_rows(table)
