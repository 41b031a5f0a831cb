"""Which audits follow from a declaration, and running them on a staged version or on the published table."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import sqlalchemy as sa
from psycopg import sql

from flux_assets.checks.audit import (
    SAMPLE_KEYS,
    Audit,
    AuditFinding,
    AuditResult,
    Case,
    Numbers,
    Rule,
    Severity,
    matches_row_of,
    nothing_offends,
    outside,
    rows_breaking,
)
from flux_assets.checks.unmatched import ALL_ASSIGNED, all_assigned
from flux_assets.postgis import catalog, relations
from flux_assets.postgis.relations import by_value, own_rows_by_kind, text_by_value
from flux_assets.spec import Declaration, DynamicTable, is_spatial
from flux_assets.spec.facts import SIMPLE_KINDS, AcceptedValues, Reference
from flux_assets.sqlfiles import query

_SHRUNK = 0.5


def _of_values(table: Declaration) -> Iterator[Audit]:
    """Yield the audits of a declaration's columns, keys, values and row count."""
    yield Audit("columns", "ERROR", "The table has the declared columns with the declared types.", _columns)
    expected = "There are rows, as many as promised, and not less than half of what was published before."
    yield Audit("row_count", "ERROR", expected, _row_count)
    if any(not column.nullable for column in table.columns):
        yield Audit("not_null", "ERROR", "Keys and required columns hold a value in every row.", _not_null)
    if table.key or table.unique_keys:
        yield Audit("unique", "ERROR", "No two rows share a key or another unique value.", _unique)
    if table.references:
        resolved = "Identifiers point at rows that exist in the published tables."
        yield Audit("relationships", "WARN", resolved, _relationships)
    if table.accepted:
        accepted = "States, kinds and classes hold one of the declared values."
        yield Audit("accepted_values", "WARN", accepted, _accepted_values)
    if table.ranges:
        yield Audit("accepted_range", "WARN", "Measures lie within their declared range.", _accepted_range)
    plausible = "There are as many rows as are plausible, by the declared bounds."
    yield Audit("volume", "WARN", plausible, _volume)
    if table.assignments:
        others = ", ".join(dict.fromkeys(f"{each.to_table} by {each.column}" for each in table.assignments))
        assigned = f"Rows belong to a row of what is computed from them: {others}."
        yield Audit(ALL_ASSIGNED, "WARN", assigned, all_assigned)


def _columns(case: Case) -> AuditFinding:
    live = {name: column.bare_type for name, column in case.live_columns.items()}
    wrong = [
        f"{column.name}: {live.get(column.name, 'missing')}, declared {relations.type_name(column)}"
        for column in case.layer.table.columns
        if live.get(column.name) != relations.type_name(column)
    ]
    listed = query("values", "columns").format(sql.Literal(case.relation.as_string(case.connection)))
    return AuditFinding(
        passed=not wrong,
        numbers={"columns": len(live), "wrong": len(wrong)},
        sample=tuple(wrong),
        sql=listed.as_string(case.connection) if wrong else "",
    )


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
    return _finding(case, numbers, problems)


def _finding(case: Case, numbers: Numbers, problems: list[str]) -> AuditFinding:
    shown = case.counting if problems else ""
    return AuditFinding(passed=not problems, numbers=numbers, sample=tuple(problems), sql=shown)


def _not_null(case: Case) -> AuditFinding:
    required = [column.name for column in case.layer.table.columns if not column.nullable]
    rules = [
        Rule(sql.SQL("{} IS NULL").format(sql.Identifier("t", name)), sql.Literal(f"{name} is NULL"))
        for name in required
        if name not in case.live_columns or not case.live_columns[name].not_null
    ]
    if not rules:
        return AuditFinding(passed=True, numbers={"null_rows": 0, "columns": ", ".join(required)})
    return rows_breaking(case, rules, sampled=False)


