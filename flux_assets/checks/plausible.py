"""The audits of values and counts that warn and do not block: WARN, look at the named rows.

Here: relationships, accepted_values, accepted_range, volume. Tables above 200,000 rows are judged by a random 200,000;
`volume` knows the count. Not here: audits that block (blocking.py), and those of shapes and places (warnings.py).
"""

from __future__ import annotations

from collections.abc import Iterator

from psycopg import sql

from flux_assets.checks.audit import Audit, AuditFinding, Case, Numbers
from flux_assets.checks.offenders import Rule, looked_up, rows_breaking
from flux_assets.postgis import catalog
from flux_assets.postgis.names import own_rows_by_kind, text_by_value
from flux_assets.spec import AcceptedValues, Declaration, DynamicTable, Reference


def audits(table: Declaration) -> Iterator[Audit]:
    """The warning audits of a declaration's values and row count."""
    if table.references:
        yield _audit("relationships", "Identifiers point at rows that exist in the published tables.", _relationships)
    if table.accepted:
        yield _audit("accepted_values", "States, kinds and classes hold one of the declared values.", _accepted_values)
    if table.ranges:
        yield _audit("accepted_range", "Measures lie within their declared range.", _accepted_range)
    yield _audit("volume", "There are as many rows as are plausible, by the declared bounds.", _volume)


def _audit(name: str, description: str, judge: object) -> Audit:
    return Audit(name=name, severity="WARN", description=description, judge=judge)  # type: ignore[arg-type]


def _relationships(case: Case) -> AuditFinding:
    found = {reference: _pointed_at(case, reference) for reference in case.layer.table.references}
    judged = {reference: rows for reference, rows in found.items() if rows is not None}
    missing = {reference.to_table for reference in found if reference not in judged}
    note = {"not_published": ", ".join(sorted(missing))} if missing else {}
    if not judged:
        return AuditFinding(passed=True, numbers={"offending_rows": 0, **note})
    rules = [_unresolved(case, reference, rows) for reference, rows in judged.items()]
    return rows_breaking(case, rules, sampled=True, numbers={**note})


def _pointed_at(case: Case, reference: Reference) -> sql.Composable | None:
    """The rows that a reference points at, for FROM; None where the table is neither staged nor published."""
    if staged := case.staged.get(reference.to_table):
        return staged
    there = catalog.find(case.connection, case.layer.schema, reference.to_table)
    return own_rows_by_kind(sql.Identifier(case.layer.schema, reference.to_table), there.kind) if there else None


def _unresolved(case: Case, reference: Reference, rows: sql.Composable) -> Rule:
    column = sql.Identifier("t", reference.column)
    condition = sql.SQL("{c} IS NOT NULL AND NOT EXISTS (SELECT FROM {other} AS o WHERE {same})").format(
        c=column, other=rows, same=looked_up(case, reference.column, reference.to_table, reference.to_column)
    )
    said = sql.Literal(f"{reference.column} not in {reference.to_table}: ")
    return Rule(condition, sql.SQL("{} || {}").format(said, column))


def _accepted_values(case: Case) -> AuditFinding:
    rules = []
    for judged in case.layer.table.accepted:
        column = sql.Identifier("t", judged.column)
        rules.append(
            Rule(
                sql.SQL("{} <> ALL ({})").format(
                    text_by_value(column), sql.Literal(list(_values(case.layer.table, judged)))
                ),
                sql.SQL("{} || {}").format(sql.Literal(f"{judged.column} = "), column),
            )
        )
    return rows_breaking(case, rules, sampled=True)


def _values(table: Declaration, judged: AcceptedValues) -> tuple[str, ...]:
    """The declared values, with the words that a configuration may have for states that are open."""
    taken = table.row_filter if isinstance(table, DynamicTable) else None
    own = taken.open_statuses if taken and taken.status_column == judged.column else ()
    return tuple(dict.fromkeys([*judged.values, *own]))


def _accepted_range(case: Case) -> AuditFinding:
    rules = []
    for bounds in case.layer.table.ranges:
        column = sql.Identifier("t", bounds.column)
        condition = sql.SQL("NOT ({c} >= {low} AND {c} <= {high})").format(
            c=column, low=sql.Literal(bounds.minimum), high=sql.Literal(bounds.maximum)
        )
        rules.append(Rule(condition, sql.SQL("{} || {}").format(sql.Literal(f"{bounds.column} = "), column)))
    return rows_breaking(case, rules, sampled=True)


def _volume(case: Case) -> AuditFinding:
    volume = case.layer.table.volume
    numbers: Numbers = {"rows": case.rows, "minimum": volume.minimum}
    if volume.maximum is not None:
        numbers["maximum"] = volume.maximum
    said = []
    if case.rows < volume.minimum:
        said = [f"{case.rows:,} rows are fewer than the {volume.minimum:,} that are plausible"]
    elif volume.maximum is not None and case.rows > volume.maximum:
        said = [f"{case.rows:,} rows are more than the {volume.maximum:,} that are plausible"]
    return AuditFinding(passed=not said, numbers=numbers, sample=tuple(said), sql=case.counting if said else "")
