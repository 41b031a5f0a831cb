"""The vocabulary of audits: a claim, the case it is judged on, a finding, and the rules that rows of a case break."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Literal

import psycopg
from psycopg import sql

from flux_assets.errors import LONGEST_REPORT, bounded
from flux_assets.postgis import catalog
from flux_assets.postgis.catalog import Shape
from flux_assets.postgis.relations import PublicTable, own_rows, text_by_value
from flux_assets.sqlfiles import query

Severity = Literal["ERROR", "WARN"]
Numbers = dict[str, int | float | str]
SAMPLED_ROWS = 200_000
SAMPLE_KEYS = 10


@dataclass(frozen=True, kw_only=True)
class AuditResult:
    """What an audit found: the numbers it judged, offending keys, and SQL that shows the offending rows."""

    name: str
    passed: bool
    severity: Severity
    description: str
    numbers: Numbers
    sample: tuple[str, ...] = ()
    sql: str = ""

    def __post_init__(self) -> None:
        # Samples are logged, stored and shown, and a key or value may be of any length.
        object.__setattr__(self, "sample", tuple(bounded(each, LONGEST_REPORT) for each in self.sample))

    def as_json(self) -> dict[str, object]:
        """Return what the register keeps; `from_json` reads it back."""
        return asdict(self)

    @staticmethod
    def from_json(stored: Mapping[str, object]) -> AuditResult:
        """Return a result that the register kept."""
        return AuditResult(**{**stored, "sample": tuple(stored["sample"])})  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class AuditFinding:
    """What a judge returns; the audit adds its name, and its own severity unless the finding has one."""

    passed: bool
    numbers: Numbers = field(default_factory=dict)
    sample: tuple[str, ...] = ()
    sql: str = ""
    severity: Severity | None = None


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is judged: `relation` (a staged version, or the public table) of a table, with `rows` rows.

    `promised_rows` (by the manifest, or the register) and `published_rows` are None where unknown; of those promised,
    `quarantined_rows` were refused and set aside. `decoded` means that the decoder has proven the coordinates of every
    row to be finite and in range; in the spatial columns `present` it found a non-empty geometry in every row.
    `staged` are versions of other tables that are published together with this one. With `alone`, the relation has no
    partitions, and the rows of tables that inherit from it do not count. `shape` is the relation's, where it is known.
    """

    connection: psycopg.Connection
    layer: PublicTable
    relation: sql.Identifier
    rows: int
    promised_rows: int | None = None
    published_rows: int | None = None
    quarantined_rows: int = 0
    accept_fewer_rows: bool = False
    decoded: bool = False
    present: frozenset[str] = frozenset()
    staged: Mapping[str, sql.Identifier] = field(default_factory=dict)
    alone: bool = False
    shape: Shape | None = None

    @cached_property
    def oid(self) -> int:
        """The relation's OID, asked once."""
        if self.shape:
            return self.shape.oid
        row = self.connection.execute("SELECT %s::regclass::oid", [self.relation.as_string(self.connection)]).fetchone()
        return int(row[0]) if row else 0

    @cached_property
    def live_columns(self) -> dict[str, catalog.LiveColumn]:
        """The columns that the relation has in the database, by name; asked once."""
        found = self.shape.columns if self.shape else catalog.columns(self.connection, self.oid)
        return {column.name: column for column in found}

    @cached_property
    def live_indexes(self) -> list[catalog.LiveIndex]:
        """The indexes that the relation has in the database; asked once."""
        return self.shape.indexes if self.shape else catalog.indexes(self.connection, self.oid)

    @property
    def own_rows(self) -> sql.Composable:
        """The rows that are judged, for FROM."""
        return own_rows(self.relation) if self.alone else self.relation

    @property
    def all_rows(self) -> str:
        """Every row, in words."""
        return f"all {self.rows:,} rows"

    @property
    def counting(self) -> str:
        """The query that counts the rows."""
        return sql.SQL("SELECT count(*) FROM {}").format(self.own_rows).as_string(self.connection)

    def random_rows(self, count: int) -> sql.Composed:
        """Return a FROM item named t: about `count` random rows, or all where there are not more."""
        if self.rows <= count:
            return sql.SQL("{} AS t").format(self.own_rows)
        percent = sql.Literal(round(100 * count / self.rows, 4))
        return sql.SQL("{} AS t TABLESAMPLE SYSTEM ({})").format(self.own_rows, percent)


