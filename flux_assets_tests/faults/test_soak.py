"""Syncs and loads in one process under random faults: nothing wrong ever, and nothing that grows with their number."""

from __future__ import annotations

import gc
import os
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import psycopg
import pytest

from flux_assets.errors import FluxError
from flux_assets.layers.context import LoadOptions
from flux_assets.layers.load import load_layer
from flux_assets.ledger import runs
from flux_assets.postgis import liveness
from flux_assets.postgis.session import Target
from flux_assets.release.release import Release
from flux_assets.sync.result import SyncOptions
from flux_assets.sync.sync import sync_tables
from flux_assets.sync.table import Family
from flux_assets_tests.faults.case import Verdict
from flux_assets_tests.faults.child import SOON, SYNCED
from flux_assets_tests.faults.memory_source import MemorySource
from flux_assets_tests.faults.oracle import State, in_part
from flux_assets_tests.faults.plugin import Judged
from flux_assets_tests.faults.readers import Readers
from flux_assets_tests.faults.test_points import LOAD, SYNC
from flux_assets_tests.faults.wire import Wire, wire_to
from flux_assets_tests.faults.world import NEW, OLD, World
from flux_assets_tests.made_layers import made_up

pytestmark = pytest.mark.faults
SHARE_OF_FAULTS = 0.3
TICKS_A_LOAD = 40
TICKS_A_VACUUM = 50
AGREE = """
SELECT (SELECT sum(faults) FROM feeders) = (SELECT count(*) FROM faults WHERE state = 'OPEN'),
       (SELECT count(*) FROM feeders) >= 4
"""
CATALOGUE = """
SELECT (SELECT count(*) FROM pg_class), (SELECT count(*) FROM pg_attribute), (SELECT count(*) FROM pg_type),
       (SELECT count(*) FROM pg_depend)
"""
SIZES = "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relname IN ('pg_class', 'pg_attribute', 'pg_type')"
OURS = """
FROM pg_stat_activity WHERE application_name LIKE 'flux_assets%' AND datname = current_database()
"""
LOCKS = "SELECT count(*) FROM pg_locks WHERE pid <> pg_backend_pid() AND pid IN (SELECT pid " + OURS + ")"