def _unique(case: Case) -> AuditFinding:
    live = case.live_indexes
    sample: list[str] = []
    listings: list[str] = []
    count = 0
    for key in filter(None, [case.layer.table.key, *case.layer.table.unique_keys]):
        if not any(index.keeps_unique(key) for index in live):
            repeated = _repeated_values(case, key)
            number, examples = _count_repeated(case, key, repeated)
            count += number
            sample += examples
            listings += [repeated.as_string(case.connection)] if number else []
    return AuditFinding(
        passed=not count, numbers={"doubled_values": count}, sample=tuple(sample), sql=";\n".join(listings)
    )


def _repeated_values(case: Case, key: tuple[str, ...]) -> sql.Composed:
    """Return the query for the values that occur more than once; a value with a NULL is not one."""
    table = case.layer.table.table
    columns = [(sql.Identifier(name), table.columns[name]) for name in key]
    named = [sql.SQL("{} AS {}").format(by_value(name, column), name) for name, column in columns]
    places = sql.SQL(", ").join(sql.SQL(str(place)) for place in range(1, len(key) + 1))
    return query("values", "repeated_values").format(
        named=sql.SQL(", ").join(named), rows=case.own_rows, key=relations.names(key), places=places
    )


def _count_repeated(case: Case, key: tuple[str, ...], repeated: sql.Composed) -> tuple[int, list[str]]:
    """Return how many values of a key occur more than once, and some of them with their counts."""
    counted = query("values", "count_repeated").format(
        key=relations.names(key),
        repeated=repeated,
        named=sql.Literal(f"{', '.join(key)} = "),
        limit=sql.Literal(SAMPLE_KEYS),
    )
    count, sample = case.connection.execute(counted).fetchone() or (0, [])
    return int(count), list(sample)


def _relationships(case: Case) -> AuditFinding:
    targets = {reference: _target_rows(case, reference) for reference in case.layer.table.references}
    rules = [_unresolved(case, reference, rows) for reference, rows in targets.items() if rows is not None]
    missing = sorted({reference.to_table for reference, rows in targets.items() if rows is None})
    numbers: Numbers = {"not_published": ", ".join(missing)} if missing else {}
    if not rules:
        return AuditFinding(passed=True, numbers={"offending_rows": 0, **numbers})
    return rows_breaking(case, rules, sampled=True, numbers=numbers)


def _target_rows(case: Case, reference: Reference) -> sql.Composable | None:
    """Return the rows that a reference points at, for FROM; None where the table is neither staged nor published."""
    if staged := case.staged.get(reference.to_table):
        return staged
    relation = catalog.find(case.connection, case.layer.schema, reference.to_table)
    target = sql.Identifier(case.layer.schema, reference.to_table)
    return own_rows_by_kind(target, relation.kind) if relation else None


def _unresolved(case: Case, reference: Reference, rows: sql.Composable) -> Rule:
    column = sql.Identifier("t", reference.column)
    condition = sql.SQL("{c} IS NOT NULL AND NOT EXISTS (SELECT FROM {other} AS o WHERE {same})").format(
        c=column, other=rows, same=matches_row_of(case, reference.column, reference.to_table, reference.to_column)
    )
    reason = sql.Literal(f"{reference.column} not in {reference.to_table}: ")
    return Rule(condition, sql.SQL("{} || {}").format(reason, column))


def _accepted_values(case: Case) -> AuditFinding:
    rules = []
    for accepted in case.layer.table.accepted:
        column, values = sql.Identifier("t", accepted.column), list(_values(case.layer.table, accepted))
        condition = sql.SQL("{} <> ALL ({})").format(text_by_value(column), sql.Literal(values))
        rules.append(Rule(condition, sql.SQL("{} || {}").format(sql.Literal(f"{accepted.column} = "), column)))
    return rows_breaking(case, rules, sampled=True)


def _values(table: Declaration, accepted: AcceptedValues) -> tuple[str, ...]:
    """Return the declared values, with the words that a configuration may have for states that are open."""
    rows = table.row_filter if isinstance(table, DynamicTable) else None
    configured = rows.open_statuses if rows and rows.status_column == accepted.column else ()
    return tuple(dict.fromkeys([*accepted.values, *configured]))


def _accepted_range(case: Case) -> AuditFinding:
    rules = [outside(bounds.column, bounds.minimum, bounds.maximum) for bounds in case.layer.table.ranges]
    return rows_breaking(case, rules, sampled=True)


