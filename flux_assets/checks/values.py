"""Audits of columns, row counts, keys and values.

Those of severity ERROR keep a version from being published; what a constraint has already proven of every row they do
not count again. Those of severity WARN judge a random sample of a large table.
"""

from __future__ import annotations

from collections.abc import Iterator

from psycopg import sql

from flux_assets.checks.audit import (
    SAMPLE_KEYS,
    Audit,
    AuditFinding,
    Case,
    Numbers,
    Rule,
    matches_row_of,
    outside,
    rows_breaking,
)
from flux_assets.checks.unmatched import ALL_ASSIGNED, all_assigned
from flux_assets.postgis import catalog, ddl
from flux_assets.postgis.names import by_value, own_rows_by_kind, text_by_value
from flux_assets.spec import AcceptedValues, Declaration, DynamicTable, Reference
from flux_assets.sqlfiles import query

_SHRUNK = 0.5


def audits(table: Declaration) -> Iterator[Audit]:
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
        f"{column.name}: {live.get(column.name, 'missing')}, declared {ddl.type_name(column)}"
        for column in case.layer.table.columns
        if live.get(column.name) != ddl.type_name(column)
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
        named=sql.SQL(", ").join(named), rows=case.own_rows, key=ddl.names(key), places=places
    )


def _count_repeated(case: Case, key: tuple[str, ...], repeated: sql.Composed) -> tuple[int, list[str]]:
    """Return how many values of a key occur more than once, and some of them with their counts."""
    counted = query("values", "count_repeated").format(
        key=ddl.names(key),
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
