"""Whether maps can draw a table as it stands: the check map_ready.

Here: what QGIS and tile servers look for before they draw a table (its entry among the geometry columns, a key, a
spatial index, statistics, an extent), what they make of each kind of geometry, and one query as they send it, with its
time. Not here: whether the rows are right (blocking.py, warnings.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import sqlalchemy as sa
from geoalchemy2 import Geography
from psycopg import sql

from flux_assets.checks import drawable
from flux_assets.checks.audit import Audit, AuditFinding, Case
from flux_assets.postgis import catalog, ddl
from flux_assets.spec import Declaration

# A map asks for some ten tiles at once; with more than this for each, panning stutters.
BUDGET_MILLISECONDS = 100.0
# A cold cache is no fault of the table.
_TRIES = 3
# The width of a map tile at zoom 15: some streets.
_WINDOW_DEGREES = 360 / 2**15
_REGISTERED = """
SELECT lower(format('%%s(%%s,%%s)', kind, type, srid)) FROM (
    SELECT 'geometry', type, srid, f_table_schema, f_table_name, f_geometry_column FROM geometry_columns
    UNION ALL
    SELECT 'geography', type, srid, f_table_schema, f_table_name, f_geography_column FROM geography_columns
) AS listed (kind, type, srid, schema_name, table_name, column_name)
WHERE schema_name = %s AND table_name = %s AND column_name = %s
"""
# What holds the rows: the table itself, or its partitions.
_LEAVES = """
SELECT relid::oid FROM pg_partition_tree(%(oid)s) WHERE isleaf
UNION SELECT oid FROM pg_class WHERE oid = %(oid)s AND relkind <> 'p'
"""
_WITHOUT_STATISTICS = """
SELECT n.nspname || '.' || c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.oid = ANY (%s::oid[]) AND NOT EXISTS (
    SELECT FROM pg_stats WHERE schemaname = n.nspname AND tablename = c.relname AND attname = %s) ORDER BY 1
"""


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """What a bounding-box query did; `index` is None where only reading the whole table answers it."""

    query: sql.Composed
    rows: int
    milliseconds: float
    index: str | None


def audits(table: Declaration) -> Iterator[Audit]:
    """The audit of a table with geometry."""
    if table.spatial_columns:
        yield Audit(
            name="map_ready",
            severity="WARN",
            description="Maps can draw it: typed column with SRID, key, spatial index, statistics, extent, and a tile's"
            f" query by the index within {BUDGET_MILLISECONDS:.0f} ms.",
            judge=_map_ready,
        )


def _map_ready(case: Case) -> AuditFinding:
    found = catalog.find(case.connection, case.layer.schema, case.layer.name)
    if found is None:
        return AuditFinding(passed=False, sample=(f"there is no table {case.layer.title}",))
    leaves = [row[0] for row in case.connection.execute(_LEAVES, {"oid": found.oid})]
    problems, answers = list(_keyless(case, found.oid)), []
    for column in case.layer.table.spatial_columns:
        problems += _as_listed(case, column)
        problems += _unindexed(case, column, leaves)
        if (place := _somewhere(case, column)) is not None:
            problems += _unknown(case, column, [found.oid, *leaves])
            problems += drawable.undrawn(case, column)
            answers.append(_asked(case, column, place))
    problems += [problem for answer in answers for problem in _slow(answer)]
    return AuditFinding(
        passed=not problems,
        numbers={
            "problems": len(problems),
            "rows_in_window": sum(answer.rows for answer in answers),
            "milliseconds": max((answer.milliseconds for answer in answers), default=0.0),
            "budget_milliseconds": BUDGET_MILLISECONDS,
            "index": ", ".join(answer.index or "none" for answer in answers) or "no geometry to look for",
        },
        sample=tuple(problems),
        sql=_shown(case, answers) if problems else "",
    )


def _keyless(case: Case, oid: int) -> Iterator[str]:
    key = catalog.primary_key(case.connection, oid)
    if key != case.layer.table.key:
        yield f"the key is {', '.join(key) or 'missing'}, declared {', '.join(case.layer.table.key)}"


def _as_listed(case: Case, column: sa.Column[object]) -> Iterator[str]:
    """Map tools list what these views list, under the type that they say."""
    row = case.connection.execute(_REGISTERED, [case.layer.schema, case.layer.name, column.name]).fetchone()
    if row is None:
        yield f"{column.name} is not among geometry_columns or geography_columns"
    elif row[0] != ddl.type_name(column):
        yield f"{column.name} is listed as {row[0]}, declared {ddl.type_name(column)}"


def _unindexed(case: Case, column: sa.Column[object], leaves: list[int]) -> Iterator[str]:
    for leaf in leaves:
        standing = catalog.indexes(case.connection, leaf)
        if not any(index.valid and index.covers("gist", (column.name,)) for index in standing):
            yield f"{column.name} has no valid GiST index"


def _somewhere(case: Case, column: sa.Column[object]) -> tuple[float, float] | None:
    """The middle of a row's box: where there is something to draw; None where there is nothing at all."""
    shape = sql.SQL("ST_Centroid(ST_Envelope({}::geometry))").format(sql.Identifier(column.name))
    query = sql.SQL(
        "SELECT ST_X({shape}), ST_Y({shape}) FROM {table} WHERE {column} IS NOT NULL"
        " AND NOT ST_IsEmpty({column}::geometry) LIMIT 1"
    ).format(shape=shape, table=case.own_rows, column=sql.Identifier(column.name))
    return case.connection.execute(query).fetchone()


