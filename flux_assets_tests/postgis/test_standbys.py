"""A synchronous standby that is slow: nobody waits on the primary for what only the standby is late with."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from threading import Event, Thread
from time import monotonic

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from flux_assets.doctor import connection
from flux_assets.layers import publish
from flux_assets.layers.context import LoadOptions
from flux_assets.layers.rollback import rollback
from flux_assets.postgis.session import Target
from flux_assets.sample.cluster import Cluster
from flux_assets.sample.os_user import server_account
from flux_assets_tests.faults.world import control, run_as_owner
from flux_assets_tests.made_layers import Loader, ReleaseFolder, made_up, rows

pytestmark = pytest.mark.bare

# How long a query on the standby holds up what it would have to apply, and every commit on the primary with it.
DELAY_SECONDS = 3


@pytest.fixture
def primary(new_home: Path) -> Cluster:
    """A cluster of the test's own, with a published layer."""
    cluster = Cluster(new_home)
    cluster.ensure_map_database()
    return cluster


@contextmanager
def following(primary: Cluster) -> Iterator[str]:
    """A standby sb1 for which every commit of the primary waits until it has applied it; its conninfo."""
    known = conninfo_to_dict(primary.conninfo("postgres", admin=True))
    # PostgreSQL's own programs know fewer parameters than our libpq.
    where = make_conninfo(**{name: known[name] for name in ("host", "port", "user", "password", "dbname")})
    data = Path(mkdtemp(prefix="standby-")) / "data"
    data.mkdir(mode=0o700)
    for folder in (data.parent, data):
        server_account(primary.data).own(folder)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = int(server.getsockname()[1])
    try:
        run_as_owner(primary.data, "pg_basebackup", "-D", str(data), "-R", "-X", "stream", "-c", "fast", "-d", where)
        options = f"-c port={port} -c cluster_name=sb1 -c max_standby_streaming_delay={DELAY_SECONDS}s"
        control(data, "start", "-o", options, "-l", str(data.parent / "log"))
        with primary.admin_session() as admin:
            admin.execute("ALTER SYSTEM SET synchronous_standby_names = 'sb1'")
            admin.execute("ALTER SYSTEM SET synchronous_commit = 'remote_apply'")
            admin.execute("SELECT pg_reload_conf()")
        yield make_conninfo(primary.conninfo(), host="127.0.0.1", port=port)
    finally:
        control(data, "stop", "-m", "immediate")
        shutil.rmtree(data.parent)


@contextmanager
def reading(conninfo: str, waits: list[float]) -> Iterator[None]:
    """A reader of the layer that goes on for as long as the block lasts, and notes how long each answer took."""
    done = Event()

    def read() -> None:
        with psycopg.connect(conninfo, autocommit=True) as reader:
            while not done.is_set():
                begun = monotonic()
                reader.execute("SELECT count(*) FROM poles")
                waits.append(monotonic() - begun)

    thread = Thread(target=read)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_a_slow_synchronous_standby_holds_up_no_reader_of_the_primary(
    primary: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while the layer goes back, and where the standby takes longer than the run waits for it."""
    target = Target(conninfo=primary.conninfo())
    loader = Loader(target, ReleaseFolder(tmp_path / "v1"))
    loader.load(made_up(), rows(5))
    waits: list[float] = []
    with following(primary) as conninfo:
        with target.session("doctor") as session:
            finding, *_ = connection.limits(session, 1)
        assert finding.outcome == "note"
        assert "synchronous_standby_names = 'sb1', synchronous_commit = remote_apply" in finding.message
        with reading(target.conninfo, waits):
            with psycopg.connect(conninfo) as map_of_standby:
                assert map_of_standby.execute("SELECT count(*) FROM poles").fetchone() == (5,)
                loader.load(made_up(), rows(6))
                assert any("synchronous standbys had it after" in line for line in loader.log)
                with psycopg.connect(conninfo, autocommit=True) as another:
                    assert another.execute("SELECT count(*) FROM poles").fetchone() == (6,)
                with pytest.raises(psycopg.OperationalError, match="conflict with recovery"):
                    map_of_standby.execute("SELECT count(*) FROM poles")
            with psycopg.connect(conninfo) as map_of_standby:
                assert map_of_standby.execute("SELECT count(*) FROM poles").fetchone() == (6,)
                monkeypatch.setattr(publish, "_STANDBY_SECONDS", 0.5)
                rollback(made_up(), target, LoadOptions(), loader.log.append)
        assert any("did not confirm it within" in line for line in loader.log)
    assert max(waits) < DELAY_SECONDS / 3
    with target.session("doctor") as session:
        finding, *_ = connection.limits(session, 1)
    assert finding.outcome == "failed"
    assert "none is connected" in finding.message


def test_a_lock_that_outlasts_the_promise_is_told(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = Loader(target, ReleaseFolder(tmp_path / "v1"))
    loader.load(made_up(), rows(5))
    assert not any("longer than the" in line for line in loader.log)
    monkeypatch.setattr(publish, "PROMISED_MS", 0)
    loader.load(made_up(), rows(6))
    assert any("readers may have waited for up to" in line and "longer than the 0 ms" in line for line in loader.log)