def _volume(case: Case) -> AuditFinding:
    volume = case.layer.table.volume
    numbers: Numbers = {"rows": case.rows, "minimum": volume.minimum}
    if volume.maximum is not None:
        numbers["maximum"] = volume.maximum
    problems = []
    if case.rows < volume.minimum:
        problems = [f"{case.rows:,} rows are fewer than the {volume.minimum:,} that are plausible"]
    elif volume.maximum is not None and case.rows > volume.maximum:
        problems = [f"{case.rows:,} rows are more than the {volume.maximum:,} that are plausible"]
    return _finding(case, numbers, problems)


# Release files write degrees with six or more decimals; this is about 0.1 m on the ground.
_SAME_DEGREES = 1e-6
_LEAST_ROWS_OF_AN_EXTENT = 40
_QUANTILE_ROWS = 20_000
_REMEDY = "UPDATE its geometry with ST_CurveToLine, or fix the source: the next load brings the kind again"


def _of_geometries(table: Declaration) -> Iterator[Audit]:
    """Yield the audits of a declaration's shapes and positions."""
    if table.spatial_columns:
        typed = "Geometries have the declared type and SRID 4326, and can be drawn."
        yield Audit("geometry_type", "ERROR", typed, _geometry_type)
    if table.spatial_columns or table.positions:
        finite = "Coordinates are finite degrees: longitude ±180, latitude ±90 (EPSG:4326)."
        yield Audit("within", "ERROR", finite, _within)
    if table.mixed_columns and table.drawable.others == "report":
        drawn = f"Geometries are of the kinds that readers draw: {', '.join(table.drawable.kinds)}."
        yield Audit("drawable", "WARN", drawn, _drawable)
    if table.spatial_columns:
        yield Audit("valid_geometry", "WARN", "Geometries are valid (OGC simple features).", _valid_geometry)
        yield Audit("geometry_present", "WARN", "Every row has a geometry that is not empty.", _geometry_present)
    if any(position.same_as for position in table.positions):
        agree = "Latitude and longitude columns agree with the point."
        yield Audit("same_position", "WARN", agree, _same_position)
    if table.spatial_columns or table.positions:
        near = "Rows lie in or near the extent that holds the middle 90 % of them."
        yield Audit("main_extent", "WARN", near, _main_extent)


def as_geometry(column: sa.Column[object]) -> sql.Composed:
    """Return the column of the alias t as geometry, also when it is geography."""
    return sql.SQL("{}::geometry").format(sql.Identifier("t", column.name))


def kinds_of(column: sa.Column[object]) -> sql.Composed:
    """Return the kinds of geometry in a row's column, parts of collections included, as an array."""
    return query("geometries", "kinds").format(shape=as_geometry(column), simple=sql.Literal(list(SIMPLE_KINDS)))


def _drawable(case: Case) -> AuditFinding:
    return rows_breaking(case, _undrawable(case.layer.table), sampled=False)


def _undrawable(table: Declaration) -> list[Rule]:
    """Return the rules that geometries, and their parts, are of the kinds that readers draw."""
    drawn = sql.Literal(list(table.drawable.kinds))
    remedy = sql.Literal(f" cannot be drawn; {_REMEDY}")
    return [
        Rule(
            sql.SQL("NOT ({} <@ {}::text[])").format(kinds, drawn),
            sql.SQL("array_to_string({}, ', ') || {}").format(kinds, remedy),
        )
        for kinds in map(kinds_of, table.mixed_columns)
    ]


def _geometry_type(case: Case) -> AuditFinding:
    proven = _typed_as_declared(case)
    spatial = case.layer.table.spatial_columns
    rules = [_wrong_geometry(column) for column in spatial if column.name not in proven]
    if case.layer.table.drawable.others == "refuse" and not case.decoded:
        rules += _undrawable(case.layer.table)
    if not rules:
        types = ", ".join(f"{column.name} {relations.type_name(column)}" for column in spatial)
        return AuditFinding(passed=True, numbers={"offending_rows": 0, "columns": types})
    return rows_breaking(case, rules, sampled=False)


