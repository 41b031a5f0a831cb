"""Readers while syncs go on: over real connections, in one statement, the tables always agree and are never empty."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from flux_assets.errors import TargetError
from flux_assets.ledger import runs
from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.session import Target
from flux_assets.sync.diff import TableMerge
from flux_assets_tests.conftest import Sql
from flux_assets_tests.cutting_proxy import Cut, cutting_proxy
from flux_assets_tests.synced import Utility

SYNCS = 20
# A fault without its count on its own feeder, or a count without its fault, is a disagreement.
AGREE = """
SELECT NOT EXISTS (
           SELECT FROM feeders AS d WHERE d.faults IS DISTINCT FROM
               (SELECT count(*) FROM faults AS f WHERE f.feeder = d.feeder AND f.state = 'OPEN')),
       (SELECT count(*) FROM faults) >= 60, (SELECT count(*) FROM feeders) = 4
"""
SEED = """
INSERT INTO FEEDERS SELECT 'L' || SEQ4(), 'x', 1 FROM TABLE(GENERATOR(ROWCOUNT => 4));
INSERT INTO FAULTS SELECT 'F' || SEQ4(), 'L' || MOD(SEQ4(), 4), 'OPEN', SYSDATE(), SEQ4(), -95, 29
FROM TABLE(GENERATOR(ROWCOUNT => 80))
"""


@pytest.fixture
def running(utility: Utility) -> Utility:
    utility.tell(SEED)
    utility.synced()
    return utility


def test_no_reader_ever_sees_the_tables_disagree(running: Utility) -> None:
    seen: Counter[tuple] = Counter()
    done = threading.Event()

    def read() -> None:
        with psycopg.connect(running.target.conninfo, autocommit=True) as reader:
            while not done.is_set():
                seen.update(reader.execute(AGREE).fetchall())

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        for number in range(SYNCS):
            state = "SHUT" if number % 2 else "OPEN"
            running.tell(
                f"UPDATE FAULTS SET STATE = '{state}', HOMES = {number} WHERE MOD(HOMES, 4) < 2;"
                f"INSERT INTO FAULTS SELECT 'N{number}', 'L{number % 4}', 'OPEN', SYSDATE(), 3, -95, 29;"
                f"UPDATE FAULTS SET FEEDER = 'L{number % 4}' WHERE MOD(HOMES, 5) = {number % 5};"
                f"UPDATE FEEDERS SET TITLE = 'T{number}' WHERE FEEDER = 'L{number % 4}'"
            )
            # Both written for themselves in two rounds of three; in the third the counts alone follow.
            wanted = ("faults",) if number % 3 == 0 else ("faults", "feeders")
            written = {name for name, each in running.synced(*wanted).items() if each.outcome == "changed"}
            assert written.issuperset(wanted)
    finally:
        done.set()
        for reader in readers:
            reader.join()
    assert seen.keys() == {(True, True, True)}
    assert seen.total() > SYNCS


Broken = Callable[[Utility, pytest.MonkeyPatch], None]


def _kill(session: psycopg.Connection, conninfo: str) -> None:
    with psycopg.connect(conninfo, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [session.info.backend_pid])


def _at_staging(running: Utility, monkeypatch: pytest.MonkeyPatch) -> None:
    staged = TableMerge.stage

    def stage(merge: TableMerge, *rest: object) -> None:
        _kill(merge.session, running.target.conninfo)
        staged(merge, *rest)

    monkeypatch.setattr(TableMerge, "stage", stage)


def _after_staging(running: Utility, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = TableMerge.compare

    def compare(merge: TableMerge, *rest: object) -> object:
        found = compared(merge, *rest)
        _kill(merge.session, running.target.conninfo)
        return found

    monkeypatch.setattr(TableMerge, "compare", compare)


def _before_commit(running: Utility, monkeypatch: pytest.MonkeyPatch) -> None:
    def kill(point: str) -> None:
        if point != "sync.before_commit":
            return
        with psycopg.connect(running.target.conninfo, autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE application_name = 'flux_assets sync' AND datname = current_database()"
            )

    monkeypatch.setattr(runs, "hooks", [kill])


@pytest.mark.parametrize("breaks", [_at_staging, _after_staging, _before_commit])
def test_a_server_that_is_gone_half_way_leaves_all_tables_as_they_were(
    running: Utility, sql: Sql, breaks: Broken
) -> None:
    shown = (
        "SELECT fault_id, state, xmin::text FROM faults UNION ALL SELECT feeder, faults::text, xmin::text FROM feeders"
    )
    before = sorted(sql(shown))
    running.tell("UPDATE FAULTS SET STATE = 'SHUT' WHERE MOD(HOMES, 2) = 0; UPDATE FEEDERS SET TITLE = 'y'")
    with pytest.MonkeyPatch.context() as monkeypatch:
        breaks(running, monkeypatch)
        failed = running.failed()
    assert failed.keys() == {"faults", "feeders"}
    assert all("database" in said for said in failed.values()), failed
    assert sorted(sql(shown)) == before
    assert sql("SELECT status FROM postgres_sync.sync_status ORDER BY sync_id DESC LIMIT 2") == [("FAILED",)] * 2
    assert running.synced()["faults"].updated == 40
    assert sql(AGREE) == [(True, True, True)]


@pytest.mark.parametrize("cut", ["answered", "unread", "late"])
def test_a_commit_whose_answer_is_lost_is_what_the_ledger_says(running: Utility, sql: Sql, cut: Cut) -> None:
    running.tell("UPDATE FAULTS SET STATE = 'SHUT' WHERE MOD(HOMES, 2) = 0; UPDATE FEEDERS SET TITLE = 'y'")
    port = int(conninfo_to_dict(running.target.conninfo)["port"])
    with cutting_proxy(port, cut) as proxy:
        away = make_conninfo(
            running.target.conninfo, host="127.0.0.1", port=proxy.port, sslmode="disable", gssencmode="disable"
        )
        failed = replace(running, target=Target(conninfo=away)).failed()
    assert proxy.cut_off.is_set()
    assert failed.keys() == {"faults", "feeders"}
    assert all("was lost during the sync's commit" in said for said in failed.values()), failed
    assert "v_sync_status" in failed["faults"]
    # The server may still be at it: what it does now must not count any more.
    assert proxy.settled.wait(60)
    states = sql("SELECT DISTINCT status FROM postgres_sync.sync_status WHERE sync_id > 2")
    committed = sql("SELECT count(*) FROM faults WHERE state = 'SHUT'") == [(40,)]
    assert states == [("SUCCESS" if committed else "FAILED",)]
    assert committed == (cut == "answered") or cut == "unread"
    assert sql(AGREE) == [(True, True, True)]
    again = running.synced()
    assert {table.outcome for table in again.values()} == {"unchanged" if committed else "changed"}
    assert sql("SELECT (SELECT count(*) FROM faults WHERE state = 'SHUT'), (SELECT min(title) FROM feeders)") == [
        (40, "y")
    ]
    assert sql(AGREE) == [(True, True, True)]


def test_a_server_that_is_not_there_is_an_error_before_anything_is_read(running: Utility) -> None:
    away = Utility(account=running.account, target=type(running.target)(conninfo="host=127.0.0.1 port=9 dbname=x"))
    with pytest.raises(TargetError, match="cannot be reached"):
        away.sync()


def test_a_request_to_stop_ends_the_sync_and_keeps_what_was_there(running: Utility, sql: Sql) -> None:
    before = sql("SELECT sum(homes) FROM faults")
    running.tell("UPDATE FAULTS SET HOMES = 1000")
    stop, staged = Stop(), TableMerge.stage

    def stage(*given: object) -> None:
        staged(*given)
        stop.request()

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(TableMerge, "stage", stage)
        failed = running.failed(stop=stop)
    assert failed.keys() == {"faults", "feeders"}
    assert sql("SELECT sum(homes) FROM faults") == before
    assert running.synced()["faults"].updated == 80
