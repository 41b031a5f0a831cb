"""Audits that only make sense of the published table: whether maps can draw it, its last runs, its quarantine."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import sqlalchemy as sa
from geoalchemy2 import Geography
from psycopg import sql
from psycopg.sql import Composed, Identifier

from flux_assets.checks.audit import Audit, AuditFinding, AuditResult, Case, Numbers
from flux_assets.checks.audits import audits_of
from flux_assets.errors import counted
from flux_assets.postgis import relations
from flux_assets.postgis.catalog import Relation
from flux_assets.spec import Declaration, DynamicTable, StaticTable, geometry_kind
from flux_assets.sqlfiles import query

# A map asks for some ten tiles at once; with more than this for each, panning stutters.
_BUDGET_MILLISECONDS = 100.0
# A cold cache is no fault of the table.
_TRIES = 3
# The width of a map tile at zoom 15: some streets.
_WINDOW_DEGREES = 360 / 2**15
_SPAN = timedelta(hours=1)
# A table that is synced twelve times an hour may fail once: the next run puts that right.
_FEWEST, _SHARE = 2, 0.25
# As many in a row, and nothing but failures, is an outage.
_FEWEST_OF_ALL = 3
_FEW_KEYS = 5


def all_audits_of(table: Declaration) -> tuple[Audit, ...]:
    """Return the audits of rows and those of the published table."""
    return (*audits_of(table), *_declared(table))


def _declared(table: Declaration) -> Iterator[Audit]:
    if table.spatial_columns:
        drawn = (
            "Maps can draw it: typed column with SRID, key, spatial index, statistics, extent, and a tile's query by"
            f" the index within {_BUDGET_MILLISECONDS:.0f} ms."
        )
        yield Audit("map_ready", "WARN", drawn, _map_ready)
    claim = f"Of the last hour's runs not more than {_SHARE:.0%} failed (WARN, from {_FEWEST} failures on)"
    outage = f"; nor all (ERROR, from {_FEWEST_OF_ALL} on)" if isinstance(table, DynamicTable) else ""
    yield Audit("recent_failures", "WARN", f"{claim}{outage}.", _recent_failures)
    alone = "Nobody but flux_assets wrote it: a synced table within the last hour, a layer since it was published."
    yield Audit("only_writer", "WARN", alone, _only_writer)
    followed = "No row of another table leads nowhere where its foreign key was dropped when this table was taken over."
    yield Audit("dropped_keys", "WARN", followed, _dropped_keys)
    if isinstance(table, StaticTable):
        complete = "No record of the release file was refused and set aside in postgres_sync.quarantine."
        yield Audit("quarantined", "WARN", complete, _quarantined)
        if table.computed:
            current = "The layers that it was computed from still have the versions that it was computed from."
            yield Audit("inputs_current", "WARN", current, _inputs_current)


def _recent_failures(case: Case) -> AuditFinding:
    runs, failed, errors = case.connection.execute(_of_ledger(case, "count_runs")).fetchone() or (0, 0, [])
    passed = failed < _FEWEST or failed / runs <= _SHARE
    all_failed = failed == runs >= _FEWEST_OF_ALL and isinstance(case.layer.table, DynamicTable)
    last = {"last_error": errors[0].partition(": ")[2]} if errors else {}
    return AuditFinding(
        severity="ERROR" if all_failed else "WARN",
        numbers={"runs": runs, "failed": failed, "share_failed": round(failed / max(1, runs), 3), **last},
        sample=[] if passed else [f"ledger row {text}" for text in errors],
        sql=_of_ledger(case, "list_failed_runs"),
    )


def _only_writer(case: Case) -> AuditFinding:
    asking = query("ledger_audits", "others").format(schema=case.layer.schema, name=case.layer.name)
    found = case.connection.execute(asking).fetchone()
    sample = [text for text in found or () if text]
    return AuditFinding(numbers={"written_by_others": len(sample)}, sample=sample, sql=asking)


def _quarantined(case: Case) -> AuditFinding:
    waiting, replayed, sample = case.connection.execute(_of_ledger(case, "count_quarantined")).fetchone() or (0, 0, [])
    numbers = {"quarantined": waiting, "replayed": replayed}
    return AuditFinding(numbers=numbers, sample=sample, sql=_of_ledger(case, "list_quarantined"))


def _dropped_keys(case: Case) -> AuditFinding:
    """Count the rows that each dropped foreign key would refuse by now; the numbers name each key."""
    keys = case.connection.execute(_of_ledger(case, "dropped_keys")).fetchall()
    numbers: Numbers = {"dropped_keys": len(keys), "offending_rows": 0}
    sample, listings = [], []
    for referring, constraint, columns, key_columns, kind in keys:
        if kind is None:
            continue
        named = sql.SQL(", ").join(Identifier("r", name) for name in columns)
        orphans = query("ledger_audits", "orphans").format(
            referring=sql.SQL("{}" if kind == "p" else "ONLY {}").format(sql.SQL(referring)),
            columns=named,
            rows=case.own_rows,
            keys=sql.SQL(", ").join(Identifier("k", name) for name in key_columns),
        )
        counting = query("ledger_audits", "count_orphans").format(columns=named, orphans=orphans, limit=_FEW_KEYS)
        [(count, some)] = case.connection.execute(counting).fetchall()
        numbers[f"{constraint} of {referring}"] = count
        if count:
            numbers["offending_rows"] = int(numbers["offending_rows"]) + count
            more = " …" if count > len(some) else ""
            sample.append(
                f"{counted(count, 'row')} of {referring} lead to no row of {case.layer.title}, which the foreign key"
                f" {constraint} would have refused: {', '.join(columns)} {', '.join(some)}{more}"
            )
            listings.append(orphans)
    return AuditFinding(numbers=numbers, sample=sample, sql=sql.SQL(";\n").join(listings))


def _inputs_current(case: Case) -> AuditFinding:
    asking = _of_ledger(case, "outdated_inputs")
    found = case.connection.execute(asking).fetchall()
    sample = [f"{name} has version {version[:12] or 'none'} now" for name, version in found]
    return AuditFinding(numbers={"outdated_inputs": len(found)}, sample=sample, sql=asking)


def _of_ledger(case: Case, name: str) -> Composed:
    return query("ledger_audits", name).format(
        schema=case.layer.schema, name=case.layer.name, span=_SPAN, limit=AuditResult.SAMPLE_KEYS
    )


def _map_ready(case: Case) -> AuditFinding:
    """Ask what QGIS and tile servers ask before they draw, draw a row of each kind, time a query as maps send it."""
    table, found = case.layer.table, Relation.find(case.connection, case.layer.schema, case.layer.name)
    if found is None:
        return AuditFinding(sample=[f"there is no table {case.layer.title}"])
    leaves = [row[0] for row in case.connection.execute(query("map_ready", "tables_with_rows"), {"oid": found.oid})]
    problems: list[str] = []
    if (key := found.primary_key()) != table.key:
        problems.append(f"the key is {', '.join(key) or 'missing'}, declared {', '.join(table.key)}")
    windows: list[Composed] = []
    rows, milliseconds, indexes = 0, 0.0, []
    for column in table.spatial_columns:
        problems += _wrongly_registered(case, column)
        problems += _unindexed(case, column, leaves)
        if (place := _any_place(case, column)) is None:
            continue
        problems += _without_statistics(case, column, [found.oid, *leaves])
        problems += _undrawn(case, column)
        windows.append(_window(case, column, place))
        seen, took, index = _timed(case, windows[-1])
        rows, milliseconds = rows + seen, max(milliseconds, took)
        indexes.append(index or "none")
        if index is None:
            problems.append("a bounding-box query reads the whole table: no index serves it")
        if took > _BUDGET_MILLISECONDS:
            problems.append(f"a bounding-box query took {took:.0f} ms, allowed are {_BUDGET_MILLISECONDS:.0f}")
    shown = windows or [sql.SQL("SELECT * FROM {} LIMIT 1").format(case.own_rows)]
    return AuditFinding(
        numbers={
            "problems": len(problems),
            "rows_in_window": rows,
            "milliseconds": milliseconds,
            "budget_milliseconds": _BUDGET_MILLISECONDS,
            "index": ", ".join(indexes) or "no geometry to look for",
        },
        sample=problems,
        sql=sql.SQL(";\n").join(sql.SQL("EXPLAIN (ANALYZE) {}").format(each) for each in shown),
    )


def _wrongly_registered(case: Case, column: sa.Column[object]) -> Iterator[str]:
    """Yield what is wrong in the views that map tools list layers from."""
    named = [case.layer.schema, case.layer.name, column.name]
    row = case.connection.execute(query("map_ready", "registered_type"), named).fetchone()
    if row is None:
        yield f"{column.name} is not among geometry_columns or geography_columns"
    elif row[0] != relations.type_name(column):
        yield f"{column.name} is listed as {row[0]}, declared {relations.type_name(column)}"


def _unindexed(case: Case, column: sa.Column[object], leaves: list[int]) -> Iterator[str]:
    for leaf in leaves:
        live = Relation(case.connection, leaf).indexes()
        if not any(index.valid and index.covers("gist", (column.name,)) for index in live):
            yield f"{column.name} has no valid GiST index"


def _any_place(case: Case, column: sa.Column[object]) -> tuple[float, float] | None:
    """Return the middle of a row's box, where there is something to draw; None where there is nothing at all."""
    name = Identifier(column.name)
    shape = sql.SQL("ST_Centroid(ST_Envelope({}::geometry))").format(name)
    found = query("map_ready", "any_place").format(shape=shape, table=case.own_rows, column=name)
    return case.connection.execute(found).fetchone()