def _typed_as_declared(case: Case) -> frozenset[str]:
    """Return the spatial columns whose type in the database is the declared one, which refuses other geometries."""
    live = {name: column.bare_type for name, column in case.live_columns.items()}
    declared = {column.name: relations.type_name(column) for column in case.layer.table.spatial_columns}
    return frozenset(name for name, type_name in declared.items() if live.get(name) == type_name)


def _point_columns(case: Case) -> frozenset[str]:
    """Return the columns that hold points and nothing else, by their type."""
    points = {column.name for column in case.layer.table.spatial_columns if _declared_type(column) == "POINT"}
    return _typed_as_declared(case) & points


def _declared_type(column: sa.Column[object]) -> str:
    return str(getattr(column.type, "geometry_type", "GEOMETRY"))


def _wrong_geometry(column: sa.Column[object]) -> Rule:
    shape, declared = as_geometry(column), _declared_type(column)
    other_type = sql.SQL("GeometryType({}) <> {}").format(shape, sql.Literal(declared))
    return Rule(
        sql.SQL("(ST_SRID({shape}) <> 4326 OR {other_type})").format(
            shape=shape, other_type=sql.SQL("false") if declared == "GEOMETRY" else other_type
        ),
        sql.SQL("GeometryType({shape}) || ' in SRID ' || ST_SRID({shape})").format(shape=shape),
    )


def _within(case: Case) -> AuditFinding:
    if case.decoded:
        return nothing_offends(f"{case.all_rows}, while decoding")
    table = case.layer.table
    rules = [_outside_the_world(column) for column in table.columns if is_spatial(column)]
    for position in table.positions:
        rules += [outside(position.longitude, -180, 180), outside(position.latitude, -90, 90)]
    return rows_breaking(case, rules, sampled=False)


def _outside_the_world(column: sa.Column[object]) -> Rule:
    shape = as_geometry(column)
    reason = sql.SQL("ST_AsText(ST_Envelope({}))").format(shape)
    return Rule(query("geometries", "outside_the_world").format(g=shape), reason)


def _valid_geometry(case: Case) -> AuditFinding:
    points = _point_columns(case)
    rules = [
        Rule(sql.SQL("NOT ST_IsValid({})").format(shape), sql.SQL("ST_IsValidReason({})").format(shape))
        for shape in (as_geometry(column) for column in case.layer.table.spatial_columns if column.name not in points)
    ]
    if not rules:
        return nothing_offends(
            f"{case.all_rows}: a point is valid wherever it lies, and `within` judges its coordinates"
        )
    return rows_breaking(case, rules, sampled=True)


def _geometry_present(case: Case) -> AuditFinding:
    rules = [
        Rule(
            sql.SQL("({column} IS NULL OR ST_IsEmpty({shape}))").format(
                column=sql.Identifier("t", column.name), shape=as_geometry(column)
            ),
            sql.SQL("CASE WHEN {} IS NULL THEN 'NULL' ELSE 'empty' END").format(sql.Identifier("t", column.name)),
        )
        for column in case.layer.table.spatial_columns
        if column.name not in case.present
    ]
    if not rules:
        return nothing_offends(f"{case.all_rows}, while decoding")
    return rows_breaking(case, rules, sampled=True)


def _same_position(case: Case) -> AuditFinding:
    columns = {column.name: column for column in case.layer.table.columns}
    points = _point_columns(case)
    rules = []
    for position in case.layer.table.positions:
        if position.same_as is None:
            continue
        point = as_geometry(columns[position.same_as])
        x, y = sql.Identifier("t", position.longitude), sql.Identifier("t", position.latitude)
        only = sql.SQL("" if position.same_as in points else "GeometryType({p}) = 'POINT' AND ").format(p=point)
        condition = sql.SQL("{only}greatest(abs(ST_X({p}) - {x}), abs(ST_Y({p}) - {y})) > {tolerance}").format(
            only=only, p=point, x=x, y=y, tolerance=sql.Literal(_SAME_DEGREES)
        )
        rules.append(Rule(condition, sql.SQL("concat(ST_AsText({}), ' but ', {}, ' ', {})").format(point, x, y)))
    return rows_breaking(case, rules, sampled=True)


