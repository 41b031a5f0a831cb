"""A deployment on Celery: Redis, workers with homes and networks of their own, a release, runs, and readers.

A worker sees neither this machine's network nor its FLUX_HOME: PostgreSQL and Redis it reaches by their sockets. One
of syncs sees both, where the stand-in for Snowflake is.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg import sql

from flux_assets.settings import REPOSITORY
from flux_assets.tables import layers, static_tables

PROGRAMS = Path(sys.executable).parent
# Nothing takes a tenth of this on an idle machine.
PATIENCE = 300
LOST_AFTER = 12
# Only root may give a process a network of its own; others have homes of their own alone.
APART = ["unshare", "--net"] if os.geteuid() == 0 and shutil.which("unshare") else []


def wait_until(done: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < deadline, f"{what} does not come"
        time.sleep(0.1)


@dataclass
class Redis:
    """A broker that keeps on disk what it was told."""

    folder: Path
    process: subprocess.Popen = field(init=False)

    @property
    def url(self) -> str:
        return f"redis+socket://{self.folder}/socket"

    def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        options = ["--port", "0", "--unixsocket", "socket", "--appendonly", "yes", "--appendfsync", "always"]
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen(["redis-server", *options], cwd=self.folder, stdout=log, stderr=log)
        wait_until((self.folder / "socket").exists, "Redis")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        (self.folder / "socket").unlink(missing_ok=True)


@dataclass
class Worker:
    """A worker with its processes, in a session of their own."""

    name: str
    home: Path
    process: subprocess.Popen

    @property
    def log(self) -> str:
        return (self.home / "log").read_text()

    def wait_until_ready(self) -> None:
        wait_until(lambda: f"{self.name}@" in self.log and "ready." in self.log, f"worker {self.name}")

    def wait_until_stopped(self) -> None:
        """Until one of its steps is at the point."""
        wait_until(lambda: (self.home / "stopped").exists() and self._step, f"a step of {self.name} at its point")

    @property
    def _step(self) -> int:
        return int((self.home / "stopped").read_text() or 0)

    def go_on(self) -> None:
        (self.home / "go").touch()

    def signal(self, number: int) -> None:
        """To all of its processes, as when its machine is lost."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.process.wait()

    def kill_step(self) -> None:
        """The process of the step alone, as the kernel does when memory runs out."""
        os.kill(self._step, signal.SIGKILL)


@dataclass
class Site:
    """The settings of all of it, and what was started."""

    folder: Path
    release: Path
    environment: dict[str, str]
    conninfo: str
    redis: Redis
    workers: list[Worker] = field(default_factory=list)

    def worker(self, name: str, *options: str, point: str = "", step: str = "", flux_home: str = "") -> Worker:
        """Start a worker; with a `point`, the first of its steps to come there stays, or this `step`.

        It is apart from this machine unless it has one's FLUX_HOME.
        """
        home = self.folder / name
        home.mkdir()
        command = [
            *([] if flux_home else APART),
            PROGRAMS / "flux-assets",
            "worker",
            "-n",
            f"{name}@%h",
            "-l",
            "INFO",
            *options,
        ]
        if point:
            command += ["--include", "flux_assets_tests.workers.stopping"]
        own = self.environment | {"FLUX_HOME": flux_home or str(home), "PYTHONPATH": str(REPOSITORY)}
        own |= {"FLUX_TEST_POINT": point, "FLUX_TEST_STEP": step, "FLUX_TEST_FOLDER": str(home)}
        with (home / "log").open("w") as log:
            process = subprocess.Popen(command, env=own, cwd=home, stdout=log, stderr=log, start_new_session=True)
        self.workers.append(Worker(name, home, process))
        return self.workers[-1]

    def run(self, executor: str = "celery") -> subprocess.Popen:
        """Start a load of the whole release, as Dagster does."""
        command = [PROGRAMS / "dagster", "job", "execute", "-m", "flux_assets.definitions", "-j", "load_static_layers"]
        with (self.folder / "run.log").open("w") as log:
            return subprocess.Popen(
                command, env=self.environment | {"FLUX_EXECUTOR": executor}, cwd=self.folder, stdout=log, stderr=log
            )

    def finish(self, run: subprocess.Popen) -> None:
        """Wait for its end, which must be a good one."""
        try:
            code = run.wait(PATIENCE)
        finally:
            run.kill()
        assert code == 0, (self.folder / "run.log").read_text()[-3000:]

    def query(self, statement: str, *parameters: object) -> list[tuple]:
        with psycopg.connect(self.conninfo, autocommit=True) as session:
            return session.execute(statement, parameters or None).fetchall()

    def history(self, statement: str) -> list[tuple]:
        """Ask Dagster's database."""
        with psycopg.connect(self.environment["DAGSTER_POSTGRES_URL"], autocommit=True) as session:
            return session.execute(statement).fetchall()

    def end(self) -> None:
        for worker in self.workers:
            worker.signal(signal.SIGCONT)
            worker.kill()
        self.redis.kill()


