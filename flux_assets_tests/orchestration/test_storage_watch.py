"""Dagster's storage behind a network that goes silent: commands and runs end with a sentence, and do not hang."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg2
import pytest
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import OperationalError

from flux_assets.orchestration.storage import watch
from flux_assets.orchestration.storage.instance import InstanceStorage
from flux_assets.orchestration.storage.watch import with_parameters
from flux_assets.sample.cluster import Cluster
from flux_assets.settings import REPOSITORY
from flux_assets_tests.silent_proxy import Silence, SilentProxy, silent_proxy

# Seconds; what answers does so at once.
SHORT = 2.0
SAID = "Dagster's storage has not answered within 2 s, so the connection was closed. See whether the server that"


@pytest.fixture
def storage_database(cluster: Cluster) -> Iterator[str]:
    name = f"storage_{uuid4().hex[:8]}"
    with cluster.admin_session() as admin:
        admin.execute(f"CREATE DATABASE {name} OWNER flux")
        yield name
        admin.execute(f"DROP DATABASE {name} (FORCE)")


@pytest.fixture
def proxy(cluster: Cluster, storage_database: str) -> Iterator[SilentProxy]:
    with silent_proxy(urlsplit(cluster.tcp_url(storage_database)).port or 0) as proxy:
        yield proxy


@pytest.fixture
def url(cluster: Cluster, storage_database: str, proxy: SilentProxy) -> str:
    direct = urlsplit(cluster.tcp_url(storage_database))
    return f"postgresql+psycopg2://{direct.username}:{direct.password}@127.0.0.1:{proxy.port}/{storage_database}"


@pytest.fixture
def storage(url: str) -> InstanceStorage:
    return InstanceStorage(url)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on the deadline is short."""
    return lambda: monkeypatch.setattr(watch, "_ANSWER_SECONDS", SHORT)


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = create_engine(with_parameters(url))
    yield engine
    engine.dispose()


def answer(connection: Connection, statement: str = "SELECT 1") -> object:
    return connection.execute(text(statement)).scalar_one()


@pytest.mark.parametrize("whose", ["client", "server", "both"])
def test_a_statement(engine: Engine, proxy: SilentProxy, impatient: Callable[[], None], whose: Silence) -> None:
    with engine.connect() as connection:
        assert answer(connection) == 1
        impatient()
        proxy.silence(whose)
        with pytest.raises(OperationalError, match=SAID):
            answer(connection)
    proxy.speak()
    with engine.connect() as connection:
        assert answer(connection) == 1


def test_a_commit(engine: Engine, proxy: SilentProxy, impatient: Callable[[], None]) -> None:
    with engine.connect() as connection:
        answer(connection)
        impatient()
        proxy.silence("server")
        with pytest.raises(OperationalError, match=SAID):
            connection.commit()


def test_a_kept_connection_that_went_silent_is_replaced(
    storage: InstanceStorage, proxy: SilentProxy, impatient: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from flux_assets.orchestration.storage import instance as instances

    monkeypatch.setattr(instances, "_PAUSE_SECONDS", -1.0)
    engine = storage.run_storage._engine
    with engine.connect() as connection:
        assert answer(connection) == 1
        dead = connection.connection.dbapi_connection
    impatient()
    proxy.silence("both")
    # The test of the connection is what meets the silence first; another one is made, here to nobody.
    with pytest.raises(OperationalError, match=r"Dagster's storage cannot be reached: .*timeout expired"):
        engine.connect()
    proxy.speak()
    with engine.connect() as connection:
        assert connection.connection.dbapi_connection is not dead
        assert answer(connection) == 1


def test_statements_that_take_their_time_are_left_alone(engine: Engine, impatient: Callable[[], None]) -> None:
    """Those of a migration, and of upkeep."""
    impatient()
    with engine.connect() as connection:
        answer(connection)
        connection.execute(text("CREATE TEMP TABLE slow AS SELECT pg_sleep(3)::text"))
        assert answer(connection, "SELECT count(*) FROM slow") == 1


def test_the_server_ends_what_a_frozen_process_leaves_open(storage: InstanceStorage) -> None:
    with storage.event_log_storage._engine.connect() as connection:
        assert answer(connection, "SHOW idle_in_transaction_session_timeout") == "2min"
        assert answer(connection, "SHOW tcp_keepalives_idle") == "60"
        assert answer(connection, "SHOW application_name") == "flux_assets dagster"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("postgresql://h/d", {"connect_timeout=10", "tcp_user_timeout=60000", "keepalives_idle=30"}),
        ("postgresql://h/d?connect_timeout=3&host=%2Fa%20b", {"connect_timeout=3", "host=%2Fa%20b"}),
        ("postgresql://h/d?application_name=mine", {"application_name=flux_assets%20dagster"}),
    ],
)
def test_parameters_of_the_connection(given: str, expected: set[str]) -> None:
    address, _, query = with_parameters(given).partition("?")
    assert address == "postgresql://h/d"
    assert expected <= set(query.split("&"))
    assert len(query.split("&")) == len({each.partition("=")[0] for each in query.split("&")})


def test_connections_of_others_are_not_watched(url: str) -> None:
    engine = create_engine(url)
    with engine.connect() as connection:
        assert type(connection.connection.dbapi_connection) is psycopg2.extensions.connection
    engine.dispose()


PROGRAM = """
import sys, threading
from flux_assets.orchestration.storage import watch as storage_watch
storage_watch._ANSWER_SECONDS = 5.0
storage_watch._PARAMETERS["connect_timeout"] = "2"
from dagster._cli import main
sys.argv = ["dagster", *sys.argv[1:]]
main()
"""
MODULE = """
import os, pathlib, time
import dagster as dg

@dg.asset
def tiny(context):
    folder = pathlib.Path(os.environ["MEETING"])
    (folder / "running").touch()
    while not (folder / "silent").exists():
        time.sleep(0.02)
    context.log.info("said into the silence")

defs = dg.Definitions(assets=[tiny], executor=dg.in_process_executor)
"""


def command(tmp_path: Path, url: str, *arguments: str) -> subprocess.Popen[str]:
    """A command of Dagster in a folder with our dagster.yaml, its storage behind the proxy."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    shutil.copy(REPOSITORY / "dagster.yaml", folder)
    (tmp_path / "meeting_definitions.py").write_text(MODULE)
    environment = os.environ | {
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{REPOSITORY}", "MEETING": str(tmp_path),
        "DAGSTER_POSTGRES_URL": url.replace("+psycopg2", ""), "FLUX_HOME": str(tmp_path / "home"),
        "DAGSTER_HOME": str(folder),
    }  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments], cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def test_a_command_whose_storage_is_silent_from_the_beginning(tmp_path: Path, url: str, proxy: SilentProxy) -> None:
    proxy.silence("both")
    done = command(tmp_path, url, "instance", "info")
    said, _ = done.communicate(timeout=240)
    assert done.returncode != 0
    assert "Error: Dagster's storage cannot be reached" in said
    assert "DAGSTER_POSTGRES_URL" in said
    assert "Traceback" not in said


def test_a_run_whose_storage_goes_silent_half_way(
    tmp_path: Path, url: str, proxy: SilentProxy, storage: InstanceStorage
) -> None:
    run = command(tmp_path, url, "asset", "materialize", "-m", "meeting_definitions", "--select", "tiny")
    while not (tmp_path / "running").exists():
        assert run.poll() is None, run.communicate()
    proxy.silence("both")
    (tmp_path / "silent").touch()
    said, _ = run.communicate(timeout=400)
    assert run.returncode != 0
    assert SAID.replace("2 s", "5 s") in said
