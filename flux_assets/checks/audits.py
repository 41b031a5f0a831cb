"""The audits of rows, staged or live, that follow from a declaration: columns, counts, keys, values and shapes.

Those of severity ERROR keep a version from being published; what a type, a constraint or the decoder has already proven
of every row they do not count again. Those of severity WARN judge a random sample of a large table.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import sqlalchemy as sa
from psycopg import sql
from psycopg.sql import Composable, Composed, Identifier

from flux_assets.checks.audit import Audit, AuditFinding, AuditResult, Case, Numbers, Rule
from flux_assets.postgis import relations
from flux_assets.postgis.relations import by_value, text_by_value
from flux_assets.spec import Declaration, DynamicTable, geometry_kind
from flux_assets.spec.facts import Reference
from flux_assets.sqlfiles import query

# A version with less than this share of the published rows looks truncated.
_SHRUNK = 0.5
# Releases of a utility differ by some per cent; one and a half times, or two thirds, is a district too many or missing.
# A layer of few rows may gain that many more.
_CHANGED, _FEW = 1.5, 10
# How many times a quiet week's rows a storm brings; a filter that selects everything brings more.
_STORM = 100
_BY_CONFIGURATION, _BY_DECLARATION = "as FLUX_CONFIG says", "as the declaration says of a table without a past"
# Release files write degrees with six or more decimals; this is about 0.1 m on the ground.
_SAME_DEGREES = 1e-6
_LEAST_ROWS_OF_AN_EXTENT = 40
_ROWS_FOR_AN_EXTENT = 20_000
_REMEDY = "UPDATE its geometry with ST_CurveToLine, or fix the source: the next load brings the kind again"


def audits_of(table: Declaration) -> tuple[Audit, ...]:
    """Return the audits that judge rows, staged or live, blocking ones first."""
    return tuple(sorted(_declared(table), key=lambda audit: audit.severity != "ERROR"))


def _declared(table: Declaration) -> Iterator[Audit]:
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
    usual = (
        "There are as many rows as is usual here: by FLUX_CONFIG, else by earlier versions or syncs, else as declared."
    )
    yield Audit("volume", "WARN", usual, _volume)
    if table.assignments:
        others = ", ".join(dict.fromkeys(f"{each.to_table} by {each.column}" for each in table.assignments))
        assigned = f"Rows belong to a row of what is computed from them: {others}."
        yield Audit("all_assigned", "WARN", assigned, _all_assigned)
    if table.spatial_columns:
        typed = "Geometries have the declared type and SRID 4326, and can be drawn."
        yield Audit("geometry_type", "ERROR", typed, _geometry_type)
        yield Audit("valid_geometry", "WARN", "Geometries are valid (OGC simple features).", _valid_geometry)
        yield Audit("geometry_present", "WARN", "Every row has a geometry that is not empty.", _geometry_present)
    if table.mixed_columns and table.drawable.others == "report":
        drawn = f"Geometries are of the kinds that readers draw: {', '.join(table.drawable.kinds)}."
        yield Audit("drawable", "WARN", drawn, lambda case: case.rows_breaking(_undrawable(table)))
    if any(position.same_as for position in table.positions):
        agree = "Latitude and longitude columns agree with the point."
        yield Audit("same_position", "WARN", agree, _same_position)
    if table.spatial_columns or table.positions:
        finite = "Coordinates are finite degrees: longitude ±180, latitude ±90 (EPSG:4326)."
        yield Audit("within", "ERROR", finite, _within)
        near = "Rows lie in or near the extent that holds the middle 90 % of them."
        yield Audit("main_extent", "WARN", near, _main_extent)


def _columns(case: Case) -> AuditFinding:
    wrong = [
        f"{column.name}: {live.bare_type if live else 'missing'}, declared {relations.type_name(column)}"
        for column, live in ((each, case.live_columns.get(each.name)) for each in case.layer.table.columns)
        if column.name not in case.as_declared
    ]
    listed = query("values", "columns").format(case.relation.as_string(case.connection))
    return AuditFinding(numbers={"columns": len(case.live_columns), "wrong": len(wrong)}, sample=wrong, sql=listed)


def _row_count(case: Case) -> AuditFinding:
    came, right = case.rows + case.quarantined_rows, "load with accept_fewer_rows: true if that is right"
    counts = {
        "quarantined_rows": case.quarantined_rows or None,
        "promised_rows": case.promised_rows,
        "published_rows": case.published_rows,
    }
    problems = []
    if case.rows == 0 and case.promised_rows != 0 and not case.accept_fewer_rows:
        problems.append(f"the table has no rows; {right}")
    if case.promised_rows is not None and came != case.promised_rows:
        aside = f", {case.quarantined_rows:,} of them into quarantine" if case.quarantined_rows else ""
        problems.append(f"{case.promised_rows:,} rows were promised and {came:,} came{aside}")
    if case.published_rows is not None and case.rows < case.published_rows * _SHRUNK and not case.accept_fewer_rows:
        problems.append(f"{case.rows:,} rows are less than half of the {case.published_rows:,} published; {right}")
    known: Numbers = {name: count for name, count in counts.items() if count is not None}
    return AuditFinding(numbers={"rows": case.rows, **known}, sample=problems, sql=case.counting)


def _volume(case: Case) -> AuditFinding:
    """Judge by FLUX_CONFIG, else by the table's own past, else by the declaration, each bound by itself."""
    past = case.past()
    numbers: Numbers = {"rows": case.rows}
    problems = []
    if least := _least(case, past):
        numbers["minimum"] = least[0]
        if case.rows < least[0]:
            problems.append(f"{case.rows:,} rows are fewer than the {least[0]:,} that are plausible, {least[1]}")
    if most := _most(case, past):
        numbers["maximum"] = most[0]
        if case.rows > most[0]:
            problems.append(f"{case.rows:,} rows are more than the {most[0]:,} that are plausible, {most[1]}")
    if past:
        numbers["past"] = ", ".join(f"{rows:,} ({what})" for rows, what in past)
    return AuditFinding(numbers=numbers, sample=problems, sql=case.counting)


