"""What the benchmarks stand on: a private cluster of their own, a database a side, releases made once.

Here: the server and its settings, fresh databases, sample releases and parts of them. Not here: anything timed.
"""

from __future__ import annotations

import fcntl
import gzip
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import psutil
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from flux_assets.errors import EmbeddedError
from flux_assets.postgis.connect import Target
from flux_assets.release.release import Release
from flux_assets.sample import binaries
from flux_assets.sample.cluster import MAP_DATABASE, OWNER, Cluster
from flux_assets.settings import default_home
from flux_assets.spec import StaticTable
from flux_assets.tables import static_tables

WORK = default_home() / "bench"
FETCHED = WORK / "fetched"
TEMPLATE = "bench_template"
_QUIET_PERCENT = 20
_SETTINGS = ("FLUX_", "PG", "SNOWFLAKE_", "DAGSTER_")
# What the embedded cluster sets for speed; `stock` puts PostgreSQL's own values back.
_TUNED = (
    "shared_buffers", "work_mem", "maintenance_work_mem", "effective_cache_size", "max_wal_size", "min_wal_size",
    "checkpoint_timeout", "random_page_cost", "jit",
)  # fmt: skip


@dataclass(frozen=True)
class Ground:
    """The bench's cluster, running; `say` tells the user what goes on."""

    cluster: Cluster
    say: Callable[[str], None]
    patience: float = 0.0  # seconds to wait for others to be quiet before a timed run

    def fresh_database(self, name: str) -> Target:
        """An empty database with PostGIS, as a first load finds it; one of that name is dropped before."""
        with self.cluster.admin_session() as admin:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} (FORCE)").format(sql.Identifier(name)))
            create = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}")
            admin.execute(create.format(*map(sql.Identifier, (name, TEMPLATE, OWNER))))
        return Target(conninfo=self.cluster.conninfo(name))

    def fresh_map_database(self) -> Target:
        """The same under the name that the project's own commands use on the embedded default."""
        return self.fresh_database(MAP_DATABASE)

    def settle(self) -> None:
        """Write out what earlier runs left in memory, so that nobody pays for another's pages; forget digests."""
        for cache in (FETCHED, self.cluster.home / "releases"):
            shutil.rmtree(cache, ignore_errors=True)
        with self.cluster.admin_session() as admin:
            admin.execute("CHECKPOINT")
        deadline = time.monotonic() + self.patience
        while psutil.cpu_percent(interval=2) > _QUIET_PERCENT and time.monotonic() < deadline:
            pass

    def server_cpu(self) -> float:
        """CPU seconds of the server so far, of sessions that have ended too."""
        time.sleep(0.2)  # a session that has just ended is a process for a moment more
        postmaster = psutil.Process(int((self.cluster.data / "postmaster.pid").read_text().split()[0]))
        total = sum(postmaster.cpu_times()[:4])
        for process in postmaster.children():
            with suppress(psutil.NoSuchProcess):
                total += sum(process.cpu_times()[:2])
        return float(total)

    def wal_bytes(self) -> int:
        """Bytes of WAL written since the cluster was made."""
        with self.cluster.admin_session() as admin:
            row = admin.execute("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn").fetchone()
        return int(row[0]) if row else 0

    def environment(self) -> dict[str, str]:
        """The environment of a command that shall use this cluster as its embedded default."""
        return dict(os.environ) | {"FLUX_HOME": str(self.cluster.home), "FLUX_ENV_FILE": ""}


@contextmanager
def ground(settings: str, say: Callable[[str], None], patience: float = 0.0) -> Iterator[Ground]:
    """The cluster for one run of the benchmarks, removed afterwards. `settings` is `stock` or `embedded`."""
    for name in [name for name in os.environ if name.startswith(_SETTINGS)]:
        del os.environ[name]
    WORK.mkdir(parents=True, exist_ok=True)
    with _alone(WORK / "lock"):
        cluster = Cluster(WORK / "home")
        os.environ |= {"FLUX_HOME": str(cluster.home), "FLUX_ENV_FILE": "", "DAGSTER_DISABLE_TELEMETRY": "1"}
        cluster.remove()
        try:
            cluster.start()
            _configure(cluster, stock=settings == "stock")
            cluster.ensure_map_database(TEMPLATE)
            yield Ground(cluster, say, patience)
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


def release(say: Callable[[str], None], scale: float, seed: int) -> Release:
    """The sample city of a scale, made the first time it is asked for."""
    from flux_assets.sample.city.release_writer import write_release

    folder = WORK / f"release-{scale:g}-{seed}"
    if not folder.is_dir():
        say(f"making the sample city of scale {scale:g} in {folder}; this happens once")
        unfinished = folder.with_name(f"{folder.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        write_release(unfinished, static_tables(), scale=scale, seed=seed)
        unfinished.rename(folder)
    return opened(folder)


def opened(folder: Path) -> Release:
    """A release in a folder."""
    return Release(str(folder), None, FETCHED)


def first_rows(whole: Release, table: StaticTable, rows: int, name: str) -> Release:
    """A release of one file with the first rows of another's; the rows hold no newlines within values."""
    folder = WORK / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    with gzip.open(path_of(whole, table), "rb") as source, gzip.open(folder / table.file_name, "wb", 1) as part:
        part.writelines(islice(source, rows + 1))
    return opened(folder)


def keys_in_order(whole: Release, table: StaticTable, name: str) -> Release:
    """The release, but the rows of one file are numbered in the file's order (`BLDG-00000001`), as wide as before.

    The best case for a table that has its key before its rows; the rows hold no newlines within values.
    """
    folder = WORK / name
    if not folder.is_dir():
        unfinished = folder.with_name(f"{name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        with gzip.open(path_of(whole, table), "rb") as source, gzip.open(unfinished / table.file_name, "wb", 4) as out:
            out.write(next(source))
            out.writelines(_numbered(line, number) for number, line in enumerate(source, 1))
        for file in path_of(whole, table).parent.glob("*.csv.gz"):
            if file.name != table.file_name:
                (unfinished / file.name).symlink_to(file)
        unfinished.rename(folder)
    return opened(folder)


def _numbered(line: bytes, number: int) -> bytes:
    key, _, rest = line.partition(b",")
    stem, _, mixed = key.rpartition(b"-")
    return b"%s-%0*d,%s" % (stem, len(mixed), number, rest)


def path_of(release: Release, table: StaticTable) -> Path:
    """Where the file of a layer lies."""
    return release.fetch(release.resolve(table.file_name, table.name))


def rows_of(release: Release, table: StaticTable) -> int | None:
    """How many rows the manifest promises."""
    return release.resolve(table.file_name, table.name).rows


def psql(target: Target) -> tuple[list[str], dict[str, str]]:
    """The psql command for a database, and the environment that connects it."""
    said = conninfo_to_dict(target.conninfo)
    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "dbname": "PGDATABASE"}
    environment = dict(os.environ) | {variable: str(said[name]) for name, variable in names.items()}
    return [binaries.find().program("psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1"], environment


def server_facts(cluster: Cluster) -> dict[str, str]:
    """Versions and the settings that matter, as the server says them."""
    with cluster.admin_session(TEMPLATE) as admin:
        shown = admin.execute(
            "SELECT name, current_setting(name) FROM unnest(%s::text[]) AS name", [["server_version", *_TUNED]]
        ).fetchall()
        postgis = admin.execute("SELECT postgis_lib_version()").fetchone()
    return {**dict(shown), "postgis": str(postgis[0]) if postgis else "?"}


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EmbeddedError("Another run of the benchmarks is under way.", "Wait for its end.") from None
        yield