def _without_statistics(case: Case, column: sa.Column[object], oids: list[int]) -> Iterator[str]:
    """Yield which statistics the planner lacks, and whether they give the extent that map tools zoom to."""
    for (name,) in case.connection.execute(query("map_ready", "without_statistics"), [oids, column.name]):
        yield f"{name} has no statistics of {column.name}; run ANALYZE"
    if isinstance(column.type, Geography):
        return  # PostGIS estimates it in geocentric metres, which no map tool asks for
    try:
        names = [case.layer.schema, case.layer.name, column.name]
        row = case.connection.execute("SELECT ST_EstimatedExtent(%s, %s, %s)::text", names).fetchone()
        if not (row and row[0]):
            yield f"ST_EstimatedExtent of {column.name} gives nothing"
    except psycopg.DatabaseError as error:
        if case.connection.closed:
            raise
        # As it does where the parent of partitions has a GiST index.
        yield f"ST_EstimatedExtent of {column.name} fails: {error.diag.message_primary}"


def _undrawn(case: Case, column: sa.Column[object]) -> Iterator[str]:
    """Yield what goes wrong when a tile, or GeoJSON, is made of one row of each kind of geometry in a column."""
    if geometry_kind(column) == "POINT":
        return  # always drawn; and a sync, which has points alone, must not wait for this
    one = sql.SQL("" if column in case.layer.table.mixed_columns else " LIMIT 1")
    shape, kind = case.as_geometry(column), case.kinds_of(column)
    some = sql.SQL("NOT ST_IsEmpty({})").format(shape)
    examples = query("map_ready", "examples_of_kinds").format(
        kinds=kind, key=case.key_text, table=case.own_rows, some=some, one=one
    )
    for kinds, key in case.connection.execute(examples).fetchall():
        same = sql.SQL("{} = {} AND {}").format(kind, list(kinds), some)
        for function, name in (("ST_AsMVTGeom", "as_tile"), ("ST_AsGeoJSON", "as_geojson")):
            drawing = query("map_ready", name).format(shape=shape, table=case.own_rows, same=same)
            if problem := _drawing_problem(case, drawing):
                yield f"{function} of {column.name} of kind {', '.join(kinds)} (row {key}) {problem}"


