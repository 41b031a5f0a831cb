"""What the benchmarks stand on: a private cluster, a database a side, files of the sample city, what was asked for."""

from __future__ import annotations

import fcntl
import gzip
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import psutil
from psycopg import sql
from sqlalchemy import MetaData

from flux_assets.postgis.session import Target
from flux_assets.release.release import Release
from flux_assets.sample.city.release_writer import write_release
from flux_assets.sample.cluster import MAP_DATABASE, OWNER, Cluster
from flux_assets.settings import REPOSITORY
from flux_assets.spec import StaticTable
from flux_assets.tables import static_tables

WORK = REPOSITORY / ".flux" / "bench"
# The largest layer, which most experiments load.
LAYER = next(table for table in static_tables() if table.name == "building_footprints")
_FETCHED = WORK / "fetched"
_TEMPLATE = "bench_template"
# What the embedded cluster sets for speed; `stock` puts PostgreSQL's own values back.
_TUNED = (
    "{shared_buffers,work_mem,maintenance_work_mem,effective_cache_size,max_wal_size,min_wal_size,checkpoint_timeout,"
    "random_page_cost,jit}"
)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the command line asked for."""

    scale: float
    seed: int
    pairs: int
    publishes: int
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
        """The sample city, of the scale that was asked for or another; it is made once."""
        scale = self.wanted.scale if scale is None else scale

        def write(folder: Path) -> None:
            self.say(f"making the sample city of scale {scale:g} in {folder}; this happens once")
            write_release(folder, static_tables(), scale=scale, seed=self.wanted.seed)

        return made_once(f"release-{scale:g}-{self.wanted.seed}", write)

    def fresh_database(self, name: str) -> Target:
        """An empty database with PostGIS, as a first load finds it; one of that name is dropped before."""
        with self.cluster.admin_session() as admin:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} (FORCE)").format(sql.Identifier(name)))
            create = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}")
            admin.execute(create.format(*map(sql.Identifier, (name, _TEMPLATE, OWNER))))
        return Target(conninfo=self.cluster.conninfo(name))

    def fresh_map_database(self) -> Target:
        """The same under the name that the project's own commands use, with Dagster's database beside it."""
        self.cluster.ensure_plain_database()
        return self.fresh_database(MAP_DATABASE)

    def settle(self) -> None:
        """Write out what earlier runs left in memory, so that nobody pays for another's pages; forget digests."""
        for cache in (_FETCHED, self.cluster.home / "releases"):
            shutil.rmtree(cache, ignore_errors=True)
        with self.cluster.admin_session() as admin:
            admin.execute("CHECKPOINT")

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
            ((count,),) = admin.execute("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn").fetchall()
        return int(count)

    def python(self, *arguments: str, **environment: str) -> tuple[str, str]:
        """Run Python in the repository, with this cluster as the embedded default; its stdout and stderr."""
        return run([sys.executable, *arguments], environment)

    def facts(self) -> dict[str, str]:
        """What to say beside every figure: the machine, the programs, and the settings as the server says them."""
        with self.cluster.admin_session(_TEMPLATE) as admin:
            query = (
                "SELECT version() || ', PostGIS ' || postgis_lib_version()"
                " || string_agg(', ' || name || ' ' || current_setting(name), '') FROM unnest(%s::text[]) AS name"
            )
            ((server,),) = admin.execute(query, [_TUNED]).fetchall()
        return {
            "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "machine": f"{platform.platform()}, {os.cpu_count()} cores, {psutil.virtual_memory().total >> 30} GiB",
            "python": platform.python_version(),
            **{name: version(name) for name in ("dagster", "psycopg", "pyarrow")},
            "load average before": f"{os.getloadavg()[0]:.2f}",
            "scale": f"{self.wanted.scale:g}",
            "server": f"autovacuum off; {server}",
        }


def run(command: list[str], environment: dict[str, str]) -> tuple[str, str]:
    """Run a program in the repository to its end; its stdout and stderr. Raises RuntimeError when it failed."""
    environment = os.environ | environment
    done = subprocess.run(command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done.stdout, done.stderr


@contextmanager
def ground(settings: str, say: Callable[[str], None], wanted: Wanted) -> Iterator[Ground]:
    """The cluster for one run of the benchmarks, removed afterwards. `settings` is `stock` or `embedded`."""
    for name in [name for name in os.environ if name.startswith(("FLUX_", "PG", "SNOWFLAKE_", "DAGSTER_"))]:
        del os.environ[name]
    WORK.mkdir(parents=True, exist_ok=True)
    with (WORK / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # waits for the end of another run
        cluster = Cluster(WORK / "home")
        os.environ |= {"FLUX_HOME": str(cluster.home), "FLUX_ENV_FILE": "", "DAGSTER_DISABLE_TELEMETRY": "1"}
        cluster.remove()
        try:
            cluster.start()
            _configure(cluster, stock=settings == "stock")
            cluster.ensure_map_database(_TEMPLATE)
            yield Ground(cluster, say, wanted)
        finally:
            cluster.remove()


def _configure(cluster: Cluster, *, stock: bool) -> None:
    with cluster.admin_session() as admin:
        # Cleaning up after one side would run into the other's turn.
        admin.execute("ALTER SYSTEM SET autovacuum = off")
        if stock:
            rows = admin.execute("SELECT name, boot_val FROM pg_settings WHERE name = ANY(%s::text[])", [_TUNED])
            for name, value in rows.fetchall():
                admin.execute(sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), sql.Literal(value)))
    cluster.stop()
    cluster.start()


def first_rows(whole: Release, rows: int) -> Release:
    """The release with the first rows of the largest layer."""
    return with_lines(whole, f"first-{rows}", lambda lines: islice(lines, rows))


def keys_in_order(whole: Release) -> Release:
    """The release with the largest layer's keys in the file's order: best for a table that has its key before rows."""

    def numbered(number: int, line: bytes) -> bytes:
        key, _, rest = line.partition(b",")
        stem, _, mixed = key.rpartition(b"-")
        return b"%s-%0*d,%s" % (stem, len(mixed), number, rest)

    return with_lines(whole, "in-order", lambda lines: map(numbered, range(1, 1 << 60), lines))


def plain_layer() -> StaticTable:
    """The largest layer without its index on geographies, which takes longer than all else of a load."""
    table = LAYER.table.to_metadata(MetaData())
    table.indexes = {index for index in table.indexes if "geography" not in str(index.name)}
    return replace(LAYER, table=table)


def opened(folder: Path) -> Release:
    """A release in a folder."""
    return Release(str(folder), None, _FETCHED)


def with_lines(whole: Release, name: str, change: Callable[[Iterator[bytes]], Iterable[bytes]]) -> Release:
    """The release with other lines in the largest layer's file; its rows hold no newlines within values."""
    folder = Path(str(whole.address))

    def write(made: Path) -> None:
        made.mkdir()
        for file in folder.glob("*.csv.gz"):
            if file.name != LAYER.file_name:
                (made / file.name).hardlink_to(file)  # a link that leads out of a release is refused
        with gzip.open(folder / LAYER.file_name) as source, gzip.open(made / LAYER.file_name, "wb", 4) as out:
            out.write(next(source))
            out.writelines(change(source))

    return made_once(f"{folder.name}-{name}", write)


def made_once(name: str, write: Callable[[Path], None]) -> Release:
    """The release in a folder of that name, which `write` makes where there is none yet."""
    folder, unfinished = WORK / name, WORK / f"{name}.unfinished"
    if not folder.is_dir():
        shutil.rmtree(unfinished, ignore_errors=True)
        write(unfinished)
        unfinished.rename(folder)
    return opened(folder)
