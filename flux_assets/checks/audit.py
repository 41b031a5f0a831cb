"""The vocabulary of audits: a claim about a table, the case it is judged on, what was found.

Not here: the claims (blocking.py and the modules named there), running them (audits.py), Dagster's asset checks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

import psycopg
from psycopg import sql

from flux_assets.errors import LONGEST_REPORT, bounded
from flux_assets.postgis.catalog import Shape
from flux_assets.postgis.names import PublicTable
from flux_assets.postgis.own_rows import own_rows

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
        # Keys and values are as long as somebody made them, and samples are logged, stored and shown.
        object.__setattr__(self, "sample", tuple(bounded(each, LONGEST_REPORT) for each in self.sample))

    def as_json(self) -> dict[str, object]:
        """For the register; `from_json` reads it back."""
        return asdict(self)

    @staticmethod
    def from_json(stored: Mapping[str, object]) -> AuditResult:
        """A result as the register kept it."""
        return AuditResult(**{**stored, "sample": tuple(stored["sample"])})  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class AuditFinding:
    """What a judge says; the audit adds its name, and its severity where the judge has none of its own."""

    passed: bool
    numbers: Numbers = field(default_factory=dict)
    sample: tuple[str, ...] = ()
    sql: str = ""
    severity: Severity | None = None


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is judged: `relation` (a staged version, or the public table) of a table, with `rows` rows.

    `promised_rows` (by the manifest, or the register) and `published_rows` are None where unknown; of those promised,
    `quarantined_rows` were refused and set aside. `decoded` says
    that the decoder has proven of every row that its coordinates are finite and in range; `present` are the spatial
    columns of which it has seen that every row has a geometry that is not empty. `staged` are versions of other tables
    that are published together with this one. With `alone`, the relation has no partitions, and tables that inherit
    from it are none of its own. `shape` is the relation as it stands, where that is known.
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

    @property
    def own_rows(self) -> sql.Composable:
        """The rows that are judged, for FROM."""
        return own_rows(self.relation) if self.alone else self.relation

    @property
    def sampled(self) -> bool:
        """Whether warnings judge a random sample instead of every row."""
        return self.rows > SAMPLED_ROWS

    @property
    def judged(self) -> str:
        """Which rows warnings judge, in words."""
        return f"about {SAMPLED_ROWS:,} random rows of {self.rows:,}" if self.sampled else f"all {self.rows:,} rows"

    @property
    def counting(self) -> str:
        """The query that counts the rows."""
        return sql.SQL("SELECT count(*) FROM {}").format(self.own_rows).as_string(self.connection)

    @property
    def judged_rows(self) -> sql.Composed:
        """A FROM item for warnings, named t: every row, or about 200,000 random ones of a larger table."""
        return self.random_rows(SAMPLED_ROWS)

    def random_rows(self, count: int) -> sql.Composed:
        """A FROM item named t: about `count` random rows, or all where there are not more."""
        if self.rows <= count:
            return sql.SQL("{} AS t").format(self.own_rows)
        percent = sql.Literal(round(100 * count / self.rows, 4))
        return sql.SQL("{} AS t TABLESAMPLE SYSTEM ({})").format(self.own_rows, percent)


@dataclass(frozen=True, kw_only=True)
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
            name=self.name, severity=found.severity or self.severity, description=self.description,
            passed=found.passed, numbers=found.numbers, sample=found.sample, sql=found.sql,
        )  # fmt: skip