def _drawing_problem(case: Case, drawing: Composed) -> str | None:
    try:
        with case.connection.transaction():
            row = case.connection.execute(drawing).fetchone()
    except psycopg.DatabaseError as error:
        if case.connection.closed:
            raise
        return f"fails: {error.diag.message_primary}. Straight lines, as of ST_CurveToLine, can be drawn"
    return None if row is None or row[0] else "gives nothing: tiles lack it"


def _window(case: Case, column: sa.Column[object], place: tuple[float, float]) -> Composed:
    (x, y), half = place, _WINDOW_DEGREES / 2
    corners = sql.SQL(", ").join(map(sql.Literal, (x - half, y - half, x + half, y + half)))
    kind = sql.SQL("geography" if isinstance(column.type, Geography) else "geometry")
    return sql.SQL("SELECT {column} FROM {table} WHERE {column} && ST_MakeEnvelope({corners}, 4326)::{kind}").format(
        column=Identifier(column.name), table=case.own_rows, corners=corners, kind=kind
    )


def _timed(case: Case, window: Composed) -> tuple[int, float, str | None]:
    """Return a bounding-box query's rows, its milliseconds, and its index, None where it reads the whole table."""
    with case.connection.transaction():
        # Of a small table reading all of it is quicker, so ask for the plan that a large one would get.
        case.connection.execute("SET LOCAL enable_seqscan = off")
        index = _index_of(_explained(case, window)["Plan"])
    rows, milliseconds = 0, float("inf")
    for _ in range(_TRIES):
        plan = _explained(case, window, "ANALYZE, TIMING OFF, ")
        rows, milliseconds = plan["Plan"]["Actual Rows"], min(milliseconds, plan["Execution Time"])
        if milliseconds <= _BUDGET_MILLISECONDS:
            break
    return int(rows), milliseconds, index


def _explained(case: Case, window: Composed, how: str = "") -> dict[str, Any]:
    row = case.connection.execute(sql.SQL("EXPLAIN ({}FORMAT JSON) {}").format(sql.SQL(how), window)).fetchone()
    plan: dict[str, Any] = row[0][0] if row else {}
    return plan


def _index_of(plan: dict[str, Any]) -> str | None:
    """Return the first index that a plan, or a plan below it, reads."""
    if name := plan.get("Index Name"):
        return str(name)
    return next(filter(None, map(_index_of, plan.get("Plans", []))), None)
