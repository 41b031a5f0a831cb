"""Whoever is in the way of a lock is named as what it is, with the command that ends it; an autovacuum gives way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep

import psycopg
import pytest

from flux_assets.doctor import layers as doctor
from flux_assets.errors import PublishError
from flux_assets.postgis.locking import LockHolder
from flux_assets.postgis.session import Target
from flux_assets.sample.cluster import Cluster
from flux_assets_tests.conftest import Sql
from flux_assets_tests.made_layers import Loader, ReleaseFolder, made_up, rows

pytestmark = pytest.mark.bare

AT_ONCE = timedelta(seconds=0)
VACUUMS = "SELECT pid, query FROM pg_stat_activity WHERE backend_type = 'autovacuum worker' AND query LIKE '%{}%'"
# Two cost units and then a pause, on every page.
THROTTLED = """
ALTER TABLE flux_versions.{} SET (autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 2,
    autovacuum_vacuum_threshold = 1, autovacuum_vacuum_scale_factor = 0, autovacuum_freeze_max_age = {})
"""

# As many transactions, each of a part of its own, as make a table old that is to be frozen after 100,000.
AGED = """
CREATE TEMP TABLE numbers (n int);
DO $$ BEGIN
    FOR n IN 1..100100 LOOP
        BEGIN INSERT INTO numbers VALUES (n); EXCEPTION WHEN division_by_zero THEN NULL; END;
    END LOOP;
END $$
"""


@pytest.fixture
def loader(target: Target, tmp_path: Path) -> Loader:
    loader = Loader(target, ReleaseFolder(tmp_path / "v1"))
    loader.load(made_up(), rows(5))
    return loader


@pytest.fixture
def own(new_home: Path) -> Cluster:
    """A cluster of the test's own that takes prepared transactions, and looks for tables to vacuum all the time."""
    cluster = Cluster(new_home)
    cluster.ensure_map_database()
    with cluster.admin_session() as admin:
        admin.execute("ALTER SYSTEM SET max_prepared_transactions = 5")
        admin.execute("ALTER SYSTEM SET autovacuum_naptime = '1s'")
    cluster.stop()
    cluster.start()
    return cluster


@contextmanager
def vacuumed(admin: psycopg.Connection, relation: str, freeze_max_age: int = 1_000_000_000) -> Iterator[int]:
    """While the block runs, or until something ends it, an autovacuum is at work on the relation; its process."""
    admin.execute(THROTTLED.format(relation, freeze_max_age))
    admin.execute(f"UPDATE flux_versions.{relation} SET name = name")
    deadline = monotonic() + 60
    while not (found := admin.execute(VACUUMS.format(relation)).fetchone()):
        assert monotonic() < deadline, "no autovacuum begins"
        sleep(0.05)
    yield int(found[0])


def relation_of(admin: psycopg.Connection) -> str:
    (name,) = admin.execute("SELECT relation FROM postgres_sync.layer_versions WHERE current").fetchone() or ("",)
    return str(name)


def test_a_prepared_transaction_and_an_autovacuum_are_named_and_the_latter_gives_way(
    own: Cluster, tmp_path: Path
) -> None:
    target = Target(conninfo=own.conninfo())
    loader = Loader(target, ReleaseFolder(tmp_path / "v1"))
    loader.load(made_up(), rows(3000))
    with psycopg.connect(target.conninfo, autocommit=True) as user:
        user.execute("BEGIN; SELECT count(*) FROM poles; PREPARE TRANSACTION 'xa-''1'")
        with pytest.raises(PublishError) as caught:
            loader.load(made_up(), rows(3001), publish_wait=AT_ONCE)
        assert "a lock held by prepared transaction 'xa-''1' (user flux, prepared " in str(caught.value)
        assert """ROLLBACK PREPARED 'xa-''1' (or COMMIT PREPARED) in database "flux" by "flux" or a""" in str(
            caught.value
        )
        with target.session("doctor") as session:
            said = [f"{each.message} {each.remedy}" for each in doctor.findings(session, "public", [made_up()])]
        assert any("prepared transaction" in each and "or run ROLLBACK PREPARED 'xa-''1'" in each for each in said)
        user.execute("ROLLBACK PREPARED 'xa-''1'")
    assert loader.load(made_up()).outcome == "published"

    waits: list[float] = []
    with own.admin_session("flux") as admin, reading_and_writing(target.conninfo, waits):
        with vacuumed(admin, relation_of(admin)) as worker:
            loader.load(made_up(), rows(3002), publish_wait=timedelta(seconds=30))
        named = [line for line in loader.log if f"waits for autovacuum worker {worker} (" in line]
        assert named
        assert f"SELECT pg_cancel_backend({worker}) by a superuser ends" in named[0]
        assert any("the autovacuum in the way has ended" in line for line in loader.log)
    assert max(waits) < 1

    with own.admin_session("flux") as admin:
        admin.execute(AGED)
        with vacuumed(admin, relation_of(admin), 100_000) as worker:
            with pytest.raises(PublishError) as caught:
                loader.load(made_up(), rows(3003), publish_wait=timedelta(seconds=3))
            assert f"autovacuum worker {worker} (" in str(caught.value)
            with psycopg.connect(own.conninfo(admin=True), autocommit=True) as superuser:
                oids = [row[0] for row in superuser.execute("SELECT to_regclass('public.poles')::oid")]
                oids += [row[0] for row in superuser.execute("SELECT inhrelid FROM pg_inherits")]
                (holder,) = [each for each in LockHolder.find(superuser, oids) if each.is_autovacuum]
                assert "(to prevent wraparound)" in holder.description
                superuser.execute(
                    f"ALTER TABLE flux_versions.{relation_of(superuser)} RESET (autovacuum_freeze_max_age)"
                )
                superuser.execute(holder.ending)
    assert loader.load(made_up()).outcome == "published"


