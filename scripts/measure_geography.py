"""Measure what the indexes for radius queries cost and save, on published layers: `.venv/bin/python scripts/…`.

Each is built a second time in a transaction that is rolled back; nothing is changed.
"""

from __future__ import annotations

from time import perf_counter
from typing import LiteralString

import psycopg
from psycopg import sql

from flux_assets.cli.terminal import show_table, the_target
from flux_assets.postgis.relations import create_index
from flux_assets.spec import index_terms
from flux_assets.tables import static_tables

VERSION = "SELECT inhrelid, inhrelid::regclass::text FROM pg_inherits WHERE inhparent = to_regclass(%s)"
SIZE = "SELECT sum(pg_relation_size(indexrelid))::float8 FROM pg_index WHERE indrelid = %s AND indexprs IS NOT NULL"
ANY_PLACE = "SELECT {term} FROM {table} WHERE {term} IS NOT NULL OFFSET 100 LIMIT 1"
WITHIN = "SELECT count(*) FROM {table} WHERE ST_DWithin({term}, %s, 500)"
WITHOUT = "SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = off"


def measured(session: psycopg.Connection, schema: str) -> list[list[str]]:
    """Return a row for each layer: its rows, how long and how large the index is, and a query with it and without."""
    rows = []
    for table in static_tables():
        of_terms = [(index, term) for index in table.indexes for term in index_terms(index) if "::geography" in term]
        found = session.execute(VERSION, [f"{schema}.{table.name}"]).fetchone() if of_terms else None
        if found is None:
            continue
        (index, term), (oid, version) = of_terms[0], found
        with session.transaction(force_rollback=True):
            begun = perf_counter()
            session.execute(create_index(sql.Identifier(*version.split(".")), index))
            seconds = perf_counter() - begun
        named = {"table": sql.Identifier(schema, table.name), "term": sql.SQL(term)}
        (count,) = session.execute(sql.SQL("SELECT count(*) FROM {table}").format(**named)).fetchone() or (0,)
        (size,) = session.execute(SIZE, [oid]).fetchone() or (0.0,)
        times = [_asked(session, named, setting) for setting in ("SELECT", WITHOUT)]
        shown = (f"{count:,}", f"{seconds:.2f} s", f"{size / 1e6:.1f} MB", *(f"{each:.1f} ms" for each in times))
        rows.append([table.name, *shown])
    return rows


def _asked(session: psycopg.Connection, named: dict[str, sql.Composable], setting: LiteralString) -> float:
    """Return the milliseconds of the best of three queries around a place in the layer."""
    place = session.execute(sql.SQL(ANY_PLACE).format(**named)).fetchone()
    best = float("inf")
    with session.transaction(force_rollback=True):
        session.execute(setting)
        for _ in range(3):
            begun = perf_counter()
            session.execute(sql.SQL(WITHIN).format(**named), place)
            best = min(best, (perf_counter() - begun) * 1000)
    return best


if __name__ == "__main__":
    target = the_target()
    with target.session("measure") as session:
        show_table(
            ["layer", "rows", "built in", "size", "radius query", "without it"], measured(session, target.schema)
        )
