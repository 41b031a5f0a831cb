"""A sync is cut off, or the ground moves under it: what it says is what is so, and the next one fixes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import errors
from psycopg.sql import Composable

from flux_assets.sync import gate, record
from flux_assets.sync.diff import TableMerge
from flux_assets_tests.conftest import Sql
from flux_assets_tests.synced import Utility

SEED = """
INSERT INTO FEEDERS VALUES ('L1', 'one', 1), ('L2', 'two', 2);
INSERT INTO FAULTS SELECT 'F' || SEQ4(), 'L' || (1 + MOD(SEQ4(), 2)), 'OPEN', SYSDATE(), SEQ4(), -95, 29
FROM TABLE(GENERATOR(ROWCOUNT => 120))
"""
LEDGER = """
SELECT DISTINCT ON (layer_name) layer_name, status, error_message FROM postgres_sync.sync_status
ORDER BY layer_name, sync_id DESC
"""


@pytest.fixture
def running(utility: Utility) -> Utility:
    utility.tell(SEED)
    utility.synced()
    return utility


def told(running: Utility, sql: Sql) -> dict[str, tuple[str, str]]:
    """Of a sync: by table what its result says, and what the ledger does."""
    results = {each.table: each.outcome for each in running.sync().tables}
    return {name: (results.get(name, "missing"), status) for name, status, _ in sql(LEDGER)}


def failing_once(step: Callable[..., Any], error: BaseException, when: Callable[..., bool]) -> Callable[..., Any]:
    """The step, but that it raises the error, once, for what `when` tells, before it does anything."""
    left = [error]

    def failing(*given: Any, **named: Any) -> Any:
        if left and when(*given):
            raise left.pop()
        return step(*given, **named)

    return failing


def test_a_table_that_fails_before_its_savepoint_takes_no_other_back(
    running: Utility, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a cancelled statement does that comes before the table's first round trip has made the savepoint."""
    running.tell("UPDATE FAULTS SET HOMES = 800 WHERE FAULT_ID = 'F3'; UPDATE FEEDERS SET TITLE = 'y'")
    cancelled = failing_once(
        TableMerge.stage, errors.QueryCanceled("cancelled"), lambda merge, *_: merge.live.name == "feeders"
    )
    monkeypatch.setattr(TableMerge, "stage", cancelled)
    assert told(running, sql) == {"faults": ("failed", "FAILED"), "feeders": ("failed", "FAILED")}
    assert sql("SELECT homes FROM faults WHERE fault_id = 'F3'") == [(3,)]
    assert told(running, sql) == {"faults": ("changed", "SUCCESS"), "feeders": ("changed", "SUCCESS")}
    assert sql("SELECT homes FROM faults WHERE fault_id = 'F3'") == [(800,)]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (errors.AdminShutdown("terminating connection"), "terminating connection"),
        (KeyboardInterrupt(), "Stopped on request"),
    ],
    ids=["server", "Ctrl-C"],
)
def test_what_ends_while_the_tables_are_looked_at_is_in_the_ledger(
    running: Utility, sql: Sql, monkeypatch: pytest.MonkeyPatch, error: BaseException, said: str
) -> None:
    monkeypatch.setattr(gate, "read_marks", failing_once(gate.read_marks, error, lambda *_: True))
    if isinstance(error, Exception):
        assert {each.outcome for each in running.sync().tables} == {"failed"}
    else:
        with pytest.raises(KeyboardInterrupt):
            running.sync()
    assert [(status, said in message) for _, status, message in sql(LEDGER)] == [("FAILED", True)] * 2
    running.synced()


