"""A pooler before the target: one that shares sessions out is refused before anything is done, the others work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from flux_assets.doctor import connection as doctor
from flux_assets.errors import TargetError
from flux_assets.layers.status import table_statuses
from flux_assets.postgis import pooler
from flux_assets.postgis.session import Target
from flux_assets.sample.cluster import Cluster
from flux_assets_tests.conftest import Sql
from flux_assets_tests.made_layers import Loader, ReleaseFolder, made_up, rows
from flux_assets_tests.pooling import left_behind, pooled
from flux_assets_tests.synced import Utility

pytestmark = pytest.mark.bare

REMEDIES = ("Name the server itself in FLUX_POSTGRES_URL", "or give this database pool_mode = session in the pooler")


@pytest.mark.parametrize(
    "settings",
    [
        {"mode": "transaction"},
        {"mode": "transaction", "default_pool_size": 1},
        {"mode": "transaction", "server_round_robin": 1},
        {"mode": "statement"},
    ],
    ids=["transaction", "one connection", "round robin", "statement"],
)
def test_a_pooler_that_shares_sessions_out_is_refused_before_anything_is_done(
    cluster: Cluster,
    utility: Utility,
    sql: Sql,
    tmp_path: Path,
    settings: dict,
    caplog: pytest.LogCaptureFixture,
) -> None:
    direct = utility.target
    with pooled(cluster, direct, **settings) as target:
        # A pool that has been used: the next client is given what it has.
        with ExitStack() as clients:
            for _ in range(settings.get("default_pool_size", 3)):
                client = clients.enter_context(psycopg.connect(target.conninfo, autocommit=True))
                client.execute("SELECT 1")
        with pytest.raises(TargetError) as of_load:
            Loader(target, ReleaseFolder(tmp_path / "v1")).load(made_up(), rows(5))
        utility.target = target
        with pytest.raises(TargetError) as of_sync:
            utility.sync()
        with pytest.raises(TargetError) as of_status:
            table_statuses(target, [made_up()])
        finding = doctor.refused(target)
        assert finding is not None
        for said in (
            str(of_load.value),
            str(of_sync.value),
            str(of_status.value),
            f"{finding.message} {finding.remedy}",
        ):
            assert "The target database is behind a pooler" in said
            assert all(remedy in said for remedy in REMEDIES)
        assert left_behind(target) == []
    assert "error ignored" not in caplog.text  # as psycopg says of a session that it cannot end in order
    assert sql("SELECT to_regnamespace('postgres_sync')") == [(None,)]


@pytest.fixture
def session_pool(cluster: Cluster, target: Target) -> Iterator[Target]:
    """One that hands its server connections on as they were left, the worst case."""
    with pooled(cluster, target, "session", server_reset_query="") as through:
        yield through


def test_sessions_that_are_whole_work_and_leave_nothing(
    session_pool: Target, utility: Utility, sql: Sql, tmp_path: Path
) -> None:
    loader = Loader(session_pool, ReleaseFolder(tmp_path / "v1"))
    assert loader.load(made_up(), rows(5)).outcome == "published"
    assert loader.load(made_up(), rows(6)).outcome == "published"
    utility.target = session_pool
    for homes in (1, 2, 3):
        utility.tell(f"DELETE FROM FAULTS; INSERT INTO FAULTS SELECT 'F1', 'L1', 'OPEN', SYSDATE(), {homes}, -95, 29")
        utility.synced()
        assert sql("SELECT homes FROM faults") == [(homes,)]
    assert table_statuses(session_pool, [made_up()])[0].rows == 6
    assert left_behind(session_pool) == []
    with session_pool.session("doctor") as session:
        said = [each.message for each in doctor.server(session, "")]
    assert any("a pooler in session mode" in each for each in said)


def test_a_pool_without_a_free_connection_is_told_from_one_that_shares(
    cluster: Cluster, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pooler, "_WAIT_SECONDS", 0.2)
    with pooled(cluster, target, "session", default_pool_size=1) as through, through.session("test") as session:
        assert session.is_pooled
        assert session.execute("SELECT 1").fetchone() == (1,)


def test_a_busy_pool_that_shares_is_told_when_it_is_free(
    cluster: Cluster, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its only connection is another client's while ours asks: neither of our two sessions is served before that."""
    monkeypatch.setattr(pooler, "_WAIT_SECONDS", 0.2)
    with pooled(cluster, target, "transaction", default_pool_size=1) as through:
        busy = psycopg.connect(through.conninfo, autocommit=True)
        plain, waits = pooler._send, pooler._is_served_before

        def send_behind_another(session: Any, script: str) -> None:
            if script.startswith("BEGIN"):
                busy.execute("BEGIN")
            plain(session, script)

        def release(*given: Any) -> bool:
            busy.execute("COMMIT")
            return waits(*given)

        monkeypatch.setattr(pooler, "_send", send_behind_another)
        monkeypatch.setattr(pooler, "_is_served_before", release)
        with busy, pytest.raises(TargetError, match="gives each transaction another"), through.session("test"):
            pass


def test_a_parameter_that_the_pooler_refuses_is_told(session_pool: Target) -> None:
    asked = Target(conninfo=make_conninfo(session_pool.conninfo, options="-c jit=off"))
    with pytest.raises(TargetError) as caught, asked.session("test"):
        pass
    assert "refuses a parameter of the address" in caught.value.problem
    assert "ignore_startup_parameters" in caught.value.remedy


def test_without_a_pooler_nothing_is_asked_besides(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pooler, "require_whole_sessions", None)
    with target.session("test") as session:
        assert not session.is_pooled
