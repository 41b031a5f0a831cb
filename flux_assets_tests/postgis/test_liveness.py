"""Waits for a server that will not answer end, whatever became of the connection; waits for one at work do not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from threading import Thread
from time import sleep

import psycopg
import pytest

from flux_assets.postgis import liveness
from flux_assets.postgis.liveness import Limits, Stop
from flux_assets.postgis.session import Target
from flux_assets_tests.conftest import Sql
from flux_assets_tests.silent_proxy import SilentProxy, silent_proxy

pytestmark = pytest.mark.bare


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "LIMITS", Limits(silence=0.3, probe=0.5, unreachable=1.5, cancel=0.5, beat=0.2))


@pytest.fixture
def proxy(target: Target) -> Iterator[SilentProxy]:
    with silent_proxy(target.conninfo) as proxy:
        yield proxy


def test_an_answer_that_was_lost_is_not_waited_for(proxy: SilentProxy, target: Target) -> None:
    with Target(conninfo=proxy.through(target.conninfo)).session("test") as session:
        proxy.silence("server", newcomers=False)
        with pytest.raises(psycopg.OperationalError, match="the answer was lost on the way"):
            session.execute("SELECT 1")
        assert session.closed


def test_a_statement_that_never_arrived_is_not_waited_for(proxy: SilentProxy, target: Target) -> None:
    with Target(conninfo=proxy.through(target.conninfo)).session("test") as session:
        proxy.silence("client", newcomers=False)
        with pytest.raises(psycopg.OperationalError, match="the answer was lost on the way"):
            session.execute("SELECT 1")


@pytest.mark.parametrize("swallows", [True, False])
def test_a_copy_whose_rows_do_not_arrive_is_given_up_and_its_session_ended(
    proxy: SilentProxy, target: Target, sql: Sql, swallows: bool
) -> None:
    def copy_all(session: psycopg.Connection) -> None:
        with session.cursor().copy("COPY t FROM STDIN") as copy:
            copy.write("first\n")
            proxy.silence("both", newcomers=False)
            for _ in range(200):
                copy.write("x" * 100_000 + "\n")

    proxy.swallows = swallows
    with Target(conninfo=proxy.through(target.conninfo)).session("copying") as session:
        session.execute("CREATE TEMP TABLE t (text text)")
        with pytest.raises(psycopg.OperationalError, match="waits for data that was lost on the way"):
            copy_all(session)
    while sql("SELECT 1 FROM pg_stat_activity WHERE application_name = 'flux_assets copying'"):
        sleep(0.05)


def test_a_session_that_was_ended_without_a_word_is_noticed(proxy: SilentProxy, target: Target, sql: Sql) -> None:
    with Target(conninfo=proxy.through(target.conninfo)).session("test") as session:
        proxy.silence("both", newcomers=False)
        sql("SELECT pg_terminate_backend(%s)", session.server_pid)
        with pytest.raises(psycopg.OperationalError, match="has ended the session, and the connection did not say so"):
            session.execute("SELECT 1")


def test_a_server_that_nobody_reaches_is_given_up(proxy: SilentProxy, target: Target) -> None:
    with Target(conninfo=proxy.through(target.conninfo)).session("test") as session:
        proxy.silence("both")
        with pytest.raises(psycopg.OperationalError, match="the server has not answered for"):
            session.execute("SELECT 1")


def test_a_server_that_is_at_work_is_waited_for(proxy: SilentProxy, target: Target, sql: Sql) -> None:
    """The statement waits for a lock until the session has been asked about several times."""
    sql("CREATE TABLE held (id int)")
    with (
        psycopg.connect(target.conninfo) as other,
        Target(conninfo=proxy.through(target.conninfo)).session("test") as session,
    ):
        other.execute("LOCK TABLE held")
        waiting = Thread(target=session.execute, args=("LOCK TABLE public.held; SELECT 1",))
        waiting.start()
        asked = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'flux_assets liveness'"
        probes = 0
        while probes < 3:
            probes += 1 if sql(asked) != [(0,)] else 0
        other.rollback()
        waiting.join()
        assert session.execute("SELECT 2").fetchone() == (2,)


def test_a_stop_does_not_wait_for_a_server_that_is_silent(proxy: SilentProxy, target: Target) -> None:
    stop = Stop()
    with Target(conninfo=proxy.through(target.conninfo)).session("test", stop) as session:
        proxy.silence("both")
        Thread(target=stop.request).start()
        with pytest.raises(psycopg.OperationalError, match=r"did not end a cancelled statement|has not answered"):
            session.execute("SELECT 1")


def _stop_once_asleep(sql: Sql, pid: int, stop: Stop) -> None:
    while not sql("SELECT 1 FROM pg_stat_activity WHERE pid = %s AND wait_event = 'PgSleep'", pid):
        sleep(0.05)
    stop.request()


def test_a_stop_cancels_what_runs(target: Target, sql: Sql) -> None:
    stop = Stop()
    with target.session("test", stop) as session:
        Thread(target=_stop_once_asleep, args=(sql, session.server_pid, stop)).start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            session.execute("SELECT pg_sleep(600)")
        assert session.execute("SELECT 1").fetchone() == (1,)


def test_a_forked_process_watches_its_own_connections_alone(target: Target) -> None:
    with target.session("parent"):
        child = os.fork()
        if child == 0:
            with target.session("child") as session:
                answer = session.execute("SELECT 1").fetchone()
            watched = liveness._WATCH._watched
            os._exit(0 if answer == (1,) and not watched else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_session_that_goes_silent_before_its_first_answer_is_given_up(proxy: SilentProxy, target: Target) -> None:
    with Target(conninfo=proxy.through(target.conninfo)).session("test", is_set=False) as session:
        proxy.silence("server", newcomers=False)
        with pytest.raises(psycopg.OperationalError, match="the answer was lost on the way"):
            session.execute("SELECT 1")


def test_a_transfer_that_moves_is_waited_for(proxy: SilentProxy, target: Target) -> None:
    """The answer comes in pieces, for longer than silence and probes take to agree."""
    with Target(conninfo=proxy.through(target.conninfo)).session("test") as slow:
        proxy.slow_down(0.1)
        (answer,) = slow.execute("SELECT repeat('x', 30000000)").fetchone()
        assert len(answer) == 30_000_000


def test_a_sign_of_life_that_waits_ends_no_other_wait(target: Target, sql: Sql) -> None:
    sql("CREATE TABLE row (id int); INSERT INTO row VALUES (1)")
    with psycopg.connect(target.conninfo) as other, target.session("test") as session:
        other.execute("SELECT FROM row FOR UPDATE")
        with liveness.beating(target.conninfo, "UPDATE public.row SET id = 2"):
            assert session.execute("SELECT pg_sleep(5)").fetchone() is not None


def test_another_server_behind_the_same_address_is_not_believed(target: Target) -> None:
    """It knows no such session."""
    with target.session("test") as session:
        assert session.server_started is not None
        session.server_started = datetime(2001, 1, 1, tzinfo=UTC)
        assert session.execute("SELECT pg_sleep(3)").fetchone() is not None
