"""The audits of a dynamic table: its own, judged by what a sync found, and those that it shares with layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import cast

import psycopg
from psycopg import sql
from psycopg.rows import class_row
from psycopg.sql import Identifier

from flux_assets.checks.audit import Audit, AuditFinding, AuditResult, Case, Numbers, Rule, Severity
from flux_assets.checks.live_audits import all_audits_of
from flux_assets.postgis.relations import LiveTable
from flux_assets.spec import DynamicTable
from flux_assets.spec.facts import Assignment, Freshness
from flux_assets.sqlfiles import query

# Judged of layers alone, or of a synced table in another way.
_OF_LAYERS = {"columns", "row_count", "within", "geometry_present", "same_position", "main_extent", "drawable"}
# What changes although nothing was written here: judged after every sync, also one that found nothing to do or failed.
ALWAYS_JUDGED = frozenset({"lag", "recent_failures", "only_writer"})


@dataclass(frozen=True, kw_only=True)
class SyncTimes:
    """When a table's source last changed, when the table was written and checked, and the server's time now.

    `picture_at` is the instant of the source that the table shows, `token` the source's change token of then; `rows`
    and `mark` are those that the last sync left. `past` are the rows that it had one to seven days ago, and when.
    """

    layer_name: str
    rows: int
    mark: str
    token: str | None
    source_changed_at: datetime
    published_at: datetime
    picture_at: datetime
    checked_at: datetime
    now: datetime
    past: list[tuple[int, str]]

    @staticmethod
    def read(session: psycopg.Connection, schema: str, names: Sequence[str]) -> dict[str, SyncTimes]:
        """Return the times of each table that was ever synced."""
        with session.cursor(row_factory=class_row(SyncTimes)) as cursor:
            found = cursor.execute(query("lag", "sync_times"), [schema, list(names)]).fetchall()
        return {times.layer_name: times for times in found}


@dataclass(frozen=True, kw_only=True)
class SyncCase(Case):
    """A dynamic table after a sync; `promised_rows` is what the last one left, None where there is none.

    `vanished` rows of at most `allowed` were gone from the source. `missing` are columns that the source lacks, `token`
    its change token of now where that is known. `times` are None before the first sync.
    """

    layer: LiveTable
    vanished: int = 0
    allowed: float | None = None
    missing: tuple[str, ...] = ()
    token: str | None = None
    times: SyncTimes | None = None

    def past(self) -> list[tuple[int, str]]:
        """Return how many rows the table had on each of the last seven days, newest first, and when that was."""
        return [(int(rows), str(when)) for rows, when in self.times.past] if self.times else []


def sync_audits(table: DynamicTable) -> tuple[Audit, ...]:
    """Return the audits that follow from a declaration, those of severity ERROR first."""
    shared = [audit for audit in all_audits_of(table) if audit.name not in _OF_LAYERS]
    return tuple(sorted([*_own(table), *shared], key=lambda audit: (audit.severity != "ERROR", audit.name)))


def refusal(table: DynamicTable, name: str, problem: str, numbers: Numbers | None = None) -> AuditResult:
    """Return the result of an audit whose failure kept the table from being synced, or its source from being read."""
    (claim,) = (audit.description for audit in sync_audits(table) if audit.name == name)
    return AuditResult(
        name=name, passed=False, severity="ERROR", description=claim, numbers=numbers or {}, sample=(problem,)
    )


def _own(table: DynamicTable) -> Iterator[Audit]:
    complete = "The source has all columns that rows are filled from; ERROR when it cannot be read."
    yield _audit("columns", "WARN", complete, _columns)
    unchanged = "The rows are those that the last sync left, and few vanished from the source."
    yield _audit("row_count", "ERROR", unchanged, _row_count)
    limits = (table.freshness.warn, table.freshness.fail, table.freshness.still)
    warn, fail, still = (_span_in_words(limit.total_seconds()) for limit in limits)
    current = (
        f"Changes of the source are here within {warn} (WARN), at most {fail} (ERROR); and the source, looked at all"
        f" the time, has not stood still for {still} (WARN)."
    )
    yield _audit("lag", "ERROR", current, _lag)
    if any(position.same_as for position in table.positions):
        yield _audit("within", "WARN", "Every row has a position on the map: degrees, in range, not 0, 0.", _within)
    if _lookups(table):
        yield _audit("derived", "WARN", "Rows are found in the tables that their columns are computed from.", _derived)


def _audit(name: str, severity: Severity, description: str, judge: Callable[[SyncCase], AuditFinding]) -> Audit:
    return Audit(name, severity, description, cast("Callable[[Case], AuditFinding]", judge))


def _columns(case: SyncCase) -> AuditFinding:
    table = case.layer.table
    tried = {column.target: ", ".join(column.names) for column in table.source_columns}
    return AuditFinding(
        numbers={"columns": len(table.source_filled), "missing": len(case.missing)},
        sample=[
            f"{name} is {table.without_source(name)}: {table.source} has no {tried.get(name, name)}"
            for name in case.missing
        ],
        sql=sql.SQL("-- in Snowflake\nDESCRIBE TABLE {}").format(sql.SQL(table.source)),
    )


def _row_count(case: SyncCase) -> AuditFinding:
    numbers: Numbers = {"rows": case.rows, "vanished": case.vanished}
    if case.allowed is not None:
        numbers["allowed_to_vanish"] = int(case.allowed)
    if case.promised_rows in {None, case.rows}:
        return AuditFinding(numbers=numbers)
    problem = f"the last sync left {case.promised_rows:,} rows; others have written the table since"
    return AuditFinding(
        numbers={**numbers, "rows_of_last_sync": case.promised_rows or 0}, sample=[problem], sql=case.counting
    )


def _lag(case: SyncCase) -> AuditFinding:
    """Judge how far the table is behind its source, by its times and the source's change token of now."""
    shown = query("lag", "last_runs").format(case.layer.schema, case.layer.name)
    if case.times is None:
        return AuditFinding(severity="ERROR", sample=["the table was never synced"], sql=shown)
    times, freshness = case.times, case.layer.table.freshness
    current = case.token is not None and case.token == times.token
    lag = 0.0 if current else _seconds(times.picture_at, times.now)
    still = _seconds(times.source_changed_at, times.now if current else times.picture_at)
    severity, problem = _judged(freshness, lag, still)
    numbers: Numbers = {
        "lag_seconds": lag,
        "lag_is": "none: the source's change token is that of the last sync"
        if current
        else "at most this, the age of the picture that the table shows",
        "source_stood_still_seconds": still,
        "warn_seconds": freshness.warn.total_seconds(),
        "fail_seconds": freshness.fail.total_seconds(),
        "still_seconds": freshness.still.total_seconds(),
        "source_changed_at": times.source_changed_at.isoformat(timespec="seconds"),
        "checked_at": times.checked_at.isoformat(timespec="seconds"),
        "published_at": times.published_at.isoformat(timespec="seconds"),
    }
    return AuditFinding(severity=severity, numbers=numbers, sample=problem, sql=shown)


