"""One writer at a time: leases are for the loader alone, outlive no session, and pass from a holder that is frozen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import sleep

import psycopg
import pytest
import sqlalchemy as sa

from flux_assets.errors import BusyError, LayerError, PublishError
from flux_assets.layers.versions import Version
from flux_assets.ledger import runs
from flux_assets.ledger.runs import Lease, leased
from flux_assets.postgis import liveness
from flux_assets.postgis.liveness import Limits
from flux_assets.postgis.locking import LockRetries
from flux_assets.postgis.relations import Layer
from flux_assets.postgis.session import Target, prepare, run
from flux_assets.sync.diff import TableMerge
from flux_assets_tests.conftest import Sql
from flux_assets_tests.leasing import someone_else
from flux_assets_tests.made_layers import Loader, ReleaseFolder, columns, made_up, rows
from flux_assets_tests.synced import Utility

pytestmark = pytest.mark.bare


@contextmanager
def ready(target: Target) -> Iterator[psycopg.Connection]:
    with target.session("load") as session:
        prepare(session, target.schema)
        yield session


def patience(seconds: float) -> LockRetries:
    return LockRetries(seconds=seconds, log=print)


SILENT = "UPDATE postgres_sync.layer_leases SET seen_at = seen_at - interval '61 s' WHERE layer_name = %s"
ENDED = "SELECT status, error_message FROM postgres_sync.sync_status ORDER BY sync_id"
STAGED = "SELECT relation FROM postgres_sync.layer_versions WHERE state = 'staged'"
STATE = "SELECT state FROM postgres_sync.v_table_status WHERE layer_name = %s"
OVERTAKEN = "The process gave no sign of life for a minute; a later run took its place."
POLES = Layer("public", made_up())


@pytest.fixture
def loader(target: Target, tmp_path: Path) -> Loader:
    return Loader(target, ReleaseFolder(tmp_path))


@pytest.fixture
def frozen_before(loader: Loader, sql: Sql, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Freeze the next load before it calls a function, for so long that a load of seven rows takes its place."""

    def freeze(place: object, name: str, *, inspected: bool = False) -> None:
        original = getattr(place, name)

        def frozen(*given: object, **more: object) -> object:
            monkeypatch.setattr(place, name, original)
            sql(SILENT, "poles")
            staged = sql(STAGED) if inspected else ()
            with loader.target.session("inspection") as session, session.transaction():
                for (relation,) in staged:
                    session.execute(f"SELECT FROM flux_versions.{relation}")
                assert loader.load(made_up(), rows(7)).outcome == "published"
            return original(*given, **more)

        monkeypatch.setattr(place, name, frozen)

    return freeze


def test_a_load_that_was_frozen_meets_a_newer_lease_and_publishes_nothing(
    loader: Loader, sql: Sql, frozen_before: Callable[..., None]
) -> None:
    """It wakes up with its session alive, right before the swap."""
    loader.load(made_up(), rows(5))
    frozen_before(Version, "making_current")
    with pytest.raises(PublishError, match="another load has begun since this one was interrupted"):
        loader.load(made_up(), rows(6))
    assert sql("SELECT count(*) FROM poles") == [(7,)]
    assert sql(ENDED) == [("SUCCESS", None), ("FAILED", OVERTAKEN), ("SUCCESS", None)]
    assert sql(STATE, "poles") == [("live",)], "what the newest load did counts, not what the frozen one said later"
    loader.load(made_up(), rows(8))
    tables = sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'flux_versions'")
    assert tables == [(2,)], "what the frozen load had made is dropped by the next"


def test_a_version_that_a_newer_load_dropped_is_not_brought_back_by_the_verdict_of_its_audits(
    loader: Loader, sql: Sql, frozen_before: Callable[..., None]
) -> None:
    loader.load(made_up(), rows(5))
    frozen_before(Version, "judged")
    with pytest.raises(LayerError, match=r"is gone. Run the load again"):
        loader.load(made_up(), rows(6))
    assert sql("SELECT state, rows FROM postgres_sync.layer_versions ORDER BY lease") == [
        ("published", 5), ("dropped", None), ("published", 7),
    ]  # fmt: skip


