"""Dagster's commands, `flux-assets` and the schedule: two at once, killed half-way, and without Dagster's database."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import dagster as dg
import psycopg
import pytest
from psycopg import sql

from flux_assets.definitions import defs
from flux_assets.sample.cluster import OWNER
from flux_assets.settings import REPOSITORY, load_settings
from flux_assets_tests.faults import programs
from flux_assets_tests.faults.case import Verdict
from flux_assets_tests.faults.plugin import Judged
from flux_assets_tests.faults.programs import Program
from flux_assets_tests.faults.readers import Readers
from flux_assets_tests.faults.world import BARE, World, add_control
from flux_assets_tests.made_up import write_one_row
from flux_assets_tests.sample_cities import folder as sample_city

pytestmark = pytest.mark.faults
WORKING = """
SELECT count(*) > 0 FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE 'flux_assets %%' AND application_name LIKE %s
"""
RUNNING = "SELECT count(*) FROM postgres_sync.sync_status WHERE status = 'RUNNING' AND layer_name = %s"
ROWS = "SELECT count(*) FROM substations"


class Site:
    """A database with one published version and one kept, a history of Dagster's runs, and the settings for both."""

    def __init__(self, world: World, name: str, history: str, folder: Path) -> None:
        self.world, self.name, self.history, self.folder = world, name, history, folder
        self.environment = os.environ | {
            "FLUX_POSTGRES_URL": world.cluster.url(name), "DAGSTER_POSTGRES_URL": world.cluster.url(history),
            "FLUX_RELEASE": str(folder), "SNOWFLAKE_ACCOUNT": "stand-in", "DAGSTER_HOME": str(REPOSITORY),
        }  # fmt: skip
        self.admin = psycopg.connect(world.conninfo(name, admin=True), autocommit=True, application_name="site")

    def program(self, command: tuple[str, ...]) -> Program:
        return Program(command, self.environment)

    def done(self, command: tuple[str, ...], verdict: Verdict) -> None:
        """Run a command that has to end well."""
        code, printed = self.program(command).end()
        verdict.hung = verdict.hung or ("" if code is not None else " ".join(command))
        if code != 0:
            verdict.notes.append(f"{' '.join(command[:3])} ended with {code}: {printed[-600:]}")

    @contextmanager
    def held_up(self, table: str, mode: str) -> Iterator[None]:
        """Nothing can be published or written while the block runs: somebody's transaction is in the way."""
        with psycopg.connect(self.world.conninfo(self.name, admin=True)) as other:
            other.execute(sql.SQL("LOCK TABLE {} IN {} MODE").format(sql.Identifier(table), sql.SQL(mode)))
            yield
            other.rollback()

    def is_at_work(self, what: str) -> bool:
        [[found]] = self.admin.execute(WORKING, [f"%{what}%"]).fetchall()
        return bool(found)

    def change_release(self) -> None:
        """Let the release hold another row, and as many."""
        file = self.folder / "substations.csv.gz"
        file.write_bytes(gzip.compress(gzip.decompress(file.read_bytes()).replace(b"A1", b"B2")))

    def running(self, table: str) -> int:
        with suppress(psycopg.errors.UndefinedTable):
            [[count]] = self.admin.execute(RUNNING, [table]).fetchall()
            return int(count)
        return 0


@pytest.fixture
def site(world: World, tmp_path: Path) -> Iterator[Site]:
    name, history = f"site_{uuid4().hex[:8]}", f"history_{uuid4().hex[:8]}"
    write_one_row(tmp_path / "release", _table("substations"))
    with world.cluster.admin_session() as admin:
        for database, template in ((name, BARE), (history, "template1")):
            create = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}")
            admin.execute(create.format(*map(sql.Identifier, (database, template, OWNER))))
    add_control(world.conninfo(name))
    site = Site(world, name, history, tmp_path / "release")
    yield site
    site.admin.close()
    world.drop(name)
    world.drop(history)


@contextmanager
def judging(site: Site, case: str, fault: str) -> Iterator[Verdict]:
    """Load once; readers count rows while the block runs, and there is one, always."""
    verdict = Verdict(case=case, fault=fault)
    site.done(programs.MATERIALIZE, verdict)
    readers = Readers(site.world.conninfo(site.name, admin=True), ROWS)
    try:
        yield verdict
    finally:
        seen, noise = readers.stop()
    verdict.wait_ms, verdict.noise_ms = seen.longest_ms, noise.longest_ms
    verdict.mixed = sum(times for answer, times in seen.answers.items() if answer != (1,)) + seen.torn
    [[rows]] = site.admin.execute(ROWS).fetchall()
    verdict.lost = abs(1 - rows)


def test_two_loads_from_two_terminals(site: Site, judged: Judged) -> None:
    with judging(site, "dagster asset materialize", "twice at once") as verdict:
        first, second = site.program(programs.FORCED), site.program(programs.FORCED)
        codes = [each.end()[0] for each in (first, second)]
        if codes != [0, 0]:
            verdict.notes.append(f"they ended with {codes}")
        site.done(programs.MATERIALIZE, verdict)
        verdict.next_run = "unchanged"
    judged(verdict)