def _judged(freshness: Freshness, lag: float, still: float) -> tuple[Severity, list[str]]:
    """Return the severity, and what is wrong where something is."""
    behind = [f"changes of the source of the last {_span_in_words(lag)} may be missing"]
    if lag > freshness.fail.total_seconds():
        return "ERROR", behind
    if lag > freshness.warn.total_seconds():
        return "WARN", behind
    if still > freshness.still.total_seconds():
        return "WARN", [f"the source was looked at and has not changed for {_span_in_words(still)}"]
    return "ERROR", []


def _seconds(since: datetime, until: datetime) -> float:
    """Return the seconds between; never negative, although the source's clock may differ."""
    return round(max(0.0, (until - since).total_seconds()), 1)


def _within(case: SyncCase) -> AuditFinding:
    rules, kinds = [], []
    for position in case.layer.table.positions:
        if position.same_as:
            x, y = Identifier("t", position.longitude), Identifier("t", position.latitude)
            kind = query("sync_audits", "kind_of_position").format(x=x, y=y)
            reason = "concat({kind}, ' (', coalesce({x}::text, 'NULL'), ' ', coalesce({y}::text, 'NULL'), ')')"
            rule = Rule.of("{point} IS NULL", reason, point=Identifier("t", position.same_as), kind=kind, x=x, y=y)
            rules.append(rule)
            rows = sql.SQL("SELECT {} AS kind FROM {} AS t WHERE {}")
            kinds.append(rows.format(kind, case.own_rows, rule.condition))
    found = case.rows_breaking(rules)
    if found.passed:
        return found
    counted = query("sync_audits", "count_by_kind").format(sql.SQL(" UNION ALL ").join(kinds))
    return replace(found, numbers={**found.numbers, **dict(case.connection.execute(counted).fetchall())})


def _lookups(table: DynamicTable) -> dict[tuple[str, str, str], bool]:
    """Return origin, column here and column there of what is looked up; counting finds none as well as many.

    True where it is looked up by a key: those tables are small enough to be searched for what was meant.
    """
    found = [d for d in table.derived if d.function != "count"]
    by_key = {(d.from_table, d.here, d.there) for d in found if d.function == "any"}
    return {way: way in by_key for way in dict.fromkeys((d.from_table, d.here, d.there) for d in found)}


def _derived(case: SyncCase) -> AuditFinding:
    numbers: Numbers = {"rows": case.rows}
    findings = []
    for (origin, here, there), by_key in _lookups(case.layer.table).items():
        way = Assignment(column=here, to_table=origin, to_column=there, required=True)
        finding = case.strays(way) if by_key else None
        finding = finding or case.rows_breaking([_unfound(case, origin, here, there)])
        count = int(finding.numbers["offending_rows"])
        numbers |= {f"found_in_{origin}": case.rows - count}
        numbers |= {f"not_in_{origin}": count, f"share_not_in_{origin}": round(count / max(1, case.rows), 4)}
        findings.append(finding)
    listings = [finding.sql for finding in findings if not finding.passed]
    sample = [key for finding in findings for key in finding.sample]
    return AuditFinding(numbers=numbers, sample=sample, sql=sql.SQL(";\n").join(listings))


def _unfound(case: SyncCase, origin: str, here: str, there: str) -> Rule:
    rows = case.rows_of(origin)
    if rows is None:
        return Rule.of("true", "{claim}", claim=f"there is no table {origin}")
    condition, reason = "NOT EXISTS (SELECT FROM {rows} AS o WHERE {same})", "{claim} || coalesce({here}::text, 'NULL')"
    same, claim = case.matches_row_of(here, origin, there), f"not in {origin}: {here} "
    return Rule.of(condition, reason, rows=rows, same=same, here=Identifier("t", here), claim=claim)


def _span_in_words(seconds: float) -> str:
    """Write a span of time in the largest unit of which it has two or more: `90 minutes`, `3 days`."""
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
