"""One sync at a time: the lock is held from the first look to the commit, and not for ever by one that hangs."""

from __future__ import annotations

from datetime import timedelta
from time import sleep
from typing import Any

import psycopg
import pytest

from flux_assets.sync import gate
from flux_assets.sync.diff import TableMerge
from flux_assets_tests.conftest import Sql
from flux_assets_tests.synced import Utility

SEED = """
INSERT INTO FEEDERS VALUES ('L1', 'one', 1);
INSERT INTO FAULTS SELECT 'F1', 'L1', 'OPEN', SYSDATE(), 1, -95, 29
"""


@pytest.fixture
def running(utility: Utility) -> Utility:
    utility.tell(SEED)
    utility.synced()
    return utility


def test_the_lock_is_held_through_the_whole_sync(running: Utility, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str | None] = []
    for name in ("stage", "compare"):
        step = getattr(TableMerge, name)

        def meanwhile(*given: object, step: Any = step) -> object:
            said.append(running.sync().busy)
            return step(*given)

        monkeypatch.setattr(TableMerge, name, meanwhile)
    running.tell("UPDATE FAULTS SET HOMES = HOMES + 1; UPDATE FEEDERS SET TITLE = 'Other'")
    running.synced()
    assert len(said) == 4
    assert all(busy and "Another sync into schema public is running" in busy for busy in said)
    monkeypatch.undo()
    assert running.sync().busy is None


def test_who_holds_the_lock_is_told_with_its_run_and_what_it_does_not_bring(
    running: Utility, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str | None] = []
    stage = TableMerge.stage

    def meanwhile(*given: Any) -> None:
        said.extend(running.sync(*wanted).busy for wanted in (["faults"], ["faults", "feeders"]))
        stage(*given)

    monkeypatch.setattr(TableMerge, "stage", meanwhile)
    running.tell("UPDATE FAULTS SET HOMES = HOMES + 1")
    running.synced("faults", run_id="the-run")
    same, more = said
    assert same is not None
    assert ", of Dagster run the-run. Nothing that was asked for here was done: that sync brings the same" in same
    assert more is not None
    assert more.endswith("was done; feeders follow with the next tick, or when asked for again.")


@pytest.mark.parametrize("opening", ["", "BEGIN"], ids=["idle", "idle in a transaction"])
def test_a_sync_that_hangs_gives_the_lock_back_after_its_time(
    running: Utility, monkeypatch: pytest.MonkeyPatch, opening: str
) -> None:
    for name in ("TIME_LIMIT", "_IDLE_LIMIT"):
        monkeypatch.setattr(gate, name, timedelta(seconds=1))
    with running.target.session("sync") as ghost:
        assert gate.open_gate(ghost, "public", []).lease
        if opening:
            ghost.execute(opening)
        assert running.sync().busy is not None
        # It says nothing for longer than its time; the server ends it, however long that takes here.
        while running.sync().busy is not None:
            sleep(0.2)
        with pytest.raises(psycopg.Error, match=r"timeout|closed"):
            ghost.execute("SELECT 1")
    assert running.synced()["faults"].error is None


def test_a_session_of_a_sync_asks_after_a_client_that_says_nothing(running: Utility) -> None:
    wanted = {
        "tcp_keepalives_idle": "30", "tcp_keepalives_interval": "10", "tcp_keepalives_count": "3",
        "idle_session_timeout": "10min", "idle_in_transaction_session_timeout": "2min", "statement_timeout": "10min",
        "lock_timeout": "10s",
    }  # fmt: skip
    with running.target.session("sync") as session:
        gate.open_gate(session, "public", [])
        # Over a Unix socket PostgreSQL shows keepalives as 0, whatever is set.
        asked = [name for name in wanted if not name.startswith("tcp_") or "/" not in running.target.conninfo]
        shown = {name: session.execute(f"SHOW {name}").fetchone()[0] for name in asked}
    assert shown == {name: wanted[name] for name in asked}


@pytest.mark.parametrize(
    "older",
    [
        "ALTER TABLE postgres_sync.sync_state DROP COLUMN mapping; COMMENT ON SCHEMA postgres_sync IS 'revision 3'",
        "DROP SCHEMA postgres_sync CASCADE",
    ],
    ids=["an older release's", "gone"],
)
def test_a_ledger_that_is_not_ready_is_made_so_and_the_session_is_set_up(
    running: Utility, sql: Sql, older: str, pytestconfig: pytest.Config
) -> None:
    sql(older)
    with running.target.session("sync", is_set=False) as session:
        opening = gate.open_gate(session, "public", running.tables)
        assert opening.lease
        assert opening.target.last.keys() == ({"faults", "feeders"} if "ALTER" in older else set())
        shown = [session.execute(f"SHOW {name}").fetchone()[0] for name in ("jit", "lock_timeout", "search_path")]
        *others, path = shown
        assert others == ["off", "10s"]
        assert path.startswith(f"pg_catalog, {pytestconfig.getoption('--postgis-schema')}, pg_temp, public")
        assert running.sync().busy is not None
    assert all(each.error is None for each in running.synced().values())
    assert sql("SELECT count(mapping), count(*) FROM postgres_sync.sync_state") == [(2, 2)]