def test_a_table_that_is_dropped_between_two_looks_has_failed(
    running: Utility, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = gate.TargetState.read

    def later(session: psycopg.Connection, *given: Any) -> Any:
        sql("DROP TABLE IF EXISTS feeders")
        return plain(session, *given)

    sql("DROP INDEX faults_geom_idx")
    monkeypatch.setattr(gate.TargetState, "read", later)
    assert told(running, sql) == {"faults": ("unchanged", "SUCCESS"), "feeders": ("failed", "FAILED")}
    monkeypatch.undo()
    running.synced()
    assert sql("SELECT count(*) FROM feeders") == [(2,)]


def test_nothing_is_asked_of_the_server_after_the_commit_in_its_round_trip(
    running: Utility, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is refused there, by a cancel that comes late, would pass for a refused commit."""
    sent: list[str] = []
    plain = record.run

    def run(session: psycopg.Connection, statements: Sequence[Composable]) -> Any:
        sent.append(statements[-1].as_string(session))
        return plain(session, statements)

    monkeypatch.setattr(record, "run", run)
    running.tell("UPDATE FAULTS SET HOMES = HOMES + 1")
    assert running.synced()["faults"].published_at is not None
    assert sent[-1] == "COMMIT"


@pytest.mark.parametrize("style", ["iso_8601", "sql_standard", "postgres_verbose"])
def test_how_a_database_writes_intervals_changes_nothing(
    running: Utility, admin_sql: Sql, database: str, style: str
) -> None:
    admin_sql(f"ALTER DATABASE {database} SET intervalstyle = '{style}'")
    running.synced()


def test_where_nothing_is_read_the_instant_is_the_databases(running: Utility, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of this machine may be wrong, and the checks of lag and match believe what was noted."""
    # Within the hour for which a change token is believed.
    at, opened = datetime.now(UTC) + timedelta(minutes=20), gate.open_gate

    def opening(*given: Any) -> Any:
        return replace(opened(*given), at=at)

    plain = running.source

    def with_tokens() -> Any:
        with plain() as source:
            source.tokens = lambda tables: {table.name: "1" for table in tables}
            source.capabilities = replace(source.capabilities, change_token=True)
            yield source

    running.source = contextmanager(with_tokens)  # type: ignore[method-assign]
    running.synced()
    monkeypatch.setattr(gate, "open_gate", opening)
    found = running.synced()
    assert {(each.gate, each.source_instant) for each in found.values()} == {("nothing changed", at)}


# The guard, where others wrote as well.


@pytest.mark.parametrize(
    "writing",
    [
        "UPDATE faults SET fault_id = fault_id || 'x'",
        "DELETE FROM faults WHERE homes < 40; INSERT INTO faults (fault_id, state) SELECT 'H' || n, 'OPEN' FROM"
        " generate_series(1, 40) AS n",
    ],
    ids=["other keys", "others in their place"],
)
def test_a_source_that_is_as_it_was_lost_nothing_whatever_others_did_here(
    running: Utility, sql: Sql, writing: str
) -> None:
    before = sql("SELECT fault_id, homes FROM faults ORDER BY 1")
    sql(writing)
    running.synced()
    assert sql("SELECT fault_id, homes FROM faults ORDER BY 1") == before


def test_rows_that_others_put_in_while_a_sync_is_under_way_are_not_the_sources(
    running: Utility, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = TableMerge.stage

    def meanwhile(merge: TableMerge, *given: Any) -> None:
        if merge.live.name == "faults":
            sql("INSERT INTO faults (fault_id, state) SELECT 'H' || n, 'OPEN' FROM generate_series(1, 40) AS n")
        stage(merge, *given)

    monkeypatch.setattr(TableMerge, "stage", meanwhile)
    running.tell("UPDATE FAULTS SET HOMES = 800 WHERE FAULT_ID = 'F3'")
    assert running.synced()["faults"].deleted == 40


@pytest.mark.parametrize("lost", [30, 45])
def test_rows_that_others_put_in_excuse_no_source_that_lost_its_own(running: Utility, sql: Sql, lost: int) -> None:
    """Of the strangers the source knows the keys, as of faults that are shut: they may be counted once only."""
    running.tell(
        "INSERT INTO FAULTS SELECT 'S' || SEQ4(), 'L1', 'SHUT', '2001-01-01', 1, 1, 1"
        " FROM TABLE(GENERATOR(ROWCOUNT => 30))"
    )
    running.synced()
    sql("INSERT INTO faults (fault_id, state) SELECT 'S' || n, 'OPEN' FROM generate_series(0, 29) AS n")
    running.tell(f"DELETE FROM FAULTS WHERE HOMES < {lost} AND STATE = 'OPEN'")
    refused = {each.table: str(each.error) for each in running.sync().tables if each.error}
    assert f"{lost} of its 150 rows are gone" in refused.get("faults", "")
    assert sql("SELECT count(*) FROM faults") == [(150,)]


def test_rows_that_others_put_in_do_not_make_the_share_of_a_larger_table(running: Utility, sql: Sql) -> None:
    sql("INSERT INTO faults (fault_id, state) SELECT 'H' || n, 'OPEN' FROM generate_series(1, 300) AS n")
    running.tell("DELETE FROM FAULTS WHERE HOMES < 40")  # a third of its 120, and a tenth of the 420 that are here
    assert "faults" in {each.table for each in running.sync().tables if each.error}
    assert sql("SELECT count(*) FROM faults") == [(420,)]
