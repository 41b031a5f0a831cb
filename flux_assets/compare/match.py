"""Whether two sets of rows are the same, and where they differ.

First both sides are digested: a row count and the sum of a 64-bit hash of each row, one pass in any order and in no
memory. Only when two digests differ are the rows joined.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import psycopg
from psycopg import IsolationLevel, sql

from flux_assets.checks.audit import AuditResult, Numbers, Severity
from flux_assets.postgis import relations
from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.relations import by_value, same_by_value
from flux_assets.postgis.session import Target, prepare
from flux_assets.spec import Declaration
from flux_assets.sqlfiles import query

MATCHES_RELEASE = "matches_release"
MATCHES_SOURCE = "matches_source"
CLAIMS = {
    MATCHES_RELEASE: "Every row is, byte for byte, what the release file of the published version says.",
    MATCHES_SOURCE: "Every row is what the rule says of the rows in Snowflake, computed columns included.",
}

_Kind = Literal["changed", "missing", "extra"]
_KINDS: tuple[_Kind, ...] = ("changed", "missing", "extra")
_DIFFERING = sql.Identifier("pg_temp", "flux_differing")
_LOCK_WAIT = "SET lock_timeout = '10s'"


@contextmanager
def comparing(target: Target, origin: str, stop: Stop) -> Iterator[psycopg.Connection]:
    """Open a session whose transactions read as of one snapshot each, and wait for nobody's lock without end."""
    with target.session(f"match with the {origin}", stop) as session:
        session.isolation_level = IsolationLevel.REPEATABLE_READ
        session.execute(_LOCK_WAIT)
        prepare(session, target.schema)
        yield session


@dataclass(frozen=True, kw_only=True)
class Match:
    """What a comparison found; `counts`, `named` and `sql` are filled only where the digests differ.

    A digest is a number of rows and the sum of their hashes. `named` are the first rows of each kind, by their names;
    of a changed one with what differs.
    """

    expected: tuple[int, str]
    actual: tuple[int, str]
    counts: Mapping[_Kind, int] = field(default_factory=dict)
    named: Mapping[_Kind, tuple[str, ...]] = field(default_factory=dict)
    sql: str = ""

    @property
    def sample(self) -> tuple[str, ...]:
        """The named rows, each with its kind."""
        return tuple(f"{kind} {row}" for kind, rows in self.named.items() for row in rows)

    @property
    def same(self) -> bool:
        """Tell whether both sides hold the same rows."""
        return self.expected == self.actual

    def numbers(self, source: str) -> Numbers:
        """Return the figures for a check; `source` names the expected side."""
        (rows, total), (expected_rows, expected_total) = self.actual, self.expected
        found: Numbers = {"rows": rows, f"rows_in_{source}": expected_rows}
        found |= {kind: self.counts.get(kind, 0) for kind in _KINDS}
        return found | {"digest": f"{rows}:{total}", f"digest_of_{source}": f"{expected_rows}:{expected_total}"}


def judged(
    check: str,
    numbers: Numbers,
    note: str,
    *,
    severity: Severity = "ERROR",
    found: Match | None = None,
    sample: tuple[str, ...] = (),
) -> AuditResult:
    """Return the result of a check: what was `found`, or a `sample` of why the rows were not compared."""
    return AuditResult(
        name=check,
        passed=found is not None and found.same,
        severity=severity,
        description=f"{CLAIMS[check]} {note}".strip(),
        numbers=numbers,
        sample=found.sample if found else sample,
        sql=found.sql if found else "",
    )


