"""Publishing under live readers: what they see, how long they wait, how long the locks are held.

Here: the same table published again and again, our way and the published way, while seven kinds of readers read.
Not here: a reader (reader.py).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median

import psycopg

from bench import ours, published
from bench.ground import Ground, first_rows, rows_of
from bench.results import Goal, Section
from flux_assets.postgis.connect import Target
from flux_assets.release.release import Release
from flux_assets.settings import REPOSITORY
from flux_assets.spec import StaticTable

KINDS = ("count", "snapshot", "prepared", "view", "function", "select_only", "key")
MOST_ROWS = 500_000
MOST_LOCKED_MS = 20.0
MOST_BLOCKED_MS = 100.0
_LOCKED = re.compile(r"locked for ([\d.]+) ms")


@dataclass
class Phase:
    """A span of time in which one thing was done, and what the readers noted in it."""

    name: str
    begun: float
    ended: float = 0.0
    publishes: int = 0
    locked_ms: list[float] = field(default_factory=list)
    notes: dict[str, list[tuple[float, float, object]]] = field(default_factory=dict)

    def take(self, notes: Mapping[str, list[tuple[float, float, object]]]) -> None:
        """Keep the notes that fall into the phase."""
        self.notes = {kind: [n for n in found if self.begun <= n[0] <= self.ended] for kind, found in notes.items()}

    def reads(self) -> Iterator[tuple[str, float, object]]:
        """Kind, milliseconds and answer of every read."""
        for kind in KINDS:
            yield from ((kind, took * 1000, answer) for _, took, answer in self.notes.get(kind, []))

    def errors(self) -> list[str]:
        return [answer for _, _, answer in self.reads() if isinstance(answer, str)]

    def wrong(self, allowed: set[int]) -> int:
        """Answers that are no version's count of rows, or a known key that was not found."""
        return sum(
            isinstance(answer, int) and answer not in ({1} if kind == "key" else allowed)
            for kind, _, answer in self.reads()
        )

    def longest(self, kinds: tuple[str, ...] = KINDS) -> float:
        return max((took for kind, took, _ in self.reads() if kind in kinds), default=0.0)

    def seen_locked(self) -> list[float]:
        """Milliseconds for which an exclusive lock was seen from outside, each time; looks are about 0.5 ms apart."""
        spans: list[list[float]] = []
        for at, took, _ in self.notes.get("locks", []):
            if spans and at - spans[-1][1] < 0.02:
                spans[-1][1] = at + took
            else:
                spans.append([at, at + took])
        return [(end - start) * 1000 for start, end in spans]


def measure(ground: Ground, table: StaticTable, release: Release, publishes: int) -> Section:
    """Publish two versions in turn under readers, then let the published way replace the table under them."""
    rows = min(MOST_ROWS, round((rows_of(release, table) or MOST_ROWS) * 0.9))
    parts = [first_rows(release, table, count, f"readers-{count}") for count in (rows, rows - 1000)]
    allowed = {rows, rows - 1000}
    phases = [*_ours(ground, table, parts, publishes), *_published(ground, table, parts)]
    publishing = phases[2]
    return Section(
        title=f"{table.name}, {rows:,} rows, a user's index on it, published under {len(KINDS)} kinds of readers",
        columns=[
            "while", "publishes", "reads", "wrong", "errors", "longest read ms", "longest look-up by key ms",
            "median look-up ms", "locked ms (its own clock)", "locked ms (seen from outside)",
        ],
        rows=[_row(phase, allowed) for phase in phases],
        goals=_goals(phases[1:3], publishing, allowed),
        notes=[
            f"readers: {', '.join(KINDS)}; each its own process and connection; a count takes tens of milliseconds of"
            " CPU by itself, the look-up by key shows waiting best",
            *_error_notes(phases),
        ],
        values={phase.name: _values(phase) for phase in phases},
    )  # fmt: skip


def _ours(ground: Ground, table: StaticTable, parts: list[Release], publishes: int) -> list[Phase]:
    target = ground.fresh_database("bench_ours")
    logged: list[str] = []
    ours.load(table, parts[0], target)
    key = _dress(ground, table, target)
    ours.load(table, parts[1], target)
    with _readers(target, table, key) as phases:
        with _phase(phases, "nothing happens"):
            time.sleep(10)
        with _phase(phases, "ours: loads, staged anew each time") as loads:
            loads.publishes = 4
            for number in range(loads.publishes):
                ours.load(table, parts[number % 2], target, log=logged.append)
        loads.locked_ms, logged = _locked(logged), []
        with _phase(phases, "ours: publishes of kept versions") as swaps:
            swaps.publishes = publishes
            for number in range(swaps.publishes):
                ours.load(table, parts[number % 2], target, force=False, log=logged.append)
                time.sleep(0.5)
        swaps.locked_ms = _locked(logged)
        if len(swaps.locked_ms) != publishes:
            raise RuntimeError(f"{publishes} publishes were asked for, {len(swaps.locked_ms)} happened")
    return phases