def _least(case: Case, past: Sequence[tuple[int, str]]) -> tuple[int, str] | None:
    """Return the fewest rows that are plausible, and why."""
    if case.volume.minimum is not None:
        return case.volume.minimum, _BY_CONFIGURATION
    if past and not _comes_and_goes(case.layer.table):
        (rows, what) = past[0]
        return math.ceil(rows / _CHANGED), f"two thirds of the {rows:,} of {what}"
    declared = case.layer.table.volume.minimum
    return None if declared is None else (declared, _BY_DECLARATION)


def _most(case: Case, past: Sequence[tuple[int, str]]) -> tuple[int, str] | None:
    """Return the most rows that are plausible, and why."""
    if case.volume.maximum is not None:
        return case.volume.maximum, _BY_CONFIGURATION
    if past:
        rows, what = max(past)
        if _comes_and_goes(case.layer.table):
            return _STORM * max(rows, _STORM), f"{_STORM} times the {rows:,} of {what}, or at least {_STORM**2:,}"
        return int(rows * _CHANGED) + _FEW, f"half as many again as the {rows:,} of {what}, and {_FEW}"
    declared = case.layer.table.volume.maximum
    return None if declared is None else (declared, _BY_DECLARATION)


def _comes_and_goes(table: Declaration) -> bool:
    """Tell whether the weather decides how many rows there are; the guard of syncs judges how many may vanish."""
    return isinstance(table, DynamicTable) and table.row_filter is not None


def _not_null(case: Case) -> AuditFinding:
    required = [column.name for column in case.layer.table.columns if not column.nullable]
    rules = [
        Rule.of("{column} IS NULL", "{claim}", column=Identifier("t", name), claim=f"{name} is NULL")
        for name in required
        if name not in case.live_columns or not case.live_columns[name].not_null
    ]
    if not rules:
        return AuditFinding(numbers={"null_rows": 0, "columns": ", ".join(required)})
    return case.rows_breaking(rules)


def _unique(case: Case) -> AuditFinding:
    count, sample, listings = 0, [], []
    for key in filter(None, [case.layer.table.key, *case.layer.table.unique_keys]):
        if any(index.keeps_unique(key) for index in case.live_indexes):
            continue
        repeated = _repeated_values(case, key)
        counted = query("values", "count_repeated").format(
            key=relations.names(key), repeated=repeated, named=f"{', '.join(key)} = ", limit=AuditResult.SAMPLE_KEYS
        )
        times, examples = case.connection.execute(counted).fetchone() or (0, [])
        if times:
            count += times
            sample += examples
            listings.append(repeated)
    return AuditFinding(numbers={"doubled_values": count}, sample=sample, sql=sql.SQL(";\n").join(listings))


def _repeated_values(case: Case, key: tuple[str, ...]) -> Composed:
    """Return the query for the values that occur more than once; a value with a NULL is not one."""
    table = case.layer.table.table
    named = [sql.SQL("{} AS {}").format(by_value(Identifier(k), table.columns[k]), Identifier(k)) for k in key]
    places = sql.SQL(", ").join(sql.SQL(str(place)) for place in range(1, len(key) + 1))
    return query("values", "repeated_values").format(
        named=sql.SQL(", ").join(named), rows=case.own_rows, key=relations.names(key), places=places
    )


