"""The audit of rows that belong to no row of another table: all_assigned.

It names the values, how many rows have them, and which value was meant where only blanks or capitals differ.
"""

from __future__ import annotations

from psycopg import sql
from psycopg.sql import Composable, Composed, Identifier

from flux_assets.checks.audit import SAMPLE_KEYS, AuditFinding, Case, Numbers
from flux_assets.postgis.relations import text_by_value
from flux_assets.spec.facts import Assignment
from flux_assets.sqlfiles import query

ALL_ASSIGNED = "all_assigned"
_KEYS_OF_A_VALUE = 3
# Blanks that do not show around a value: of the keyboard, of typesetters, and of no width.
_BLANKS = " \t\r\n\v\f\u00a0\u2002\u2003\u2007\u2009\u200b\u202f\u3000\ufeff"


def all_assigned(case: Case) -> AuditFinding:
    """Judge whether every row belongs to a row of the tables that are computed from it."""
    numbers: Numbers = {"offending_rows": 0, "judged": case.all_rows}
    samples: list[str] = []
    listings: list[Composable] = []
    for assignment in case.layer.table.assignments:
        found = strays(case, assignment)
        if found is None:
            numbers["not_there"] = assignment.to_table
        elif not found.passed:
            numbers |= {name: int(numbers.get(name, 0)) + int(value) for name, value in found.numbers.items()}
            samples += found.sample
            listings.append(found.sql)
    return AuditFinding(numbers=numbers, sample=samples[:SAMPLE_KEYS], sql=sql.SQL(";\n").join(listings))


def strays(case: Case, assignment: Assignment) -> AuditFinding | None:
    """Find the rows that belong to none, by their value; return None where the other table does not exist."""
    others = case.rows_of(assignment.to_table)
    if others is None:
        return None
    there = text_by_value(Identifier("o", assignment.to_column))
    parts = {
        "value": text_by_value(Identifier("t", assignment.column)),
        "there": there,
        "folded_there": _folded(there),
        "folded_value": _folded(Identifier("value")),
        "key": case.key_text,
        "keys": _KEYS_OF_A_VALUE,
        "rows": case.own_rows,
        "others": others,
        "judged": _judged(assignment),
        "reason": f"not in {assignment.to_table}: {assignment.column} ",
        "limit": SAMPLE_KEYS,
    }
    counted = case.connection.execute(query("unmatched", "count_strays").format(**parts)).fetchone()
    count, meant, sample = counted or (0, 0, [])
    return AuditFinding(
        numbers={"offending_rows": count, f"not_in_{assignment.to_table}": count, "differ_in_blanks_or_case": meant},
        sample=sample,
        sql=query("unmatched", "list_strays").format(**parts),
    )


def _folded(value: Composable) -> Composed:
    """Return a value as text without the blanks around it and in small letters, as people tell identifiers apart."""
    return sql.SQL("""lower(btrim(({})::text COLLATE pg_catalog."default", {}))""").format(value, _BLANKS)


def _judged(assignment: Assignment) -> Composable:
    conditions: list[Composable] = [sql.SQL("true")]
    if assignment.where_column is not None:
        where, values = text_by_value(Identifier("t", assignment.where_column)), list(assignment.where_values)
        conditions.append(sql.SQL("{} = ANY ({})").format(where, values))
    if not assignment.required:
        conditions.append(sql.SQL("t.{} IS NOT NULL").format(Identifier(assignment.column)))
    return sql.SQL(" AND ").join(conditions)