def _unknown(case: Case, column: sa.Column[object], oids: list[int]) -> Iterator[str]:
    """Statistics, which the planner goes by, and the extent that they give, which map tools zoom to."""
    for (name,) in case.connection.execute(_WITHOUT_STATISTICS, [oids, column.name]):
        yield f"{name} has no statistics of {column.name}; run ANALYZE"
    if isinstance(column.type, Geography):
        return  # PostGIS estimates it in geocentric metres, which no map tool asks for
    try:
        names = [case.layer.schema, case.layer.name, column.name]
        row = case.connection.execute("SELECT ST_EstimatedExtent(%s, %s, %s)::text", names).fetchone()
        said = None if row and row[0] else "gives nothing"
    except psycopg.DatabaseError as error:
        if case.connection.closed:
            raise
        said = f"fails: {error.diag.message_primary}"  # as it does where the parent of partitions has a GiST index
    if said:
        yield f"ST_EstimatedExtent of {column.name} {said}"


def _asked(case: Case, column: sa.Column[object], place: tuple[float, float]) -> _Answer:
    query = _window(case, column, place)
    with case.connection.transaction():
        # Of a small table reading all of it is quicker, so ask for the plan that a large one would get.
        case.connection.execute("SET LOCAL enable_seqscan = off")
        index = _index_of(_explained(case, query)["Plan"])
    rows, milliseconds = 0, float("inf")
    for _ in range(_TRIES):
        plan = _explained(case, query, "ANALYZE, TIMING OFF, ")
        rows, milliseconds = plan["Plan"]["Actual Rows"], min(milliseconds, plan["Execution Time"])
        if milliseconds <= BUDGET_MILLISECONDS:
            break
    return _Answer(query=query, rows=int(rows), milliseconds=milliseconds, index=index)


def _window(case: Case, column: sa.Column[object], place: tuple[float, float]) -> sql.Composed:
    (x, y), half = place, _WINDOW_DEGREES / 2
    corners = sql.SQL(", ").join(map(sql.Literal, (x - half, y - half, x + half, y + half)))
    kind = sql.SQL("geography" if isinstance(column.type, Geography) else "geometry")
    return sql.SQL("SELECT {column} FROM {table} WHERE {column} && ST_MakeEnvelope({corners}, 4326)::{kind}").format(
        column=sql.Identifier(column.name), table=case.own_rows, corners=corners, kind=kind
    )


def _explained(case: Case, query: sql.Composed, how: str = "") -> dict[str, Any]:
    explain = sql.SQL("EXPLAIN ({}FORMAT JSON) {}").format(sql.SQL(how), query)
    row = case.connection.execute(explain).fetchone()
    plan: dict[str, Any] = row[0][0] if row else {}
    return plan


def _index_of(plan: dict[str, Any]) -> str | None:
    """The first index that a plan, or a plan below it, reads."""
    if name := plan.get("Index Name"):
        return str(name)
    return next(filter(None, map(_index_of, plan.get("Plans", []))), None)


def _slow(answer: _Answer) -> Iterator[str]:
    if answer.index is None:
        yield "a bounding-box query reads the whole table: no index serves it"
    if answer.milliseconds > BUDGET_MILLISECONDS:
        yield f"a bounding-box query took {answer.milliseconds:.0f} ms, allowed are {BUDGET_MILLISECONDS:.0f}"


def _shown(case: Case, answers: list[_Answer]) -> str:
    """The query as a map sends it, explained."""
    queries = [answer.query for answer in answers] or [sql.SQL("SELECT * FROM {} LIMIT 1").format(case.own_rows)]
    return ";\n".join(f"EXPLAIN (ANALYZE) {query.as_string(case.connection)}" for query in queries)
