"""The check `matches_release` beside the load of the same layer.

Here: both in turn over one file, the check with the table as it was loaded and with a few rows edited. Not here: the
load's own ratios (buildings.py).
"""

from __future__ import annotations

from functools import partial

import psycopg
from psycopg import sql

from bench import ours
from bench.ground import Ground
from bench.results import Section
from bench.timing import Runs, Side, Spread, alternated, cpu, seconds
from flux_assets.checks.audit import AuditResult
from flux_assets.compare.release import match_release
from flux_assets.postgis.connect import Stop, Target
from flux_assets.release.release import Release
from flux_assets.spec import StaticTable

LOAD, SAME, EDITED = "load", "check, nothing differs", "check, three rows differ"
_EDITS = (
    "UPDATE {table} SET {column} = 'edited' WHERE {key} IN (SELECT {key} FROM {table} ORDER BY {key} LIMIT 1)",
    "DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM {table} ORDER BY {key} DESC LIMIT 1)",
    "INSERT INTO {table} ({key}) VALUES ('edited')",
)


def measure(ground: Ground, table: StaticTable, release: Release, pairs: int) -> Section:
    """Load and check a layer again and again, in two databases: one as it was loaded, one with rows edited."""
    same, edited = (ground.fresh_database(name) for name in ("bench_same", "bench_edited"))
    for target in (same, edited):
        ours.load(table, release, target)
    _edit(table, edited)
    sides = [
        Side(name=LOAD, run=lambda: ours.load(table, release, same).seconds, ready=ground.settle),
        Side(name=SAME, run=partial(_check, table, release, same, 0), ready=ground.settle),
        Side(name=EDITED, run=partial(_check, table, release, edited, 3), ready=ground.settle),
    ]
    runs = alternated(sides, pairs, ground)
    return Section(
        title=f"matches_release of {table.name} beside its load, {pairs} rounds in turn",
        columns=["what", "seconds", "it / load", "CPU s, client + server"],
        rows=[[side.name, seconds(runs[side.name]).text(), _share(runs, side.name), cpu(runs[side.name])]
              for side in sides],
        goals=[],
        notes=["the check decodes the whole file into a temporary table and digests both sides; the keys that differ"
               " are sought only when the digests do"],
        values={name: [vars(run) for run in found] for name, found in runs.items()},
    )  # fmt: skip


def _edit(table: StaticTable, target: Target) -> None:
    (key,) = table.key
    column = next(name for name in table.column_names if name != key)
    named = {"table": sql.Identifier(target.schema, table.name), "key": sql.Identifier(key),
             "column": sql.Identifier(column)}  # fmt: skip
    with psycopg.connect(target.conninfo, autocommit=True) as session:
        for edit in _EDITS:
            session.execute(sql.SQL(edit).format(**named))


def _check(table: StaticTable, release: Release, target: Target, differing: int) -> None:
    ((_, outcome),) = match_release([table], release, target, Stop(), ours.quiet)
    if not isinstance(outcome, AuditResult):
        raise outcome
    found = sum(int(outcome.numbers[kind]) for kind in ("changed", "missing", "extra"))
    if found != differing:
        raise AssertionError(f"{found} rows differ, not {differing}: {outcome.sample}")


def _share(runs: Runs, name: str) -> str:
    pairs = zip(runs[name], runs[LOAD], strict=True)
    return Spread(tuple(one.seconds / load.seconds for one, load in pairs)).text()