@dataclass(frozen=True)
class Audit:
    """A claim about a table: its name, how serious it is when it does not hold, and who judges it."""

    name: str
    severity: Severity
    description: str
    judge: Callable[[Case], AuditFinding]

    def run(self, case: Case) -> AuditResult:
        """Judge the case."""
        found = self.judge(case)
        return AuditResult(
            name=self.name,
            severity=found.severity or self.severity,
            description=self.description,
            passed=found.passed,
            numbers=found.numbers,
            sample=found.sample,
            sql=found.sql,
        )


@dataclass(frozen=True)
class Rule:
    """A condition that offending rows (of the alias t) meet, and an expression that says why; both SQL."""

    condition: sql.Composable
    reason: sql.Composable


def outside(column: str, minimum: float, maximum: float) -> Rule:
    """Return the rule that values lie within bounds; NaN, which compares as greater than every number, breaks it."""
    value = sql.Identifier("t", column)
    condition = sql.SQL("NOT ({c} >= {low} AND {c} <= {high})").format(
        c=value, low=sql.Literal(minimum), high=sql.Literal(maximum)
    )
    return Rule(condition, sql.SQL("{} || {}").format(sql.Literal(f"{column} = "), value))


def nothing_offends(judged: str, **numbers: str) -> AuditFinding:
    """Return the finding of an audit that need not look at any row; `judged` says why."""
    return AuditFinding(passed=True, numbers={"offending_rows": 0, "judged": judged, **numbers})


def rows_breaking(case: Case, rules: Sequence[Rule], *, sampled: bool, numbers: Numbers | None = None) -> AuditFinding:
    """Count the rows that break any of the rules, name some by key, and give the query that lists them all.

    With `sampled`, a random SAMPLED_ROWS of a larger table are judged.
    """
    sampled = sampled and case.rows > SAMPLED_ROWS
    source = case.random_rows(SAMPLED_ROWS if sampled else case.rows)
    bad = sql.SQL(" UNION ALL ").join(
        sql.SQL("SELECT {key} AS key, ({why})::text AS why FROM {source} WHERE {condition}").format(
            key=key_text(case), why=rule.reason, source=source, condition=rule.condition
        )
        for rule in rules
    )
    counted = query("audit", "count_offenders").format(bad=bad, limit=sql.Literal(SAMPLE_KEYS))
    count, sample = case.connection.execute(counted).fetchone() or (0, [])
    judged = f"about {SAMPLED_ROWS:,} random rows of {case.rows:,}" if sampled else case.all_rows
    return AuditFinding(
        passed=count == 0,
        numbers={"offending_rows": count, "judged": judged, **(numbers or {})},
        sample=tuple(sample),
        sql=_listing(case, rules) if count else "",
    )


def matches_row_of(case: Case, here: str, other: str, there: str) -> sql.Composable:
    """Return the condition that a row o of another table of the schema has the value of a row t of the case.

    Values are the same when their bytes are. Indexes serve that only where both columns have the same usual collation,
    so just the others are cast.
    """
    sides = sql.Identifier("o", there), sql.Identifier("t", here)
    tables = case.staged.get(other, sql.Identifier(case.layer.schema, other)).as_string(), case.relation.as_string()
    row = case.connection.execute(
        query("audit", "has_unusual_collation"), {"there": [tables[0], there], "here": [tables[1], here]}
    ).fetchone()
    unusual = row is not None and row[0]
    return sql.SQL("{} = {}").format(*(map(text_by_value, sides) if unusual else sides))


def key_text(case: Case) -> sql.Composed:
    """Return the row's key as text; a table without one is named by its first two columns."""
    columns = case.layer.table.key or case.layer.table.column_names[:2]
    parts = sql.SQL(", ").join(sql.Identifier("t", name) for name in columns)
    return sql.SQL("nullif(concat_ws(' ', {}), '')").format(parts)


def _listing(case: Case, rules: Sequence[Rule]) -> str:
    conditions = sql.SQL(" OR ").join(sql.SQL("({})").format(rule.condition) for rule in rules)
    listed = sql.SQL("SELECT * FROM {} AS t WHERE {}").format(case.own_rows, conditions)
    return listed.as_string(case.connection)