def _relationships(case: Case) -> AuditFinding:
    targets = {reference: case.rows_of(reference.to_table) for reference in case.layer.table.references}
    rules = [_unresolved(case, reference, rows) for reference, rows in targets.items() if rows is not None]
    missing = sorted({reference.to_table for reference, rows in targets.items() if rows is None})
    return case.rows_breaking(rules, sampled=True, numbers={"not_published": ", ".join(missing)} if missing else {})


def _unresolved(case: Case, reference: Reference, rows: Composable) -> Rule:
    condition = "{column} IS NOT NULL AND NOT EXISTS (SELECT FROM {rows} AS o WHERE {same})"
    column, claim = Identifier("t", reference.column), f"{reference.column} not in {reference.to_table}: "
    same = case.matches_row_of(reference.column, reference.to_table, reference.to_column)
    return Rule.of(condition, "{claim} || {column}", column=column, rows=rows, same=same, claim=claim)


def _all_assigned(case: Case) -> AuditFinding:
    """Judge whether every row belongs to a row of the tables that are computed from it."""
    numbers: Numbers = {"offending_rows": 0, "judged": case.all_rows}
    samples: list[str] = []
    listings: list[Composable] = []
    for assignment in case.layer.table.assignments:
        found = case.strays(assignment)
        if found is None:
            numbers["not_there"] = assignment.to_table
        elif not found.passed:
            numbers |= {name: int(numbers.get(name, 0)) + int(value) for name, value in found.numbers.items()}
            samples += found.sample
            listings.append(found.sql)
    return AuditFinding(numbers=numbers, sample=samples[: AuditResult.SAMPLE_KEYS], sql=sql.SQL(";\n").join(listings))


def _accepted_values(case: Case) -> AuditFinding:
    """Judge by the declared values, with the words that a configuration may have for states that are open."""
    table, rules = case.layer.table, []
    row_filter = table.row_filter if isinstance(table, DynamicTable) else None
    for accepted in table.accepted:
        is_state = row_filter and row_filter.status_column == accepted.column
        values = [*accepted.values, *(row_filter.open_statuses if row_filter and is_state else ())]
        column = Identifier("t", accepted.column)
        parts = {"column": column, "text": text_by_value(column), "values": values, "name": accepted.column}
        rules.append(Rule.of("{text} <> ALL ({values})", "{name} || ' = ' || {column}", **parts))
    return case.rows_breaking(rules, sampled=True)


def _accepted_range(case: Case) -> AuditFinding:
    rules = [_outside(bounds.column, bounds.minimum, bounds.maximum) for bounds in case.layer.table.ranges]
    return case.rows_breaking(rules, sampled=True)


def _outside(column: str, minimum: float, maximum: float) -> Rule:
    """Return the rule that values lie within bounds; NaN, which compares as greater than every number, breaks it."""
    condition, reason = "NOT ({value} >= {low} AND {value} <= {high})", "{name} || ' = ' || {value}"
    return Rule.of(condition, reason, value=Identifier("t", column), low=minimum, high=maximum, name=column)


def _undrawable(table: Declaration) -> list[Rule]:
    """Return the rules that geometries, and their parts, are of the kinds that readers draw."""
    drawn, remedy = list(table.drawable.kinds), f" cannot be drawn; {_REMEDY}"
    condition, reason = "NOT ({kinds} <@ {drawn}::text[])", "array_to_string({kinds}, ', ') || {remedy}"
    return [Rule.of(condition, reason, kinds=Case.kinds_of(c), drawn=drawn, remedy=remedy) for c in table.mixed_columns]


def _geometry_type(case: Case) -> AuditFinding:
    spatial = case.layer.table.spatial_columns
    rules = [_wrong_geometry(column) for column in spatial if column.name not in case.as_declared]
    if case.layer.table.drawable.others == "refuse" and not case.decoded:
        rules += _undrawable(case.layer.table)
    types = ", ".join(f"{column.name} {relations.type_name(column)}" for column in spatial)
    return case.rows_breaking(rules, numbers={} if rules else {"columns": types})


def _point_columns(case: Case) -> set[str]:
    """Return the columns that hold points and nothing else, by their type."""
    spatial = case.layer.table.spatial_columns
    return {each.name for each in spatial if each.name in case.as_declared and geometry_kind(each) == "POINT"}


