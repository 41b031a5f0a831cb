"""The vocabulary of audits: a claim, the case it is judged on, a finding, and the rules that rows of a case break."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import ClassVar, Literal, LiteralString

import psycopg
import sqlalchemy as sa
from psycopg import sql
from psycopg.sql import Composable, Composed, Identifier

from flux_assets.errors import LONGEST_REPORT, bounded
from flux_assets.postgis import relations
from flux_assets.postgis.catalog import LiveColumn, LiveIndex, Relation, Shape
from flux_assets.postgis.relations import PublicTable, own_rows, text_by_value
from flux_assets.spec.facts import SIMPLE_KINDS, Assignment, Volume
from flux_assets.sqlfiles import query

Severity = Literal["ERROR", "WARN"]
Numbers = dict[str, int | float | str]
_SAMPLED_ROWS = 200_000
_KEYS_OF_A_VALUE = 3
# Blanks that do not show around a value: of the keyboard, of typesetters, and of no width.
_BLANKS = " \t\r\n\v\f\u00a0\u2002\u2003\u2007\u2009\u200b\u202f\u3000\ufeff"


@dataclass(frozen=True, kw_only=True)
class AuditResult:
    """What an audit found: the numbers it judged, at most SAMPLE_KEYS offending keys, SQL that shows offending rows."""

    SAMPLE_KEYS: ClassVar[int] = 10

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

    @property
    def refuses(self) -> bool:
        """Whether it keeps a version from being published."""
        return self.severity == "ERROR" and not self.passed

    @property
    def findings(self) -> str:
        """What was found, for a line."""
        numbers = ", ".join(f"{name} {value}" for name, value in self.numbers.items())
        more = f"; and {len(self.sample) - 3} more" if len(self.sample) > 3 else ""
        return f"{'; '.join(self.sample[:3])}{more} ({numbers})" if self.sample else numbers

    def failure(self, title: str) -> str:
        """Say that the audit of a table failed, in a line for the log."""
        return f"{title}: audit {self.name} ({self.severity}) failed: {self.findings}"

    def as_json(self) -> dict[str, object]:
        """Return what the register keeps; `from_json` reads it back."""
        return asdict(self)

    @staticmethod
    def from_json(stored: Mapping[str, object]) -> AuditResult:
        """Return a result that the register kept."""
        return AuditResult(**{**stored, "sample": tuple(stored["sample"])})  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class AuditFinding:
    """What a judge returns: passed where no `sample` says what is wrong, which `sql` shows then.

    The audit adds its name, and its own severity unless the finding has one.
    """

    numbers: Numbers = field(default_factory=dict)
    sample: Sequence[str] = ()
    sql: Composable = field(default_factory=lambda: Composed([]))
    severity: Severity | None = None

    @property
    def passed(self) -> bool:
        return not self.sample


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
            sample=tuple(found.sample),
            sql="" if found.passed else found.sql.as_string(case.connection),
        )


@dataclass(frozen=True)
class Rule:
    """A condition that offending rows (of the alias t) meet, and an expression that says why; both SQL."""

    condition: Composable
    reason: Composable

    @staticmethod
    def of(condition: LiteralString, reason: LiteralString, **parts: object) -> Rule:
        """Return the rule of two templates, with the same parts filled in."""
        return Rule(sql.SQL(condition).format(**parts), sql.SQL(reason).format(**parts))


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is judged: `relation` (a staged version, or the public table) of a table, with `rows` rows.

    `promised_rows` (by the manifest, or the register) and `published_rows` are None where unknown; of those promised,
    `quarantined_rows` were refused and set aside. `decoded` means that the decoder has proven the coordinates of every
    row to be finite and in range; in the spatial columns `present` it found a non-empty geometry in every row.
    `staged` are versions of other tables that are published together with this one. With `alone`, the relation has no
    partitions, and the rows of tables that inherit from it do not count. `shape` is the relation's, where it is known.
    `volume` is the plausible row count that FLUX_CONFIG sets.
    """

    connection: psycopg.Connection
    layer: PublicTable
    relation: Identifier
    rows: int
    promised_rows: int | None = None
    published_rows: int | None = None
    quarantined_rows: int = 0
    accept_fewer_rows: bool = False
    decoded: bool = False
    present: frozenset[str] = frozenset()
    staged: Mapping[str, Identifier] = field(default_factory=dict)
    alone: bool = False
    shape: Shape | None = None
    volume: Volume = field(default_factory=Volume)

    @cached_property
    def _relation(self) -> Relation:
        row = self.connection.execute("SELECT %s::regclass::oid", [self.relation.as_string(self.connection)]).fetchone()
        return Relation(self.connection, row[0] if row else 0)

    @cached_property
    def live_columns(self) -> dict[str, LiveColumn]:
        """The columns that the relation has in the database, by name; asked once."""
        found = self.shape.columns if self.shape else self._relation.columns()
        return {column.name: column for column in found}

    @cached_property
    def as_declared(self) -> frozenset[str]:
        """The columns whose type in the database is the declared one."""
        live = {name: column.bare_type for name, column in self.live_columns.items()}
        return frozenset(
            each.name for each in self.layer.table.columns if live.get(each.name) == relations.type_name(each)
        )

    @cached_property
    def live_indexes(self) -> list[LiveIndex]:
        """The indexes that the relation has in the database; asked once."""
        return self.shape.indexes if self.shape else self._relation.indexes()

    @property
    def own_rows(self) -> Composable:
        """The rows that are judged, for FROM."""
        return own_rows(self.relation) if self.alone else self.relation

    def rows_of(self, other: str) -> Composable | None:
        """Return another table of the schema for FROM; None where it is neither staged nor there."""
        if staged := self.staged.get(other):
            return staged
        relation = Relation.find(self.connection, self.layer.schema, other)
        return own_rows(Identifier(self.layer.schema, other), relation.kind) if relation else None

    @property
    def all_rows(self) -> str:
        """Every row, in words."""
        return f"all {self.rows:,} rows"

    @property
    def counting(self) -> Composed:
        """The query that counts the rows."""
        return sql.SQL("SELECT count(*) FROM {}").format(self.own_rows)

    @property
    def key_text(self) -> Composed:
        """The key of a row (of the alias t) as text; a table without one is named by its first two columns."""
        columns = self.layer.table.key or self.layer.table.column_names[:2]
        parts = sql.SQL(", ").join(Identifier("t", name) for name in columns)
        return sql.SQL("nullif(concat_ws(' ', {}), '')").format(parts)

    @staticmethod
    def as_geometry(column: sa.Column[object]) -> Composed:
        """Return the column of a row (of the alias t) as geometry, also when it is geography."""
        return sql.SQL("{}::geometry").format(Identifier("t", column.name))

    @classmethod
    def kinds_of(cls, column: sa.Column[object]) -> Composed:
        """Return the kinds of geometry in a row's column, parts of collections included, as an array."""
        return query("geometries", "kinds").format(shape=cls.as_geometry(column), simple=list(SIMPLE_KINDS))

    def past(self) -> list[tuple[int, str]]:
        """Ask how many rows the table had before, newest first, and of what version that was.

        A version that a rollback, or a return to an earlier release, took back says nothing.
        """
        parts = {"schema": self.layer.schema, "name": self.layer.name, "relation": self.relation.as_string()}
        asking = query("audit", "earlier_versions").format(**parts, live=self.relation == self.layer.public)
        return self.connection.execute(asking).fetchall()

    def random_rows(self, count: int) -> Composed:
        """Return a FROM item named t: about `count` random rows, or all where there are not more."""
        if self.rows <= count:
            return sql.SQL("{} AS t").format(self.own_rows)
        percent = round(100 * count / self.rows, 4)
        return sql.SQL("{} AS t TABLESAMPLE SYSTEM ({})").format(self.own_rows, percent)

    def rows_breaking(
        self, rules: Sequence[Rule], *, sampled: bool = False, numbers: Numbers | None = None, proven: str = ""
    ) -> AuditFinding:
        """Count the rows that break any of the rules, name some by key, and give the query that lists them all.

        With `sampled`, a random _SAMPLED_ROWS of a larger table are judged. Without rules nothing is asked; `proven`
        says then why no row need be looked at.
        """
        if not rules:
            judged = {"judged": proven} if proven else {}
            return AuditFinding(numbers={"offending_rows": 0, **judged, **(numbers or {})})
        sampled = sampled and self.rows > _SAMPLED_ROWS
        source = self.random_rows(_SAMPLED_ROWS if sampled else self.rows)
        bad = sql.SQL(" UNION ALL ").join(
            sql.SQL("SELECT {key} AS key, ({why})::text AS why FROM {source} WHERE {condition}").format(
                key=self.key_text, why=rule.reason, source=source, condition=rule.condition
            )
            for rule in rules
        )
        counted = query("audit", "count_offenders").format(bad=bad, limit=AuditResult.SAMPLE_KEYS)
        count, sample = self.connection.execute(counted).fetchone() or (0, [])
        judged_rows = f"about {_SAMPLED_ROWS:,} random rows of {self.rows:,}" if sampled else self.all_rows
        conditions = sql.SQL(" OR ").join(sql.SQL("({})").format(rule.condition) for rule in rules)
        return AuditFinding(
            numbers={"offending_rows": count, "judged": judged_rows, **(numbers or {})},
            sample=sample,
            sql=sql.SQL("SELECT * FROM {} AS t WHERE {}").format(self.own_rows, conditions),
        )

    def matches_row_of(self, here: str, other: str, there: str) -> Composable:
        """Return the condition that a row o of another table of the schema has the value of a row t of this one.

        Values are the same when their bytes are. Indexes serve that only where both columns have the same usual
        collation, so just the others are cast.
        """
        sides = Identifier("o", there), Identifier("t", here)
        others = self.staged.get(other, Identifier(self.layer.schema, other))
        columns = {"there": [others.as_string(), there], "here": [self.relation.as_string(), here]}
        row = self.connection.execute(query("audit", "has_unusual_collation"), columns).fetchone()
        return sql.SQL("{} = {}").format(*(map(text_by_value, sides) if row and row[0] else sides))

    def note_dropped_keys(self, audits: Iterable[AuditResult]) -> None:
        """Have the status tell what the check of dropped foreign keys found, where it is among the audits."""
        for result in audits:
            if result.name == "dropped_keys" and result.numbers["dropped_keys"]:
                noting, found = query("ledger_audits", "note_orphans"), json.dumps(result.numbers)
                named = {"schema": self.layer.schema, "name": self.layer.name}
                self.connection.execute(noting.format(**named, found=found))

    def strays(self, assignment: Assignment) -> AuditFinding | None:
        """Find the rows that belong to no row of another table, by their value; None where that table does not exist.

        It names the values, how many rows have them, and which value was meant where only blanks or capitals differ.
        """
        others = self.rows_of(assignment.to_table)
        if others is None:
            return None
        there = text_by_value(Identifier("o", assignment.to_column))
        parts = {
            "value": text_by_value(Identifier("t", assignment.column)),
            "there": there,
            "folded_there": _folded(there),
            "folded_value": _folded(Identifier("value")),
            "key": self.key_text,
            "keys": _KEYS_OF_A_VALUE,
            "rows": self.own_rows,
            "others": others,
            "judged": _assigned(assignment),
            "reason": f"not in {assignment.to_table}: {assignment.column} ",
            "limit": AuditResult.SAMPLE_KEYS,
        }
        counted = self.connection.execute(query("unmatched", "count_strays").format(**parts)).fetchone()
        count, meant, sample = counted or (0, 0, [])
        return AuditFinding(
            numbers={
                "offending_rows": count,
                f"not_in_{assignment.to_table}": count,
                "differ_in_blanks_or_case": meant,
            },
            sample=sample,
            sql=query("unmatched", "list_strays").format(**parts),
        )


def _folded(value: Composable) -> Composed:
    """Return a value as text without the blanks around it and in small letters, as people tell identifiers apart."""
    return sql.SQL("""lower(btrim(({})::text COLLATE pg_catalog."default", {}))""").format(value, _BLANKS)


def _assigned(assignment: Assignment) -> Composable:
    conditions: list[Composable] = [sql.SQL("true")]
    if assignment.where_column is not None:
        where, values = text_by_value(Identifier("t", assignment.where_column)), list(assignment.where_values)
        conditions.append(sql.SQL("{} = ANY ({})").format(where, values))
    if not assignment.required:
        conditions.append(sql.SQL("t.{} IS NOT NULL").format(Identifier(assignment.column)))
    return sql.SQL(" AND ").join(conditions)
