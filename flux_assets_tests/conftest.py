"""Fixtures for every test: a real PostGIS of the test session's own, and an environment without anybody's settings.

Here: the cluster, a fresh database per test, SQL against it, a source, a Dagster instance on disk. Not here: releases
and declarations; those lie with the tests that use them.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg
import pytest

# By name: once the module of that name is imported, it takes the function's place.
from fakesnow import server as fakesnow_server
from fakesnow.transforms.stage import LOCAL_BUCKET_PATH
from psycopg import sql as psql
from pydantic import SecretStr
from sqlalchemy import event
from sqlalchemy.engine import Engine

from flux_assets.errors import EmbeddedError
from flux_assets.postgis.session import Target, prepare
from flux_assets.sample.cluster import OWNER, Cluster
from flux_assets.sample.stand_in.patches import columns, plans, times
from flux_assets.sample.stand_in.server import StandIn
from flux_assets.settings import REPOSITORY, load_settings
from flux_assets.snowflake.account import Account
from flux_assets_tests.synced import SOURCE, Utility, settings_of, source_database

if TYPE_CHECKING:
    import dagster as dg

pytest_plugins = ["flux_assets_tests.faults.plugin"]
HOMES = REPOSITORY / ".flux" / "tests"
# A database as its administrator hands it over, and the same with our schemas in it, which cost every test a while.
TEMPLATE, PREPARED = "flux_template", "flux_prepared"
SETTINGS = ("FLUX_", "PG", "SNOWFLAKE_", "DAGSTER_")

Sql = Callable[..., list[tuple]]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the schema that PostGIS is in, in the tests' databases; the server's search_path finds it."""
    parser.addoption("--postgis-schema", default="public", metavar="SCHEMA", help="where the databases have PostGIS")


def pytest_configure(config: pytest.Config) -> None:
    """Before anything of ours is imported by a test: nobody's settings, and a FLUX_HOME of this session's own."""
    worker = hasattr(config, "workerinput")
    # A suite that a script started in the background would otherwise hand an ignored Ctrl-C on to what it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    home = os.environ.get("FLUX_HOME") if worker else str(HOMES / str(os.getpid()))
    for name in [name for name in os.environ if name.startswith(SETTINGS)]:
        del os.environ[name]
    os.environ |= {"FLUX_HOME": str(home), "FLUX_ENV_FILE": "", "DAGSTER_DISABLE_TELEMETRY": "1"}
    if not worker:
        _sweep()


def pytest_unconfigure(config: pytest.Config) -> None:
    """The process that started the session stops its server; workers of pytest-xdist only used it."""
    # Each process that imports fakesnow has one.
    shutil.rmtree(LOCAL_BUCKET_PATH, ignore_errors=True)
    if not hasattr(config, "workerinput"):
        _remove(HOMES / str(os.getpid()))


@event.listens_for(Engine, "connect")
def _leave_files_to_the_system(connection: object, _: object) -> None:
    """Files of a test's Dagster need not survive this machine's power: half of making an instance was waiting."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = OFF")


@pytest.fixture(autouse=True)
def _fresh_settings() -> Iterator[None]:
    """Settings are cached for a process; a test that changes the environment must not leave its own behind."""
    load_settings.cache_clear()
    yield
    load_settings.cache_clear()


@pytest.fixture
def new_home() -> Iterator[Path]:
    """A FLUX_HOME in which nothing is yet, for a cluster of the test's own."""
    home = Path(os.environ["FLUX_HOME"]) / "homes" / uuid4().hex[:8]
    home.mkdir(parents=True)
    yield home
    StandIn(home).stop()
    Cluster(home).remove()


@pytest.fixture(scope="session")
def cluster(pytestconfig: pytest.Config) -> Cluster:
    """The session's private PostGIS, started when the first test asks; the workers of a session share it."""
    cluster = Cluster(Path(os.environ["FLUX_HOME"]))
    cluster.ensure_map_database(TEMPLATE)
    with cluster.admin_session() as admin:
        # Databases are made and dropped by the thousand, and none of them has to survive this machine's power.
        for setting in ("fsync", "full_page_writes"):
            admin.execute(psql.SQL("ALTER SYSTEM SET {} = off").format(psql.Identifier(setting)))
        admin.execute("SELECT pg_reload_conf()")
    _make_prepared(cluster, pytestconfig.getoption("--postgis-schema"))
    return cluster


