"""What the benchmarks stand on: a private cluster of their own, a database a side, and what was asked for."""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil
from psycopg import sql

from bench import releases
from flux_assets.errors import EmbeddedError
from flux_assets.postgis.session import Target
from flux_assets.release.release import Release
from flux_assets.sample.cluster import MAP_DATABASE, OWNER, Cluster
from flux_assets.settings import REPOSITORY

TEMPLATE = "bench_template"
_QUIET_PERCENT = 20
_SETTINGS = ("FLUX_", "PG", "SNOWFLAKE_", "DAGSTER_")
# What the embedded cluster sets for speed; `stock` puts PostgreSQL's own values back.
_TUNED = (
    "shared_buffers", "work_mem", "maintenance_work_mem", "effective_cache_size", "max_wal_size", "min_wal_size",
    "checkpoint_timeout", "random_page_cost", "jit",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the command line asked for. `patience` is in seconds."""

    scale: float
    seed: int
    pairs: int
    publishes: int
    patience: float
    quick: bool

    @property
    def few(self) -> int:
        """Rounds of what takes long and has no goal."""
        return min(self.pairs, 3)

    @property
    def rows(self) -> int:
        """Rows of a table that is synced."""
        return 2_000 if self.quick else 100_000


@dataclass(frozen=True)
class Ground:
    """The bench's cluster, running; `say` tells the user what goes on; `pids` are servers besides PostgreSQL."""

    cluster: Cluster
    say: Callable[[str], None]
    wanted: Wanted
    pids: list[int] = field(default_factory=list)

    def city(self, scale: float | None = None) -> Release:
        """The sample city, of the scale that was asked for or another."""
        return releases.city(self.say, self.wanted.scale if scale is None else scale, self.wanted.seed)

    def fresh_database(self, name: str) -> Target:
        """An empty database with PostGIS, as a first load finds it; one of that name is dropped before."""
        with self.cluster.admin_session() as admin:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} (FORCE)").format(sql.Identifier(name)))
            create = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}")
            admin.execute(create.format(*map(sql.Identifier, (name, TEMPLATE, OWNER))))
        return Target(conninfo=self.cluster.conninfo(name))

    def fresh_map_database(self) -> Target:
        """The same under the name that the project's own commands use, with Dagster's database beside it."""
        self.cluster.ensure_plain_database()
        return self.fresh_database(MAP_DATABASE)

    def settle(self) -> None:
        """Write out what earlier runs left in memory, so that nobody pays for another's pages; forget digests."""
        for cache in (releases.FETCHED, self.cluster.home / "releases"):
            shutil.rmtree(cache, ignore_errors=True)
        with self.cluster.admin_session() as admin:
            admin.execute("CHECKPOINT")
        deadline = time.monotonic() + self.wanted.patience
        while psutil.cpu_percent(interval=2) > _QUIET_PERCENT and time.monotonic() < deadline:
            pass

    def server_cpu(self) -> float:
        """CPU seconds of the servers so far, of PostgreSQL's sessions that have ended too."""
        time.sleep(0.2)  # a session that has just ended is a process for a moment more
        postmaster = psutil.Process(int((self.cluster.data / "postmaster.pid").read_text().split()[0]))
        total = sum(postmaster.cpu_times()[:4])
        for pid in [*(process.pid for process in postmaster.children()), *self.pids]:
            with suppress(psutil.NoSuchProcess):
                total += sum(psutil.Process(pid).cpu_times()[:2])
        return float(total)

    def wal_bytes(self) -> int:
        """Bytes of WAL written since the cluster was made."""
        with self.cluster.admin_session() as admin:
            row = admin.execute("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn").fetchone()
        return int(row[0]) if row else 0

    def python(self, *arguments: str, **environment: str) -> tuple[str, str]:
        """Run Python in the repository, with this cluster as the embedded default; its stdout and stderr."""
        return run([sys.executable, *arguments], environment)

    def facts(self) -> dict[str, str]:
        """What to say beside every figure: the machine, the programs, and the settings as the server says them."""
        with self.cluster.admin_session(TEMPLATE) as admin:
            query = "SELECT name, current_setting(name) FROM unnest(%s::text[]) AS name"
            shown = dict(admin.execute(query, [["server_version", *_TUNED]]).fetchall())
            shown |= dict(admin.execute("SELECT 'postgis', postgis_lib_version()").fetchall())
        return {
            "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "cores": f"{os.cpu_count()}, shared by client and server",
            "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
            "system": f"{platform.system()} {platform.release()}",
            "python": platform.python_version(),
            **{name: version(name) for name in ("dagster", "psycopg", "pyarrow")},
            "load average before": f"{os.getloadavg()[0]:.2f}",
            "scale": f"{self.wanted.scale:g}",
            "server": f"autovacuum off; {', '.join(f'{name} {value}' for name, value in shown.items())}",
        }


def run(command: list[str], environment: Mapping[str, str]) -> tuple[str, str]:
    """Run a program in the repository to its end; its stdout and stderr. Raises RuntimeError when it failed."""
    done = subprocess.run(
        command, env=os.environ | environment, cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done.stdout, done.stderr


@contextmanager
def ground(settings: str, say: Callable[[str], None], wanted: Wanted) -> Iterator[Ground]:
    """The cluster for one run of the benchmarks, removed afterwards. `settings` is `stock` or `embedded`."""
    for name in [name for name in os.environ if name.startswith(_SETTINGS)]:
        del os.environ[name]
    releases.WORK.mkdir(parents=True, exist_ok=True)
    with _alone(releases.WORK / "lock"):
        cluster = Cluster(releases.WORK / "home")
        os.environ |= {"FLUX_HOME": str(cluster.home), "FLUX_ENV_FILE": "", "DAGSTER_DISABLE_TELEMETRY": "1"}
        cluster.remove()
        try:
            cluster.start()
            _configure(cluster, stock=settings == "stock")
            cluster.ensure_map_database(TEMPLATE)
            yield Ground(cluster, say, wanted)
        finally:
            cluster.remove()


def _configure(cluster: Cluster, *, stock: bool) -> None:
    with cluster.admin_session() as admin:
        # Cleaning up after one side would run into the other's turn.
        admin.execute("ALTER SYSTEM SET autovacuum = off")
        if stock:
            rows = admin.execute("SELECT name, boot_val FROM pg_settings WHERE name = ANY(%s)", [list(_TUNED)])
            for name, value in rows.fetchall():
                admin.execute(sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), sql.Literal(value)))
    cluster.stop()
    cluster.start()


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EmbeddedError("Another run of the benchmarks is under way.", "Wait for its end.") from None
        yield