class Place(NamedTuple):
    """Where a row is that differs, in degrees."""

    kind: _Kind
    longitude: float
    latitude: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What a table should hold (`expected`) and what it holds (`actual`), both FROM items with the `columns`.

    `exact` compares the bytes of every value; else values are equal as the operator = defines, shapes by their bytes.
    `keyed` says that no two rows of either side share a key; otherwise rows are told apart by all that they hold, and
    a changed one counts as one missing and one extra.
    """

    table: Declaration
    expected: sql.Composable
    actual: sql.Composable
    columns: tuple[str, ...]
    exact: bool
    keyed: bool

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that name a row: its key, or its first two columns where it has none."""
        return self.table.key or self.table.column_names[:2]

    def match(self, session: psycopg.Connection) -> Match:
        """Compare both sides as the session's transaction sees them."""
        expected, actual = self._digest(session, self.expected), self._digest(session, self.actual)
        if expected == actual:
            return Match(expected=expected, actual=actual)
        session.execute(self._difference())
        counted = sql.SQL("SELECT flux_kind, count(*) FROM {} GROUP BY flux_kind").format(_DIFFERING)
        rows = {kind: session.execute(self._sample_of(kind)).fetchall() for kind in _KINDS}
        reasons = session.execute(self._explanation()).fetchall() if rows["changed"] else []
        named = {kind: tuple(map(_named, rows[kind])) for kind in _KINDS}
        named["changed"] = tuple(f"{row}: {why}" for row, (why,) in zip(named["changed"], reasons, strict=True))
        shown = [_is_row(self.names, row) for row in (*rows["changed"], *rows["extra"])]
        listing = sql.SQL("SELECT * FROM {} WHERE {}").format(self.actual, sql.SQL(" OR ").join(shown))
        return Match(
            expected=expected,
            actual=actual,
            counts=dict(session.execute(counted).fetchall()),
            named=named,
            sql=listing.as_string(session) if shown else "",  # the table lacks all of them
        )

    def changed_columns(self, session: psycopg.Connection) -> dict[str, int]:
        """Return in how many changed rows each column differs, those of 0 left out; once `match` found a difference.

        It belongs into the same transaction, and so does `places`.
        """
        columns = [name for name in self.columns if name not in self.table.key]
        counted = [sql.SQL("count(*) FILTER (WHERE {})").format(self._differs(name)) for name in columns]
        if not counted:
            return {}
        counting = query("match", "changed_columns").format(
            counts=sql.SQL(", ").join(counted), **self._sides("changed")
        )
        (counts,) = session.execute(counting)
        return {name: count for name, count in zip(columns, counts, strict=True) if count}

    def places(self, session: psycopg.Connection, feature: sql.Composable, most: int) -> list[Place]:
        """Return where rows are that differ, of each kind at most so many, spread evenly; `feature` is drawn."""
        found = []
        for kind in _KINDS:
            placing = query("match", "places").format(
                feature=feature, names=relations.names(self.names), most=sql.Literal(most), **self._sides(kind)
            )
            found += [Place(kind, *place) for place in session.execute(placing)]
        return found

    def _sides(self, kind: _Kind) -> dict[str, sql.Composable]:
        return {
            "rows": _DIFFERING,
            "kind": sql.Literal(kind),
            "expected": self.expected,
            "actual": self.actual,
            "side": self.expected if kind == "missing" else self.actual,
            "same": same_by_value(self.table.table, self.names, "d", "t"),
            "same_expected": same_by_value(self.table.table, self.names, "d", "e"),
            "same_actual": same_by_value(self.table.table, self.names, "d", "a"),
        }

    def _digest(self, session: psycopg.Connection, rows: sql.Composable) -> tuple[int, str]:
        digested = sql.SQL("SELECT count(*), coalesce(sum({}), 0)::text FROM {} AS t").format(self._hash("t"), rows)
        ((count, total),) = session.execute(digested)
        return count, total

    def _hash(self, alias: str) -> sql.Composed:
        """Return a row's hash; `record_send` gives the bytes of all values, with NULL apart from the empty string."""
        if self.exact:
            values = _bytes(self.columns, alias)
        else:
            values = sql.SQL(", ").join(self._comparable(name, alias) for name in self.columns)
        return sql.SQL("hash_record_extended(ROW({}), 0)").format(values)

    def _comparable(self, name: str, alias: str) -> sql.Composable:
        """Return what equals another value when the values do: bytes of a shape, for which PostGIS has no such hash."""
        column = self.table.table.columns[name]
        if self.exact or column in self.table.spatial_columns:
            return _bytes([name], alias)
        return by_value(sql.Identifier(alias, name), column)

    def _difference(self) -> sql.Composed:
        if self.keyed:
            number: sql.Composable = sql.SQL("1")
            same: sql.Composable = same_by_value(self.table.table, self.table.key, "e", "a")
        else:
            number = sql.SQL("row_number() OVER (PARTITION BY {})").format(self._hash("t"))
            same = sql.SQL("e.flux_hash = a.flux_hash AND e.flux_number = a.flux_number")
        side = sql.SQL("SELECT {}, {} AS flux_hash, {} AS flux_number FROM {} AS t")
        expected, actual = (
            side.format(relations.names(self.names), self._hash("t"), number, rows)
            for rows in (self.expected, self.actual)
        )
        named = [sql.SQL("coalesce(e.{c}, a.{c}) AS {c}").format(c=sql.Identifier(name)) for name in self.names]
        named_all = sql.SQL(", ").join(named)
        return query("match", "difference").format(
            into=_DIFFERING, named=named_all, expected=expected, actual=actual, same=same
        )

    def _sample_of(self, kind: _Kind) -> sql.Composed:
        """Return a query for the names of some rows of a kind, as text, in the order of the names."""
        as_text = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name in self.names)
        return sql.SQL("SELECT {} FROM ({}) AS d").format(as_text, self._first(kind))

    def _first(self, kind: _Kind) -> sql.Composed:
        return query("match", "first").format(
            rows=_DIFFERING, kind=kind, names=relations.names(self.names), most=AuditResult.SAMPLE_KEYS
        )

    def _explanation(self) -> sql.Composed:
        """Return a query for what differs in each sampled changed row, in their order; shapes are not shown."""
        differences = [self._describe_difference(name) for name in self.columns if name not in self.table.key]
        return query("match", "explanation").format(
            differences=sql.SQL(", ").join(differences),
            first=self._first("changed"),
            **self._sides("changed"),
            order=sql.SQL(", ").join(sql.Identifier("d", name) for name in self.names),
        )

    def _differs(self, name: str) -> sql.Composed:
        return sql.SQL("{} IS DISTINCT FROM {}").format(self._comparable(name, "a"), self._comparable(name, "e"))

    def _describe_difference(self, name: str) -> sql.Composed:
        differs = self._differs(name)
        if self.table.table.columns[name] in self.table.spatial_columns:
            return sql.SQL("CASE WHEN {} THEN {} END").format(differs, sql.Literal(name))
        values = sql.Identifier("a", name), sql.Identifier("e", name)
        shown = "CASE WHEN {} THEN format('%s is %L, not %L', {}, left({}::text, 60), left({}::text, 60)) END"
        return sql.SQL(shown).format(differs, sql.Literal(name), *values)


def _bytes(columns: Sequence[str], alias: str) -> sql.Composed:
    return sql.SQL("record_send(ROW({}))").format(sql.SQL(", ").join(sql.Identifier(alias, name) for name in columns))


def _named(row: Sequence[str | None]) -> str:
    return " ".join(part for part in row if part is not None)


def _is_row(names: Sequence[str], values: Sequence[str | None]) -> sql.Composed:
    parts = (
        sql.SQL("{} IS NULL").format(sql.Identifier(name))
        if value is None
        else sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(value))
        for name, value in zip(names, values, strict=True)
    )
    return sql.SQL("({})").format(sql.SQL(" AND ").join(parts))