def _make_prepared(cluster: Cluster, postgis_schema: str) -> None:
    """Make the database with our schemas once for all workers; nobody copies it while it is being made."""
    with (Path(os.environ["FLUX_HOME"]) / "prepared.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with cluster.admin_session() as admin:
            if not admin.execute("SELECT FROM pg_database WHERE datname = %s", [PREPARED]).fetchall():
                if postgis_schema != "public":
                    _move_postgis(cluster, postgis_schema)
                _trim(cluster, TEMPLATE)
                _copy(cluster, TEMPLATE, PREPARED)
                with Target(conninfo=cluster.conninfo(PREPARED)).session("prepare") as session:
                    prepare(session, "public")


def _move_postgis(cluster: Cluster, schema: str) -> None:
    """Install PostGIS in another schema than public; it cannot be moved once it is there."""
    with cluster.admin_session(TEMPLATE) as admin:
        admin.execute(f'ALTER SYSTEM SET search_path = "$user", public, {schema}')
        admin.execute("SELECT pg_reload_conf()")
        admin.execute(f"DROP EXTENSION postgis; CREATE SCHEMA {schema}; CREATE EXTENSION postgis SCHEMA {schema}")
        admin.execute(f"GRANT USAGE ON SCHEMA {schema} TO PUBLIC")


def _trim(cluster: Cluster, name: str) -> None:
    """Leave out the reference systems that no test uses: they are half of what is copied for each test."""
    with psycopg.connect(cluster.conninfo(name, admin=True), autocommit=True) as admin:
        admin.execute("DELETE FROM spatial_ref_sys WHERE srid NOT IN (3857, 4269, 4326, 32615)")
        admin.execute("VACUUM FULL spatial_ref_sys")


def _copy(cluster: Cluster, template: str, name: str) -> None:
    with cluster.admin_session() as admin:
        create = psql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {} STRATEGY file_copy")
        admin.execute(create.format(*map(psql.Identifier, (name, template, OWNER))))


@pytest.fixture
def database(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a fresh database with PostGIS, roles, rights and our schemas; dropped afterwards.

    A test marked `bare` gets one as its administrator hands it over, without our schemas.
    """
    with fresh_database(cluster, TEMPLATE if request.node.get_closest_marker("bare") else PREPARED) as name:
        yield name


@contextmanager
def fresh_database(cluster: Cluster, template: str = PREPARED) -> Iterator[str]:
    """A database like the template, for as long as the block lasts."""
    name = f"test_{uuid4().hex[:12]}"
    _copy(cluster, template, name)
    yield name
    with cluster.admin_session() as admin:
        # A session that is just ending would have DROP DATABASE sleep for a tenth of a second; one left open it ends.
        ended = "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = %s"
        for _ in range(20):
            if admin.execute(ended, [name]).fetchone() == (True,):
                break
            time.sleep(0.005)
        admin.execute(psql.SQL("DROP DATABASE {} (FORCE)").format(psql.Identifier(name)))


@pytest.fixture
def target(cluster: Cluster, database: str) -> Target:
    """The fresh database as the engine sees it: a role that owns it and is no superuser, schema public."""
    return Target(conninfo=cluster.conninfo(database))


@pytest.fixture
def sql(target: Target) -> Iterator[Sql]:
    """`sql(statement, *parameters)` runs one statement in the fresh database and returns its rows."""
    with psycopg.connect(target.conninfo, autocommit=True) as connection:
        yield _runner(connection)


@pytest.fixture
def admin_sql(cluster: Cluster, database: str) -> Iterator[Sql]:
    """The same as the superuser, for what the loader may not do."""
    with psycopg.connect(cluster.conninfo(database, admin=True), autocommit=True) as connection:
        yield _runner(connection)


@pytest.fixture
def reader_sql(target: Target) -> Iterator[Sql]:
    """The same as a map server: the role flux_reader, which may only read public tables."""
    with psycopg.connect(target.conninfo, autocommit=True) as connection:
        connection.execute("SET ROLE flux_reader")
        yield _runner(connection)


@pytest.fixture(scope="session")
def source_server() -> Iterator[Account]:
    """A Snowflake stand-in of this process: fakesnow's HTTP server on a free port, in memory."""
    plans.patch()
    times.patch()
    columns.patch()
    with fakesnow_server() as where:
        yield Account(
            account="fakesnow", user="fake", password=SecretStr("snow"), host=where["host"], port=where["port"],
            protocol="http", stand_in=True,
        )  # fmt: skip


def shared_stand_in() -> StandIn:
    """The stand-in that the workers of the session share, a process of its own, in a home where nobody else lives."""
    stand_in = StandIn(Path(os.environ["FLUX_HOME"]) / "homes" / "shared")
    stand_in.start()
    return stand_in


@pytest.fixture
def source(source_server: Account) -> Account:
    """A fresh database in it, with an empty schema PRODUCTION."""
    return source_database(source_server)


@pytest.fixture
def utility(source: Account, target: Target) -> Utility:
    """The made-up utility: its source tables, empty, and a fresh target database."""
    made = Utility(account=source, target=target)
    made.tell(SOURCE)
    return made


@pytest.fixture
def reached(utility: Utility, cluster: Cluster, database: str, monkeypatch: pytest.MonkeyPatch) -> Utility:
    """The made-up utility, and settings that lead to both of its ends."""
    for name, value in {"FLUX_POSTGRES_URL": cluster.url(database), **settings_of(utility.account)}.items():
        monkeypatch.setenv(name, value)
    load_settings.cache_clear()
    return utility


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """A Dagster instance with real storage on disk."""
    from flux_assets_tests.running import instance_in  # Dagster takes two seconds to import, and most tests do without

    with instance_in(tmp_path / "dagster") as instance:
        yield instance


def _runner(connection: psycopg.Connection) -> Sql:
    def run(statement: str | psql.Composable, *parameters: object) -> list[tuple]:
        cursor = connection.execute(statement, parameters or None)
        return cursor.fetchall() if cursor.description else []

    return run


def _sweep() -> None:
    """Stop the servers of sessions that were killed and could not."""
    for home in HOMES.glob("*"):
        if home.name.isdigit() and not _alive(int(home.name)):
            with suppress(EmbeddedError):  # one of scripts/test_postgres.sh, whose next run has the programs to stop it
                _remove(home)


def _remove(home: Path) -> None:
    for folder in [home, *home.glob("homes/*")]:
        StandIn(folder).stop()
        Cluster(folder).remove()
    shutil.rmtree(home, ignore_errors=True)
    with suppress(OSError):
        HOMES.rmdir()


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