def _published(ground: Ground, table: StaticTable, parts: list[Release]) -> list[Phase]:
    target = ground.fresh_database("bench_published")
    published.load(table, parts[0], target)
    key = _dress(ground, table, target)
    with _readers(target, table, key) as phases, _phase(phases, "published way: loads") as loads:
        loads.publishes = 3
        for number in range(loads.publishes):
            published.load(table, parts[(number + 1) % 2], target)
            time.sleep(0.5)
    return phases


def _dress(ground: Ground, table: StaticTable, target: Target) -> str:
    """What users have on a table: an index, a view, a function, a role that may read it; and another table."""
    plain = [column.name for column in table.columns if column.name not in table.key and column not in
             table.spatial_columns][:2]  # fmt: skip
    with ground.cluster.admin_session() as admin:
        if admin.execute("SELECT 1 FROM pg_roles WHERE rolname = 'bench_reader'").fetchone() is None:
            admin.execute("CREATE ROLE bench_reader")
            admin.execute("GRANT bench_reader TO flux")
    with psycopg.connect(target.conninfo, autocommit=True) as session:
        for statement in (
            f"CREATE INDEX ON {table.name} ({', '.join(plain)})",
            f"CREATE VIEW bench_view AS SELECT * FROM {table.name}",
            f"CREATE FUNCTION bench_function() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM"
            f" {table.name}; END",
            f"GRANT SELECT ON {table.name} TO bench_reader",
            "CREATE TABLE bench_other AS SELECT 1 AS one",
        ):
            session.execute(statement.encode())
        row = session.execute(f"SELECT min({table.key[0]}) FROM {table.name}".encode()).fetchone()
    return str(row[0]) if row else ""


@contextmanager
def _readers(target: Target, table: StaticTable, key: str) -> Iterator[list[Phase]]:
    """Readers run while the block runs; the phases that it adds get their notes at its end."""
    phases: list[Phase] = []
    environment = dict(os.environ) | {"FLUX_BENCH_TARGET": target.conninfo}
    processes = {
        kind: subprocess.Popen(
            [sys.executable, "-m", "bench.reader", kind, table.name, table.key[0], key],
            env=environment, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for kind in (*KINDS, "locks")
    }  # fmt: skip
    try:
        time.sleep(2)
        yield phases
    finally:
        said = {kind: process.communicate()[0] for kind, process in processes.items()}
    notes = {kind: [tuple(note) for note in json.loads(text)] for kind, text in said.items()}
    for phase in phases:
        phase.take(notes)


@contextmanager
def _phase(phases: list[Phase], name: str) -> Iterator[Phase]:
    phase = Phase(name, time.monotonic())
    phases.append(phase)
    yield phase
    phase.ended = time.monotonic()


def _locked(logged: list[str]) -> list[float]:
    return [float(found[1]) for line in logged if (found := _LOCKED.search(line))]


def _row(phase: Phase, allowed: set[int]) -> list[str]:
    look_ups = [took for kind, took, _ in phase.reads() if kind == "key"]
    return [
        phase.name,
        str(phase.publishes),
        f"{sum(1 for _ in phase.reads()):,}",
        str(phase.wrong(allowed)),
        str(len(phase.errors())),
        f"{phase.longest():.0f}",
        f"{phase.longest(('key',)):.1f}",
        f"{median(look_ups):.1f}" if look_ups else "",
        _summary(phase.locked_ms),
        _summary(phase.seen_locked()),
    ]


def _summary(values: list[float]) -> str:
    return f"{median(values):.1f} (max {max(values):.1f})" if values else ""


def _goals(loading: list[Phase], publishing: Phase, allowed: set[int]) -> list[Goal]:
    wrong, errors = sum(phase.wrong(allowed) for phase in loading), sum(len(phase.errors()) for phase in loading)
    locked = max(max(phase.locked_ms) for phase in loading)
    blocked = publishing.longest(("key",))
    count = sum(phase.publishes for phase in loading)
    return [
        Goal(claim=f"wrong answers to readers, {count} publishes", wanted="0", measured=str(wrong), met=not wrong),
        Goal(claim=f"errors to readers, {count} publishes", wanted="0", measured=str(errors), met=not errors),
        Goal(
            claim="locks held by a publish, longest", wanted=f"≤ {MOST_LOCKED_MS:.0f} ms",
            measured=f"{locked:.1f} ms", met=locked <= MOST_LOCKED_MS,
        ),
        Goal(
            claim="longest look-up while versions are swapped", wanted=f"≤ {MOST_BLOCKED_MS:.0f} ms",
            measured=f"{blocked:.1f} ms", met=blocked <= MOST_BLOCKED_MS,
        ),
    ]  # fmt: skip


def _error_notes(phases: list[Phase]) -> list[str]:
    notes = []
    for phase in phases:
        found = phase.errors()
        notes += [f"{phase.name}: {found.count(text)} times: {text}" for text in sorted(set(found))[:5]]
    return notes


def _values(phase: Phase) -> dict[str, object]:
    reads = {kind: {"reads": len(phase.notes[kind]), "longest_ms": phase.longest((kind,))} for kind in KINDS}
    return {"locked_ms": phase.locked_ms, "seen_locked_ms": phase.seen_locked(), **reads}
