"""The audits that keep a version from being published: ERROR, do not trust the table.

Here: columns, row_count, not_null, unique, geometry_type, within. What the decoder or a constraint has already
proven of every row is not counted again. Not here: audits that only warn (warnings.py).
"""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa
from psycopg import sql

from flux_assets.checks.audit import SAMPLE_KEYS, Audit, AuditFinding, Case, Numbers
from flux_assets.checks.drawable import undrawable
from flux_assets.checks.offenders import Rule, rows_breaking
from flux_assets.postgis import catalog, ddl
from flux_assets.postgis.by_value import by_value
from flux_assets.spec import Declaration, is_spatial

_SHRUNK = 0.5


def audits(table: Declaration) -> Iterator[Audit]:
    """The blocking audits of a declaration."""
    yield _audit("columns", "The table has the declared columns with the declared types.", _columns)
    yield _audit(
        "row_count",
        "There are rows, as many as promised, and not less than half of what was published before.",
        _row_count,
    )
    if any(not column.nullable for column in table.columns):
        yield _audit("not_null", "Keys and required columns hold a value in every row.", _not_null)
    if table.key or table.unique_keys:
        yield _audit("unique", "No two rows share a key or another unique value.", _unique)
    if table.spatial_columns:
        yield _audit(
            "geometry_type", "Geometries have the declared type and SRID 4326, and can be drawn.", _geometry_type
        )
    if table.spatial_columns or table.positions:
        yield _audit("within", "Coordinates are finite degrees: longitude ±180, latitude ±90 (EPSG:4326).", _within)


def _audit(name: str, description: str, judge: object) -> Audit:
    return Audit(name=name, severity="ERROR", description=description, judge=judge)  # type: ignore[arg-type]


def _columns(case: Case) -> AuditFinding:
    live = {column.name: column.bare_type for column in _live_columns(case)}
    wrong = [
        f"{column.name}: {live.get(column.name, 'missing')}, declared {ddl.type_name(column)}"
        for column in case.layer.table.columns
        if live.get(column.name) != ddl.type_name(column)
    ]
    return AuditFinding(
        passed=not wrong, numbers={"columns": len(live), "wrong": len(wrong)}, sample=tuple(wrong),
        sql=_columns_query(case) if wrong else "",
    )  # fmt: skip


def _columns_query(case: Case) -> str:
    name = sql.Literal(case.relation.as_string(case.connection))
    query = "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = {}::regclass"
    return sql.SQL(query + " AND attnum > 0 ORDER BY attnum").format(name).as_string(case.connection)


def _row_count(case: Case) -> AuditFinding:
    numbers: Numbers = {"rows": case.rows}
    if case.quarantined_rows:
        numbers["quarantined_rows"] = case.quarantined_rows
    empty = case.rows == 0 and case.promised_rows != 0 and not case.accept_fewer_rows
    problems = ["the table has no rows; load with accept_fewer_rows: true if that is right"] if empty else []
    if case.promised_rows is not None:
        numbers["promised_rows"] = case.promised_rows
        if case.rows + case.quarantined_rows != case.promised_rows:
            aside = f", {case.quarantined_rows:,} of them into quarantine" if case.quarantined_rows else ""
            problems.append(
                f"{case.promised_rows:,} rows were promised and {case.rows + case.quarantined_rows:,} came{aside}"
            )
    if case.published_rows is not None:
        numbers["published_rows"] = case.published_rows
        if case.rows < case.published_rows * _SHRUNK and not case.accept_fewer_rows:
            problems.append(
                f"{case.rows:,} rows are less than half of the {case.published_rows:,} published;"
                " load with accept_fewer_rows: true if that is right"
            )
    return AuditFinding(
        passed=not problems, numbers=numbers, sample=tuple(problems), sql=case.counting if problems else ""
    )


def _not_null(case: Case) -> AuditFinding:
    proven = {column.name for column in _live_columns(case) if column.not_null}
    required = [column.name for column in case.layer.table.columns if not column.nullable]
    rules = [
        Rule(sql.SQL("{} IS NULL").format(sql.Identifier("t", name)), sql.Literal(f"{name} is NULL"))
        for name in required
        if name not in proven
    ]
    if not rules:
        return AuditFinding(passed=True, numbers={"null_rows": 0, "columns": ", ".join(required)})
    return rows_breaking(case, rules, sampled=False)


def _unique(case: Case) -> AuditFinding:
    standing = case.shape.indexes if case.shape else catalog.indexes(case.connection, _oid(case))
    doubled: list[str] = []
    shown: list[str] = []
    count = 0
    for key in filter(None, [case.layer.table.key, *case.layer.table.unique_keys]):
        if not any(index.keeps_unique(key) for index in standing):
            groups, sample = doubled_keys(case, key)
            count += groups
            doubled += sample
            shown += [_groups(case, key).as_string(case.connection)] if groups else []
    return AuditFinding(
        passed=not count, numbers={"doubled_values": count}, sample=tuple(doubled), sql=";\n".join(shown)
    )