def _main_extent(case: Case) -> AuditFinding:
    if case.rows < _LEAST_ROWS_OF_AN_EXTENT:
        return nothing_offends("too few rows to have a main extent")
    x, y = _centre(case)
    extent = _extent_with_margins(case, x, y)
    if extent is None:
        return nothing_offends("no positions")
    west, south, east, north = map(sql.Literal, extent)
    condition = sql.SQL("{beyond}NOT ({x} BETWEEN {w} AND {e} AND {y} BETWEEN {s} AND {n})").format(
        beyond=_box_beyond(case.layer.table, extent), x=x, y=y, w=west, e=east, s=south, n=north
    )
    reason = sql.SQL("concat(round(({x})::numeric, 5), ' ', round(({y})::numeric, 5))").format(x=x, y=y)
    shown = "{:.4f} {:.4f} {:.4f} {:.4f}".format(*extent)
    return rows_breaking(case, [Rule(condition, reason)], sampled=True, numbers={"main_extent": shown})


def _centre(case: Case) -> tuple[sql.Composable, sql.Composable]:
    """Return longitude and latitude of a row: the middle of its geometry's box, or its first position."""
    table = case.layer.table
    if not table.spatial_columns:
        return sql.Identifier("t", table.positions[0].longitude), sql.Identifier("t", table.positions[0].latitude)
    shape = as_geometry(table.spatial_columns[0])
    if table.spatial_columns[0].name in _point_columns(case):
        return sql.SQL("ST_X({})").format(shape), sql.SQL("ST_Y({})").format(shape)
    x = sql.SQL("((ST_XMin({g}) + ST_XMax({g})) / 2)").format(g=shape)
    return x, sql.SQL("((ST_YMin({g}) + ST_YMax({g})) / 2)").format(g=shape)


def _box_beyond(table: Declaration, extent: tuple[float, float, float, float]) -> sql.Composed:
    """Return a condition that spares most rows the arithmetic: where the whole box lies within, so does its middle."""
    if not table.spatial_columns:
        return sql.Composed([])
    window = sql.SQL(", ").join(map(sql.Literal, extent))
    shape = as_geometry(table.spatial_columns[0])
    return sql.SQL("NOT {g} @ ST_MakeEnvelope({window}, 4326) AND ").format(g=shape, window=window)


def _extent_with_margins(case: Case, x: sql.Composable, y: sql.Composable) -> tuple[float, float, float, float] | None:
    """Return west, south, east and north of the middle 90 % of the rows, estimated from a few thousand of them.

    Both spans are widened on either side by twice their length, and by 0.05° at least.
    """
    quantiles = query("geometries", "quantiles").format(x=x, y=y, source=case.random_rows(_QUANTILE_ROWS))
    row = case.connection.execute(quantiles).fetchone()
    if row is None or None in row:
        return None
    (west, east), (south, north) = row
    wide, high = max(2 * (east - west), 0.05), max(2 * (north - south), 0.05)
    return west - wide, south - high, east + wide, north + high


def audits_of(table: Declaration) -> tuple[Audit, ...]:
    """Return the audits that judge rows, staged or live, blocking ones first."""
    found = [*_of_values(table), *_of_geometries(table)]
    return tuple(sorted(found, key=lambda audit: audit.severity != "ERROR"))


def run_audits(case: Case, severity: Severity | None = None) -> tuple[AuditResult, ...]:
    """Run the audits of rows on a staged version; `severity` narrows them down."""
    return tuple(audit.run(case) for audit in audits_of(case.layer.table) if severity in {None, audit.severity})


def run_audit(case: Case, name: str) -> AuditResult | None:
    """Run one audit of rows on a staged version; return None when the table has none of that name."""
    return next((audit.run(case) for audit in audits_of(case.layer.table) if audit.name == name), None)


def refusing(results: Collection[AuditResult]) -> tuple[AuditResult, ...]:
    """Return the failed audits that keep a version from being published."""
    return tuple(result for result in results if result.severity == "ERROR" and not result.passed)