def test_a_rollback_beside_a_load(site: Site, judged: Judged) -> None:
    """The load waits for a reader; the rollback waits for the load, and goes back behind it."""
    with judging(site, "flux-assets rollback", "a load is under way") as verdict:
        site.change_release()
        site.done(programs.MATERIALIZE, verdict)
        with site.held_up("substations", "ACCESS SHARE"):
            load = site.program(programs.FORCED)
            load.wait_until(lambda: site.running("substations") == 1)
            rollback = site.program(programs.ROLLBACK)
            rollback.wait_until(lambda: site.running("substations") == 2)
        ended = load.end(), rollback.end()
        verdict.notes += [printed[-600:] for code, printed in ended if code != 0]
        site.done(programs.MATERIALIZE, verdict)
        verdict.next_run = "unchanged"
    judged(verdict)


def test_a_load_that_is_killed_and_started_again(site: Site, judged: Judged) -> None:
    with judging(site, "dagster asset materialize", "kill -9 of all its processes") as verdict:
        with site.held_up("substations", "ACCESS SHARE"):
            load = site.program(programs.FORCED)
            load.wait_until(lambda: site.running("substations") == 1)
            load.kill()
        site.done(programs.MATERIALIZE, verdict)
        site.done(programs.STATUS, verdict)
        if site.running("substations"):
            verdict.notes.append("a RUNNING row is left")
        verdict.next_run = "unchanged"
    judged(verdict)


def test_dagsters_database_goes_while_a_load_runs(site: Site, judged: Judged) -> None:
    """The layer is whole whatever becomes of the run, and the next one begins with a history of its own."""
    with judging(site, "dagster asset materialize", "Dagster's database is dropped") as verdict:
        with site.held_up("substations", "ACCESS SHARE"):
            load = site.program(programs.FORCED)
            load.wait_until(lambda: site.running("substations") == 1)
            site.world.drop(site.history)
        code, _ = load.end()
        if code is None:
            verdict.hung = "the load"
        with site.world.cluster.admin_session() as admin:
            create = sql.SQL("CREATE DATABASE {} OWNER {}")
            admin.execute(create.format(sql.Identifier(site.history), sql.Identifier(OWNER)))
        site.done(programs.MATERIALIZE, verdict)
        if site.running("substations"):
            verdict.notes.append("a RUNNING row is left")
        verdict.next_run = "unchanged"
    judged(verdict)


@pytest.fixture
def synced(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """With the sample city as release, a source of its own, and the dynamic tables made."""
    site.environment["FLUX_RELEASE"] = str(sample_city())
    for name in ("FLUX_POSTGRES_URL", "DAGSTER_POSTGRES_URL", "FLUX_RELEASE", "SNOWFLAKE_ACCOUNT", "DAGSTER_HOME"):
        monkeypatch.setenv(name, site.environment[name])
    load_settings.cache_clear()
    code, printed = site.program(programs.SYNC).end()
    assert code == 0, printed
    return site


def test_two_syncs_from_two_terminals(synced: Site, judged: Judged) -> None:
    verdict = Verdict(case="dagster job execute", fault="twice at once", next_run="synced")
    first, second = synced.program(programs.SYNC), synced.program(programs.SYNC)
    for each in (first, second):
        code, printed = each.end()
        verdict.notes += [printed[-600:]] if code != 0 else []
    synced.done(programs.SYNC, verdict)
    judged(verdict)


def test_the_tick_after_a_crash_of_everything_asks_for_a_sync(synced: Site, judged: Judged) -> None:
    """Daemon, code server and run die together, as a machine does; Dagster's history still calls the run STARTED."""
    verdict = Verdict(case="sync_all_dynamic", fault="kill -9 of daemon, code server and run")
    with synced.held_up("work_orders", "SHARE"):
        sync = synced.program(programs.SYNC)
        sync.wait_until(lambda: synced.running("work_orders") == 1)
        sync.kill()
    with dg.DagsterInstance.get() as instance:
        context = dg.build_schedule_context(
            instance=instance, scheduled_execution_time=datetime.now(UTC), repository_def=defs.get_repository_def()
        )
        answer = defs.resolve_schedule_def("dynamic_sync_schedule")(context)
    verdict.next_run = type(answer).__name__
    if not isinstance(answer, dg.RunRequest):
        verdict.notes.append(f"the next tick did not ask for a sync: {getattr(answer, 'skip_message', answer)}")
    synced.done(programs.SYNC, verdict)
    if synced.running("work_orders"):
        verdict.notes.append("a RUNNING row is left")
    judged(verdict)


def _table(name: str):
    from flux_assets.tables import static_tables

    return next(table for table in static_tables() if table.name == name)
