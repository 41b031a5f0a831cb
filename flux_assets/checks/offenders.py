"""Counting the rows of a case that break a rule, and naming a few of them by key.

Here: the one query shape that all row-wise audits share. Not here: the rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from flux_assets.checks.audit import SAMPLE_KEYS, AuditFinding, Case, Numbers
from flux_assets.postgis.names import text_by_value

# A collation that is not the database's own, or citext, whose own operators ignore case.
_UNUSUAL = """
SELECT bool_or(attcollation NOT IN (0, 'pg_catalog."default"'::regcollation) OR typname = 'citext')
FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid
WHERE (attrelid = to_regclass((%(there)s::text[])[1]) AND attname = (%(there)s::text[])[2])
   OR (attrelid = to_regclass((%(here)s::text[])[1]) AND attname = (%(here)s::text[])[2])
"""


@dataclass(frozen=True)
class Rule:
    """A condition that offending rows (of the alias t) meet, and an expression that says why; both SQL."""

    condition: sql.Composable
    reason: sql.Composable


def rows_breaking(case: Case, rules: Sequence[Rule], *, sampled: bool, numbers: Numbers | None = None) -> AuditFinding:
    """A finding over all rules: how many rows break any, which ones, and the query that lists them all."""
    source = case.judged_rows if sampled else sql.SQL("{} AS t").format(case.own_rows)
    bad = sql.SQL(" UNION ALL ").join(
        sql.SQL("SELECT {key} AS key, ({why})::text AS why FROM {source} WHERE {condition}").format(
            key=key_text(case), why=rule.reason, source=source, condition=rule.condition
        )
        for rule in rules
    )
    query = sql.SQL(
        "WITH bad AS ({bad}) SELECT (SELECT count(*) FROM bad),"
        " ARRAY(SELECT concat_ws(': ', coalesce(key, '(no key)'), why) FROM bad LIMIT {limit})"
    ).format(bad=bad, limit=sql.Literal(SAMPLE_KEYS))
    row = case.connection.execute(query).fetchone()
    count, sample = row or (0, [])
    judged = case.judged if sampled else f"all {case.rows:,} rows"
    return AuditFinding(
        passed=count == 0,
        numbers={"offending_rows": count, "judged": judged, **(numbers or {})},
        sample=tuple(sample),
        sql=_listing(case, rules) if count else "",
    )


def looked_up(case: Case, here: str, other: str, there: str) -> sql.Composable:
    """A condition: a row o of another table of the schema has what a row t of the case has, by its value.

    Indexes serve that for columns of one usual collation alone, so others are compared otherwise.
    """
    sides = sql.Identifier("o", there), sql.Identifier("t", here)
    found = case.staged.get(other, sql.Identifier(case.layer.schema, other)).as_string(), case.relation.as_string()
    row = case.connection.execute(_UNUSUAL, {"there": [found[0], there], "here": [found[1], here]}).fetchone()
    unusual = row is not None and row[0]
    return sql.SQL("{} = {}").format(*(map(text_by_value, sides) if unusual else sides))


def key_text(case: Case) -> sql.Composed:
    """The row's key as text; a table without one is named by its first two columns."""
    columns = case.layer.table.key or case.layer.table.column_names[:2]
    parts = sql.SQL(", ").join(sql.Identifier("t", name) for name in columns)
    return sql.SQL("nullif(concat_ws(' ', {}), '')").format(parts)


def _listing(case: Case, rules: Sequence[Rule]) -> str:
    conditions = sql.SQL(" OR ").join(sql.SQL("({})").format(rule.condition) for rule in rules)
    query = sql.SQL("SELECT * FROM {} AS t WHERE {}").format(case.own_rows, conditions)
    return query.as_string(case.connection)