def _groups(case: Case, key: tuple[str, ...]) -> sql.Composed:
    """The query for the values that occur more than once; a value with a NULL is not one."""
    table = case.layer.table.table
    columns = [(sql.Identifier(name), table.columns[name]) for name in key]
    named = [sql.SQL("{} AS {}").format(by_value(name, column), name) for name, column in columns]
    places = sql.SQL(", ").join(sql.SQL(str(place)) for place in range(1, len(key) + 1))
    return sql.SQL(
        "SELECT {named}, count(*) AS times FROM {rows} AS t WHERE num_nulls({key}) = 0 GROUP BY {places}"
        " HAVING count(*) > 1"
    ).format(named=sql.SQL(", ").join(named), rows=case.own_rows, key=ddl.names(key), places=places)


def doubled_keys(case: Case, key: tuple[str, ...]) -> tuple[int, list[str]]:
    """How many values of a key occur more than once, and some of them with their counts."""
    query = sql.SQL(
        "WITH doubled AS (SELECT concat_ws(' ', {key}) AS value, times FROM ({groups}) AS grouped)"
        " SELECT (SELECT count(*) FROM doubled),"
        " ARRAY(SELECT {said} || value || ', ' || times || ' times' FROM doubled"
        "       ORDER BY times DESC, value LIMIT {limit})"
    ).format(
        key=ddl.names(key),
        groups=_groups(case, key),
        said=sql.Literal(f"{', '.join(key)} = "),
        limit=sql.Literal(SAMPLE_KEYS),
    )
    row = case.connection.execute(query).fetchone()
    return (int(row[0]), list(row[1])) if row else (0, [])


def _geometry_type(case: Case) -> AuditFinding:
    proven = typed_as_declared(case)  # the column's type proves it for every row
    rules = [_wrong_geometry(column) for column in case.layer.table.spatial_columns if column.name not in proven]
    if case.layer.table.drawable.others == "refuse" and not case.decoded:
        rules += undrawable(case.layer.table)
    if not rules:
        shown = ", ".join(f"{column.name} {ddl.type_name(column)}" for column in case.layer.table.spatial_columns)
        return AuditFinding(passed=True, numbers={"offending_rows": 0, "columns": shown})
    return rows_breaking(case, rules, sampled=False)


def typed_as_declared(case: Case) -> frozenset[str]:
    """The spatial columns whose type in the database is the declared one, and refuses other geometries by itself."""
    live = {column.name: column.bare_type for column in _live_columns(case)}
    declared = {column.name: ddl.type_name(column) for column in case.layer.table.spatial_columns}
    return frozenset(name for name, type_name in declared.items() if live.get(name) == type_name)


def _wrong_geometry(column: sa.Column[object]) -> Rule:
    shape = geometry(column)
    declared = str(column.type.geometry_type)  # type: ignore[attr-defined]
    any_type = (
        sql.SQL("false")
        if declared == "GEOMETRY"
        else sql.SQL("GeometryType({}) <> {}").format(shape, sql.Literal(declared))
    )
    return Rule(
        sql.SQL("(ST_SRID({shape}) <> 4326 OR {any_type})").format(shape=shape, any_type=any_type),
        sql.SQL("GeometryType({shape}) || ' in SRID ' || ST_SRID({shape})").format(shape=shape),
    )


def _within(case: Case) -> AuditFinding:
    if case.decoded:
        return AuditFinding(
            passed=True, numbers={"offending_rows": 0, "judged": f"all {case.rows:,} rows, while decoding"}
        )
    table = case.layer.table
    rules = [_outside(column) for column in table.columns if is_spatial(column)]
    for position in table.positions:
        rules += [_not_degrees(position.longitude, 180), _not_degrees(position.latitude, 90)]
    return rows_breaking(case, rules, sampled=False)


def _outside(column: sa.Column[object]) -> Rule:
    shape = geometry(column)
    # A box that lies within the world, which PostGIS keeps with every shape but points, spares the arithmetic of most
    # rows. NaN compares as greater than every number in PostgreSQL, so it fails these bounds too.
    condition = sql.SQL(
        "NOT {g} @ ST_MakeEnvelope(-180, -90, 180, 90, 4326) AND NOT ST_IsEmpty({g})"
        " AND NOT (ST_XMin({g}) >= -180 AND ST_XMax({g}) <= 180"
        " AND ST_YMin({g}) >= -90 AND ST_YMax({g}) <= 90)"
    ).format(g=shape)
    return Rule(condition, sql.SQL("ST_AsText(ST_Envelope({}))").format(shape))


def _not_degrees(name: str, bound: int) -> Rule:
    column = sql.Identifier("t", name)
    condition = sql.SQL("NOT ({c} >= {low} AND {c} <= {high})").format(
        c=column, low=sql.Literal(-bound), high=sql.Literal(bound)
    )
    return Rule(condition, sql.SQL("{} || {}").format(sql.Literal(f"{name} = "), column))


def geometry(column: sa.Column[object]) -> sql.Composed:
    """The column of the alias t as geometry, also when it is geography."""
    return sql.SQL("{}::geometry").format(sql.Identifier("t", column.name))


def _live_columns(case: Case) -> list[catalog.LiveColumn]:
    return case.shape.columns if case.shape else catalog.columns(case.connection, _oid(case))


def _oid(case: Case) -> int:
    row = case.connection.execute("SELECT %s::regclass::oid", [case.relation.as_string(case.connection)]).fetchone()
    return int(row[0]) if row else 0