_OF_A_TABLE = "SELECT count(*), min(tableoid), max(tableoid) FROM {}"


@dataclass
class Readers:
    """One reader of every layer, over and over: whole versions only, never none, never an error."""

    conninfo: str
    seen: set[tuple[str, int, int, int]] = field(default_factory=set)
    failures: list[str] = field(default_factory=list)
    reads: int = 0

    @contextmanager
    def reading(self) -> Iterator[None]:
        over = threading.Event()
        thread = threading.Thread(target=self._read, args=(over,))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _read(self, over: threading.Event) -> None:
        tables = [table.name for table in layers()]
        questions = {name: sql.SQL(_OF_A_TABLE).format(sql.Identifier(name)) for name in tables}
        with psycopg.connect(self.conninfo, autocommit=True) as session:
            session.execute("SET ROLE flux_reader")
            while not over.wait(0.02):
                for name, question in questions.items():
                    try:
                        (row,) = session.execute(question).fetchall()
                        self.seen.add((name, *row))
                        self.reads += 1
                    except psycopg.Error as error:
                        self.failures.append(f"{name}: {error}")

    def judge(self, site: Site) -> None:
        """Every answer was a version of the register, with all of its rows."""
        assert self.failures == []
        assert self.reads > 0
        versions = site.query(
            "SELECT layer_name, rows, to_regclass(format('flux_versions.%I', relation))::oid"
            " FROM postgres_sync.layer_versions WHERE published_at IS NOT NULL AND state = 'published'"
        )
        whole = {(name, rows, oid, oid) for name, rows, oid in versions}
        assert self.seen - whole == set()
        # Both versions of each, so that the readers were there before and after.
        assert {name for name, *_ in self.seen} == {name for name, *_ in whole}


def settled(site: Site, *, harmed: bool = False, left: Collection[str] = ()) -> None:
    """Nothing doubled and nothing lost: register, ledger, staged tables, rows, and what Dagster recorded.

    Where something was `harmed`, steps may have been begun twice; loaded were they once all the same. A version of what
    is `left` may be staged for nobody.
    """
    (run_id, status) = site.history("SELECT run_id, status FROM runs ORDER BY id DESC LIMIT 1")[0]
    assert status == "SUCCESS"
    manifest = json.loads((site.release / "manifest.json").read_text())
    promised = {each["table"]: each["rows"] for each in manifest["files"]}
    for table in static_tables():
        key = sql.SQL(", ").join(map(sql.Identifier, table.key)) if table.key else sql.SQL("ctid")
        counted = sql.SQL("SELECT count(*), count(DISTINCT ({})) FROM {}").format(key, sql.Identifier(table.name))
        with psycopg.connect(site.conninfo) as session:
            found = session.execute(counted).fetchone()
        assert found == (promised[table.name], promised[table.name]), table.name
    every = sorted(table.name for table in layers())
    current = "SELECT layer_name, run_id FROM postgres_sync.layer_versions WHERE current ORDER BY 1"
    assert site.query(current) == [(name, run_id) for name in every]
    assert {name for (name,) in site.query(_STRAYS)} <= set(left)
    ledger = site.query(
        "SELECT layer_name, status, sync_type FROM postgres_sync.sync_status WHERE run_id = %s ORDER BY 1", run_id
    )
    assert [name for name, *how in ledger if how in (["SUCCESS", "FULL"], ["SUCCESS", "PUBLISH"])] == every
    again = {(status, kind) for _, status, kind in ledger} - {("SUCCESS", "FULL")}
    assert again <= ({("SUCCESS", "PUBLISH"), ("SUCCESS", "UNCHANGED"), ("FAILED", "FULL")} if harmed else set())
    ended = site.history(f"SELECT step_key FROM event_logs WHERE run_id = '{run_id}' AND {_ENDED} ORDER BY 1")
    assert len(ended) == len(set(ended)) or harmed
    failed = f"SELECT step_key FROM event_logs WHERE run_id = '{run_id}' AND dagster_event_type = 'STEP_FAILURE'"
    assert site.history(failed) == []


_ENDED = "dagster_event_type = 'STEP_SUCCESS'"
# Tables of versions without a version that is published, and versions that are staged and nobody publishes any more.
_STRAYS = """
SELECT coalesce(v.layer_name, relname) FROM pg_class AS c LEFT JOIN postgres_sync.layer_versions AS v
    ON v.relation = c.relname
WHERE relnamespace = 'flux_versions'::regnamespace AND relkind IN ('r', 'p') AND v.state IS DISTINCT FROM 'published'
UNION ALL SELECT layer_name FROM postgres_sync.layer_versions WHERE state = 'staged'
"""