@contextmanager
def reading_and_writing(conninfo: str, waits: list[float]) -> Iterator[None]:
    """One who reads and one who writes the layer while the block runs; how long each statement took."""
    done = Event()

    def go_on(statement: str) -> None:
        with psycopg.connect(conninfo, autocommit=True) as session:
            while not done.is_set():
                begun = monotonic()
                session.execute(statement)
                waits.append(monotonic() - begun)
                done.wait(0.01)

    statements = ("SELECT count(*) FROM poles", "UPDATE poles SET score = score WHERE code = 1")
    threads = [Thread(target=go_on, args=(statement,)) for statement in statements]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join()


def test_a_session_without_a_name_is_told_by_where_it_comes_from_and_what_it_asked(
    loader: Loader, target: Target
) -> None:
    with psycopg.connect(target.conninfo, application_name="") as reader:
        reader.execute("SELECT count(*) FROM poles WHERE name LIKE 'x'")
        pid, user = reader.info.backend_pid, reader.info.user
        with pytest.raises(PublishError) as caught:
            loader.load(made_up(), rows(6), publish_wait=AT_ONCE)
    assert f"process {pid} (user {user}, unnamed, from a local socket, idle in transaction, transaction open" in (
        str(caught.value)
    )
    assert "query SELECT count(*) FROM poles WHERE name LIKE 'x')" in str(caught.value)
    assert f'which SELECT pg_terminate_backend({pid}) by "{user}" or a superuser ends' in str(caught.value)


def test_a_session_that_may_not_be_seen_is_named_by_its_number_and_user(
    loader: Loader, target: Target, sql: Sql
) -> None:
    ((oid,),) = sql("SELECT 'poles'::regclass::oid")
    with psycopg.connect(target.conninfo) as reader, target.session("test") as session:
        reader.execute("SELECT count(*) FROM poles")
        session.execute("SET ROLE flux_reader")
        (holder,) = LockHolder.find(session, [oid])
        assert holder.description.startswith(f"process {reader.info.backend_pid} (user {reader.info.user}, ")
        assert "its state is hidden from this user" in holder.description


def test_workers_of_a_parallel_query_stand_for_their_leader(loader: Loader, target: Target, sql: Sql) -> None:
    """One session, however many processes it has."""
    ((oid,),) = sql("SELECT 'poles'::regclass::oid")
    with psycopg.connect(target.conninfo, autocommit=True) as reader:
        reader.execute("SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0")
        forced = "force_parallel_mode" if reader.info.server_version < 160000 else "debug_parallel_query"
        reader.execute(f"SET max_parallel_workers_per_gather = 2; SET {forced} = on")
        thread = Thread(target=reader.execute, args=("SELECT count(pg_sleep(0.3)) FROM poles",))
        thread.start()
        pid = reader.info.backend_pid
        found: list[int] = []
        deadline = monotonic() + 30
        with target.session("test") as session:
            while not found and monotonic() < deadline:
                found = [each.pid for each in LockHolder.find(session, [oid])]
        thread.join()
    assert found == [pid]