def test_a_frozen_load_whose_version_is_still_there_does_not_publish_it_over_a_newer_one(
    loader: Loader, sql: Sql, frozen_before: Callable[..., None]
) -> None:
    """The newer load could not drop it, for somebody was reading it: nothing but the lease is in its way."""
    loader.load(made_up(), rows(5))
    frozen_before(LockRetries, "briefly", inspected=True)
    with pytest.raises(PublishError, match="another load has begun since this one was interrupted"):
        loader.load(made_up(), rows(6))
    assert sql("SELECT count(*) FROM poles") == [(7,)]
    assert sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'flux_versions'") == [(3,)]


def test_a_load_that_was_frozen_before_it_added_a_column_adds_none(
    loader: Loader, sql: Sql, frozen_before: Callable[..., None]
) -> None:
    loader.load(made_up(), rows(5))
    frozen_before(LockRetries, "briefly")
    wider = made_up(parts=columns(colour=sa.Column("colour", sa.String(9), comment="Colour.")))
    with pytest.raises(PublishError, match="another load has begun since this one was interrupted"):
        loader.load(wider, [row | {"colour": "red"} for row in rows(6)])
    assert sql("SELECT count(*) FROM information_schema.columns WHERE column_name = 'colour'") == [(0,)]


def test_a_sync_that_was_frozen_meets_a_newer_lease_and_writes_nothing(
    utility: Utility, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    utility.tell("INSERT INTO FEEDERS VALUES ('L1', 'one', 1)")
    utility.synced()
    stage = TableMerge.stage

    def freeze(*given: object) -> None:
        monkeypatch.setattr(TableMerge, "stage", stage)
        stage(*given)
        sql(SILENT, Lease.SYNC)
        utility.tell("UPDATE FEEDERS SET TITLE = 'new'")
        assert utility.synced("feeders")["feeders"].updated == 1

    monkeypatch.setattr(TableMerge, "stage", freeze)
    utility.tell("UPDATE FEEDERS SET TITLE = 'old'")
    assert "Another sync has begun since this one was interrupted" in utility.failed("feeders")["feeders"]
    assert sql("SELECT title FROM feeders") == [("new",)]
    assert sql(ENDED)[-2:] == [("FAILED", OVERTAKEN), ("SUCCESS", None)]
    assert utility.synced()["feeders"].outcome == "unchanged"


HELD = "SELECT holder_pid IS NOT NULL FROM postgres_sync.layer_leases WHERE layer_name = %s"


@pytest.fixture
def held_at_the_end(sql: Sql) -> Iterator[list[bool]]:
    """Whether the lease of syncs is still held right after the commit of each sync."""
    found: list[bool] = []

    def look(point: str) -> None:
        if point == "sync.committed":
            found.extend(held for (held,) in sql(HELD, Lease.SYNC))

    runs.hooks.append(look)
    yield found
    runs.hooks.remove(look)


def test_a_sync_gives_its_lease_back_in_its_commit_unless_something_is_left_to_do(
    utility: Utility, sql: Sql, held_at_the_end: list[bool]
) -> None:
    """Statistics, or the ledger's rows of tables that failed: without the lease its run would pass for dead."""
    utility.tell("INSERT INTO FEEDERS SELECT 'L' || SEQ4(), 'one', 1 FROM TABLE(GENERATOR(ROWCOUNT => 20))")
    utility.synced()
    utility.tell("UPDATE FEEDERS SET TITLE = 'two'")
    utility.synced()
    sql("ALTER TABLE faults ALTER COLUMN homes TYPE text")
    utility.tell("UPDATE FEEDERS SET TITLE = 'three'")
    assert utility.failed().keys() == {"faults"}
    assert held_at_the_end == [True, False, True]
    assert sql(HELD, Lease.SYNC) == [(False,)]
    assert sql("SELECT count(*) FROM postgres_sync.sync_status WHERE status = 'RUNNING'") == [(0,)]


def test_a_holder_that_died_is_not_called_silent(loader: Loader, sql: Sql) -> None:
    loader.load(made_up(), rows(5))
    sql("UPDATE postgres_sync.layer_leases SET holder_pid = 1, holder_start = now(), seen_at = now() - interval '1 h'")
    sql(
        "INSERT INTO postgres_sync.sync_status (layer_name, backend_pid, backend_start)"
        " SELECT layer_name, holder_pid, holder_start FROM postgres_sync.layer_leases"
    )
    loader.load(made_up(), rows(6))
    assert sql(ENDED)[1] == ("FAILED", "The process ended without finishing; closed by a later run.")


def test_a_run_that_had_given_its_lease_back_closes_its_own_row(target: Target, sql: Sql) -> None:
    """Whoever takes the lease at that moment has seen it held."""
    with someone_else(target.conninfo, name="poles") as other, ready(target) as session:
        sql("INSERT INTO postgres_sync.sync_status (layer_name, backend_pid, backend_start)"
            " SELECT layer_name, holder_pid, holder_start FROM postgres_sync.layer_leases")  # fmt: skip
        with ThreadPoolExecutor(1) as pool, other.transaction():
            other.execute(Lease(schema="public", name="poles", number=1).releasing())
            taking = pool.submit(lambda: run(session, Lease.acquiring("public", "poles")))
            while not sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")[0][0]:
                sleep(0.02)
        [found] = taking.result()
        assert Lease.acquired(session, "public", "poles", found) is not None
        assert sql("SELECT status FROM postgres_sync.sync_status") == [("RUNNING",)]


def test_a_holder_that_lost_its_connection_ends_what_it_left_open(target: Target, sql: Sql) -> None:
    lease = Lease(schema="public", name="poles", number=1)
    with someone_else(target.conninfo, name="poles") as other, ready(target) as session:
        session.execute(lease.ending_session())
        other.execute("SELECT 1")
        other.execute("BEGIN; SELECT FROM postgres_sync.tables FOR UPDATE")
        session.execute(replace(lease, number=2).ending_session())
        other.execute("SELECT 1")
        session.execute(lease.ending_session())
        with pytest.raises(psycopg.OperationalError):
            other.execute("SELECT 1")


def test_a_lease_is_free_as_soon_as_its_session_has_ended(target: Target, sql: Sql) -> None:
    with someone_else(target.conninfo, name="poles") as other, target.session("load") as session:
        with pytest.raises(BusyError), leased(session, target, patience(0), POLES):
            pass
        sql("SELECT pg_terminate_backend(%s)", other.info.backend_pid)
        with leased(session, target, patience(60), POLES) as lease:
            assert lease.number == 2
    assert sql("SELECT holder_pid, seen_at FROM postgres_sync.layer_leases") == [(None, None)]


def test_a_holder_at_work_gives_signs_of_life(target: Target, sql: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "LIMITS", Limits(beat=0.1, probe=0.1))
    seen = "SELECT seen_at FROM postgres_sync.layer_leases WHERE layer_name = 'poles'"
    with (
        someone_else(target.conninfo, name="other"),
        target.session("load") as session,
        leased(session, target, patience(0), POLES),
    ):
        first = sql(seen)
        while sql(seen) == first:
            sleep(0.05)
    assert sql("SELECT count(*) FROM postgres_sync.layer_leases WHERE holder_pid IS NULL") == [(1,)]


def test_who_was_overtaken_gives_back_nothing_of_the_next_holders(target: Target, sql: Sql) -> None:
    with ready(target) as session, leased(session, target, patience(0), POLES) as lease:
        sql(SILENT, "poles")
        with someone_else(target.conninfo, name="poles") as other:
            session.execute(lease.beating())
            assert sql("SELECT lease, holder_pid FROM postgres_sync.layer_leases") == [(2, other.info.backend_pid)]
            with pytest.raises(psycopg.Error) as refused:
                session.execute(lease.holding())
            assert Lease.overtaken(refused.value, "poles")


def test_who_waits_to_hold_a_lease_sees_what_became_of_it(target: Target, sql: Sql) -> None:
    lease = Lease(schema="public", name="poles", number=1)
    with someone_else(target.conninfo, name="poles") as other, ready(target) as session:
        with ThreadPoolExecutor(1) as pool, other.transaction():
            other.execute(lease.revoking())
            holding = pool.submit(session.execute, lease.holding())
            while not sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")[0][0]:
                sleep(0.02)
        with pytest.raises(psycopg.Error, match="lease 1 was overtaken by lease 2") as refused:
            holding.result()
        assert Lease.overtaken(refused.value, "poles")
        session.execute(replace(lease, number=2).holding())


def test_readers_can_neither_hold_nor_lock_a_lease(target: Target, reader_sql: Sql, sql: Sql) -> None:
    with someone_else(target.conninfo):
        for statement in (
            "SELECT FROM postgres_sync.layer_leases FOR UPDATE",
            "DO 'BEGIN LOCK TABLE postgres_sync.layer_leases IN ACCESS SHARE MODE; END'",
            "SELECT postgres_sync.hold_lease('public', '(sync)', 1)",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader_sql(statement)