def _wrong_geometry(column: sa.Column[object]) -> Rule:
    condition = "(ST_SRID({shape}) <> 4326 OR ({kind} <> 'GEOMETRY' AND GeometryType({shape}) <> {kind}))"
    reason = "GeometryType({shape}) || ' in SRID ' || ST_SRID({shape})"
    return Rule.of(condition, reason, shape=Case.as_geometry(column), kind=geometry_kind(column))


def _within(case: Case) -> AuditFinding:
    rules = []
    if not case.decoded:
        for column in case.layer.table.spatial_columns:
            shape = Case.as_geometry(column)
            condition = query("geometries", "outside_the_world").format(g=shape)
            rules.append(Rule(condition, sql.SQL("ST_AsText(ST_Envelope({}))").format(shape)))
        for position in case.layer.table.positions:
            rules += [_outside(position.longitude, -180, 180), _outside(position.latitude, -90, 90)]
    return case.rows_breaking(rules, proven=f"{case.all_rows}, while decoding")


def _valid_geometry(case: Case) -> AuditFinding:
    points = _point_columns(case)
    rules = [
        Rule.of("NOT ST_IsValid({shape})", "ST_IsValidReason({shape})", shape=Case.as_geometry(column))
        for column in case.layer.table.spatial_columns
        if column.name not in points
    ]
    proven = f"{case.all_rows}: a point is valid wherever it lies, and `within` judges its coordinates"
    return case.rows_breaking(rules, sampled=True, proven=proven)


def _geometry_present(case: Case) -> AuditFinding:
    condition = "({column} IS NULL OR ST_IsEmpty({column}::geometry))"
    reason = "CASE WHEN {column} IS NULL THEN 'NULL' ELSE 'empty' END"
    names = [column.name for column in case.layer.table.spatial_columns if column.name not in case.present]
    rules = [Rule.of(condition, reason, column=Identifier("t", name)) for name in names]
    return case.rows_breaking(rules, sampled=True, proven=f"{case.all_rows}, while decoding")


def _same_position(case: Case) -> AuditFinding:
    condition = "{only}greatest(abs(ST_X({p}) - {x}), abs(ST_Y({p}) - {y})) > {tolerance}"
    reason = "concat(ST_AsText({p}), ' but ', {x}, ' ', {y})"
    points = _point_columns(case)
    rules = []
    for position in case.layer.table.positions:
        if position.same_as is not None:
            point = Case.as_geometry(case.layer.table.table.columns[position.same_as])
            x, y = Identifier("t", position.longitude), Identifier("t", position.latitude)
            only = sql.SQL("" if position.same_as in points else "GeometryType({p}) = 'POINT' AND ").format(p=point)
            rules.append(Rule.of(condition, reason, only=only, p=point, x=x, y=y, tolerance=_SAME_DEGREES))
    return case.rows_breaking(rules, sampled=True)


def _main_extent(case: Case) -> AuditFinding:
    """Judge by the middle 90 % of the rows, estimated from a few thousand of them, with margins on either side."""
    if case.rows < _LEAST_ROWS_OF_AN_EXTENT:
        return case.rows_breaking([], proven="too few rows to have a main extent")
    x: Composable
    y: Composable
    condition = "NOT ({x} BETWEEN {west} AND {east} AND {y} BETWEEN {south} AND {north})"
    if case.layer.table.spatial_columns:
        shape = Case.as_geometry(case.layer.table.spatial_columns[0])
        x = sql.SQL("((ST_XMin({g}) + ST_XMax({g})) / 2)").format(g=shape)
        y = sql.SQL("((ST_YMin({g}) + ST_YMax({g})) / 2)").format(g=shape)
        # Where the whole box lies within, so does its middle: that spares most rows the arithmetic.
        condition = "NOT {shape} @ ST_MakeEnvelope({west}, {south}, {east}, {north}, 4326) AND " + condition
    else:
        position = case.layer.table.positions[0]
        x, y, shape = Identifier("t", position.longitude), Identifier("t", position.latitude), None
    found = query("geometries", "main_extent").format(x=x, y=y, source=case.random_rows(_ROWS_FOR_AN_EXTENT))
    extent = case.connection.execute(found).fetchone() or (None,)
    if None in extent:
        return case.rows_breaking([], proven="no positions")
    edges = dict(zip(("west", "south", "east", "north"), extent, strict=True))
    reason = "concat(round(({x})::numeric, 5), ' ', round(({y})::numeric, 5))"
    shown = "{:.4f} {:.4f} {:.4f} {:.4f}".format(*extent)
    rule = Rule.of(condition, reason, x=x, y=y, shape=shape, **edges)
    return case.rows_breaking([rule], sampled=True, numbers={"main_extent": shown})
