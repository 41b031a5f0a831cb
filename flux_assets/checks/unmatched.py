"""The audit of rows that belong to nobody: WARN, another table counts or averages by a value that it does not hold.

Here: which values those are, how many rows have them, and which value was meant where only blanks or capitals differ.
Not here: what is computed from the rows (derive.py), and declared references (plausible.py).
"""

from __future__ import annotations

from collections.abc import Iterator

from psycopg import sql

from flux_assets.checks.audit import SAMPLE_KEYS, Audit, AuditFinding, Case, Numbers
from flux_assets.checks.offenders import key_text
from flux_assets.postgis import catalog
from flux_assets.postgis.names import own_rows_by_kind, text_by_value
from flux_assets.spec import Assignment, Declaration

ALL_ASSIGNED = "all_assigned"
_KEYS_OF_A_VALUE = 3
# What nobody sees around a value: of the keyboard, of typesetters, and of no width.
_BLANKS = sql.Literal(" \t\r\n\v\f\u00a0\u2002\u2003\u2007\u2009\u200b\u202f\u3000\ufeff")
# Grouped by value first: a hundred thousand rows may share a few values, and those alone are looked for again.
_QUERY = """
WITH stray AS (
    SELECT {value} AS value, count(*) AS rows, (array_agg({key}))[:{keys}] AS keys FROM {rows} AS t
    WHERE {judged} AND NOT EXISTS (SELECT FROM {others} AS o WHERE {there} = {value}) GROUP BY {value}
), near AS (
    SELECT {folded_there} AS folded, string_agg({there}, ', ' ORDER BY {there}) AS meant FROM {others} AS o
    WHERE EXISTS (SELECT FROM stray) GROUP BY 1
), told AS (
    SELECT stray.*, near.meant FROM stray LEFT JOIN near ON near.folded = {folded_value}
)
SELECT coalesce(sum(rows), 0)::bigint, coalesce(sum(rows) FILTER (WHERE meant IS NOT NULL), 0)::bigint,
       ARRAY(SELECT concat(array_to_string(keys, ', ', '(no key)'), CASE WHEN rows > {keys} THEN ', …' END,
                           ': ', {said},
                           CASE WHEN meant IS NULL THEN CASE WHEN value ~ '^[^[:space:]]+$' THEN value
                                                             ELSE coalesce(quote_literal(value), 'NULL') END
                           ELSE quote_literal(value) || '; apart from blanks and capitals it is '
                                || quote_literal(meant) END)
             FROM told ORDER BY meant IS NULL, rows DESC, value LIMIT {limit})
FROM told
"""
_LISTED = "SELECT * FROM {rows} AS t WHERE {judged} AND NOT EXISTS (SELECT FROM {others} AS o WHERE {there} = {value})"


def audits(table: Declaration) -> Iterator[Audit]:
    """The audit of a table from whose rows columns of others are computed."""
    if table.assignments:
        others = ", ".join(dict.fromkeys(f"{each.to_table} by {each.column}" for each in table.assignments))
        yield Audit(
            name=ALL_ASSIGNED,
            severity="WARN",
            description=f"Rows belong to a row of what is computed from them: {others}.",
            judge=_all_assigned,
        )


def _all_assigned(case: Case) -> AuditFinding:
    numbers: Numbers = {"offending_rows": 0, "judged": f"all {case.rows:,} rows"}
    samples: list[str] = []
    listings: list[str] = []
    for assignment in case.layer.table.assignments:
        found = strays(case, assignment)
        if found is None:
            numbers["not_there"] = assignment.to_table
        elif not found.passed:
            numbers |= {name: _sum(numbers.get(name, 0), value) for name, value in found.numbers.items()}
            samples += found.sample
            listings.append(found.sql)
    return AuditFinding(
        passed=not samples, numbers=numbers, sample=tuple(samples[:SAMPLE_KEYS]), sql=";\n".join(listings)
    )


def _sum(one: float | str, other: float | str) -> int:
    return int(one) + int(other)


def strays(case: Case, assignment: Assignment) -> AuditFinding | None:
    """The rows that belong to none, by the value that they have; None where the other table does not exist."""
    other = catalog.find(case.connection, case.layer.schema, assignment.to_table)
    if other is None:
        return None
    parts = _parts(
        case, assignment, own_rows_by_kind(sql.Identifier(case.layer.schema, assignment.to_table), other.kind)
    )
    row = case.connection.execute(sql.SQL(_QUERY).format(**parts)).fetchone()
    count, meant, sample = row or (0, 0, [])
    return AuditFinding(
        passed=not count,
        numbers={"offending_rows": count, f"not_in_{assignment.to_table}": count, "differ_in_blanks_or_case": meant},
        sample=tuple(sample),
        sql=sql.SQL(_LISTED).format(**parts).as_string(case.connection) if count else "",
    )


def _folded(value: sql.Composable) -> sql.Composed:
    """A value as text without the blanks around it and in small letters: how people tell identifiers apart."""
    return sql.SQL("""lower(btrim(({})::text COLLATE pg_catalog."default", {}))""").format(value, _BLANKS)


def _parts(case: Case, assignment: Assignment, others: sql.Composable) -> dict[str, sql.Composable]:
    value = text_by_value(sql.Identifier("t", assignment.column))
    there = text_by_value(sql.Identifier("o", assignment.to_column))
    return {
        "value": value, "there": there, "folded_there": _folded(there),
        "folded_value": _folded(sql.Identifier("value")), "key": key_text(case), "keys": sql.Literal(_KEYS_OF_A_VALUE),
        "rows": case.own_rows, "others": others, "judged": _judged(assignment),
        "said": sql.Literal(f"not in {assignment.to_table}: {assignment.column} "), "limit": sql.Literal(SAMPLE_KEYS),
    }  # fmt: skip


def _judged(assignment: Assignment) -> sql.Composable:
    conditions: list[sql.Composable] = [sql.SQL("true")]
    if assignment.where_column is not None:
        where, values = sql.Identifier("t", assignment.where_column), sql.Literal(list(assignment.where_values))
        conditions.append(sql.SQL("{} = ANY ({})").format(text_by_value(where), values))
    if not assignment.required:
        conditions.append(sql.SQL("t.{} IS NOT NULL").format(sql.Identifier(assignment.column)))
    return sql.SQL(" AND ").join(conditions)