class Soak:
    """One process, its source, and what can befall it."""

    def __init__(self, world: World, database: str, wire: Wire, seed: int) -> None:
        self.world = world
        self.dice = random.Random(seed)
        self.wire = wire
        self.source = MemorySource(self.dice)
        self.target = Target(conninfo=world.conninfo(database, port=wire.port))
        self.admin = psycopg.connect(world.conninfo(database, admin=True), autocommit=True, application_name="soak")
        self.before = world.states["sync"][OLD]
        self.layer = OLD
        self.verdict = Verdict(case="", fault=f"random faults, seed {seed}", next_run="synced")
        self.harmed = 0

    def tick(self, number: int) -> None:
        """A sync, harmed or not; each table is as the source is when it says so, and else as before it."""
        if self.dice.random() < 0.7:
            self.source.change(number)
        harmed = self.dice.random() < SHARE_OF_FAULTS
        with self._fault(SYNC) if harmed else nullcontext():
            failed = self._sync()
        state = self.source.state()
        self._compare(number, self._allowed(state, failed), told=f"failed for {failed}" if failed else "done")
        if not harmed and failed:
            self.verdict.notes.append(f"tick {number} failed without a fault")
        if failed and self._sync():
            self.verdict.notes.append(f"the sync after tick {number} failed without a fault")
        self._compare(number, [state], told="followed")
        self.before = state
        if number % TICKS_A_LOAD == 0:
            self._load(number)
        if number % TICKS_A_VACUUM == 0:
            # As autovacuum does it, at its own times.
            self.admin.execute("VACUUM")

    def measured(self) -> dict[str, int]:
        """What must not grow."""
        gc.collect()
        ((classes, columns, types, dependencies),) = self.admin.execute(CATALOGUE).fetchall()
        return {
            "memory": _resident_bytes(), "threads": threading.active_count(),
            "files": len(list(Path("/proc/self/fd").iterdir())),
            "sessions": self._one("SELECT count(*) " + OURS), "locks": self._one(LOCKS), "pg_class": classes,
            "pg_attribute": columns, "pg_type": types, "pg_depend": dependencies, "catalogue bytes": self._one(SIZES),
        }  # fmt: skip

    def _one(self, query: str) -> int:
        [[number]] = self.admin.execute(query).fetchall()
        return int(number or 0)

    def _allowed(self, state: State, failed: set[str]) -> list[State]:
        """A table that failed alone is as it was. Where both failed, all may have been committed, the answer lost."""
        return [self.before, state] if len(failed) == len(SYNCED) else [in_part(self.before, state, failed)]

    def _sync(self) -> set[str]:
        """The tables of which it did not say that they are as the source is."""
        names = [table.name for table in SYNCED]
        options = SyncOptions(accept_vanished=True)
        try:
            result = sync_tables(names, Family(tables=SYNCED), self.source.open, self.target, options, lambda _: None)
        except (FluxError, KeyboardInterrupt):
            return set(names)
        return set(names) if result.busy else {table.table for table in result.tables if table.error}

    def _load(self, number: int) -> None:
        """A load of the other release, harmed or not, and one after it."""
        wanted = NEW if self.layer == OLD else OLD
        file = self.world.releases[wanted]
        release = Release(str(file.parent), file.parent.name, self.world.home / "cache")

        def load() -> None:
            load_layer(made_up(), release, self.target, LoadOptions(), lambda _: None)

        with suppress(FluxError, KeyboardInterrupt), self._fault(LOAD):
            load()
        try:
            load()
        except FluxError as error:
            self.verdict.notes.append(f"the load after tick {number} failed without a fault: {error}")
        self.layer = wanted
        self.verdict.lost += self.world.states["load"][wanted].lost(self.admin)

    def _compare(self, number: int, allowed: list[State], told: str) -> None:
        lost = min(state.lost(self.admin) for state in allowed)
        self.verdict.lost += lost
        if lost:
            self.verdict.notes.append(f"{lost} rows are wrong after tick {number}, which {told}")

    @contextmanager
    def _fault(self, points: tuple[str, ...]) -> Iterator[None]:
        point, harm = self.dice.choice(points), self.dice.choice([_interrupted, _ended, _cut, _silent, _unreadable])

        reached_it: list[bool] = []

        def hook(reached: str) -> None:
            if reached == point:
                runs.hooks.remove(hook)
                reached_it.append(True)
                self.harmed += 1
                harm(self)

        runs.hooks.append(hook)
        try:
            yield
        finally:
            if not reached_it:
                runs.hooks.remove(hook)
            self.source.fails = False


def _interrupted(soak: Soak) -> None:
    raise KeyboardInterrupt


def _ended(soak: Soak) -> None:
    soak.admin.execute("SELECT pg_terminate_backend(pid, 10000) " + OURS)


def _cut(soak: Soak) -> None:
    soak.wire.cut()


def _silent(soak: Soak) -> None:
    soak.wire.silence(soak.dice.choice(["up", "down"]))


def _unreadable(soak: Soak) -> None:
    soak.source.fails = True


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_nothing_grows_and_nothing_is_wrong(
    world: World, judged: Judged, pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "LIMITS", SOON)
    ticks, seed = pytestconfig.getoption("--soak-ticks"), pytestconfig.getoption("--soak-seed")
    with world.database() as database, wire_to(world.port) as wire:
        soak = Soak(world, database, wire, seed)
        soak.verdict.case = f"{ticks} syncs and {ticks // TICKS_A_LOAD} loads in one process"
        readers = Readers(world.conninfo(database, admin=True), AGREE)
        for number in range(ticks // 3):
            soak.tick(number)
        before = soak.measured()
        for number in range(ticks // 3, ticks):
            soak.tick(number)
        after = soak.measured()
        seen, noise = readers.stop()
        soak.admin.close()
    soak.verdict.mixed = sum(times for answer, times in seen.answers.items() if answer != (True, True)) + seen.torn
    soak.verdict.wait_ms, soak.verdict.noise_ms = seen.longest_ms, noise.longest_ms
    assert soak.harmed > ticks * SHARE_OF_FAULTS / 2, "few faults prove little"
    soak.verdict.notes += [
        f"{name} grew from {before[name]:,} to {after[name]:,}"
        for name in before
        if after[name] > _bound(name, before[name])
    ]
    judged(soak.verdict)


def _bound(name: str, before: int) -> int:
    """What counts as flat: sizes by a margin, numbers by those of what may be under way at that moment."""
    if name == "memory":
        return before + (48 << 20)
    return before + 8 if name in {"threads", "files", "sessions", "locks"} else int(before * 1.15) + 64
