"""Bad days seen from the tables: a fault that passes is cured, one that stays leaves every row and a FAILED entry, and
the next sync needs no hand. What the source's faults are called is tested in test_warehouse_network.py."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from threading import Thread

import psycopg
import pytest

from flux_assets.postgis.liveness import Stop
from flux_assets.retry import RetryPolicy
from flux_assets.snowflake.account import Account
from flux_assets.snowflake.source import Source
from flux_assets.spec import DynamicTable
from flux_assets.sync import setup
from flux_assets.sync.diff import TableMerge
from flux_assets_tests.conftest import Sql
from flux_assets_tests.faulting_proxy import LOGIN, Fault, Proxy, faulting_proxy
from flux_assets_tests.snowflake.test_warehouse_network import LONG, SHORT, without_pauses
from flux_assets_tests.snowflake_answers import refused
from flux_assets_tests.sourced import config
from flux_assets_tests.synced import Utility

HELD = "SELECT fault_id, feeder, homes, moved FROM faults ORDER BY 1"
LEDGER = "SELECT status, error_message FROM postgres_sync.sync_status ORDER BY sync_id DESC LIMIT {}"
# The requests of a sync: BEGIN, the columns and the rows of the one, of the other.
SECOND_ROWS = 4


class Impatient(Utility):
    """Tries a few times, with hardly a pause."""

    attempts = 2
    proxy: Proxy

    @contextmanager
    def source(self) -> Iterator[Source]:
        patience = RetryPolicy(attempts=self.attempts, pause=0.01, longest_pause=0.02)
        opened = Source.open(
            self.account, self.overrides, connect=without_pauses, log=self.log.append, patience=patience
        )
        with opened as source:
            yield source


@pytest.fixture
def running(utility: Utility) -> Utility:
    utility.tell("INSERT INTO FAULTS SELECT 'F' || SEQ4(), 'A', 'OPEN', SYSDATE(), 5, -95, 29"
                 " FROM TABLE(GENERATOR(ROWCOUNT => 60)); INSERT INTO FEEDERS SELECT 'A', 'x', 1")  # fmt: skip
    utility.synced()
    utility.tell("UPDATE FAULTS SET HOMES = 6")
    return utility


@contextmanager
def behind(utility: Utility, *faults: Fault, seconds: int) -> Iterator[Impatient]:
    """The same utility, with a network between that commits these faults."""
    with faulting_proxy(utility.account.port or 0, *faults) as proxy:
        times = {"login_timeout": seconds, "network_timeout": seconds, "socket_timeout": seconds}
        account: Account = replace(utility.account, port=proxy.port, **times)
        harmed = Impatient(account=account, target=utility.target)
        harmed.proxy = proxy
        yield harmed


@pytest.mark.parametrize(
    "fault",
    [
        Fault("truncate", after=SECOND_ROWS),
        Fault("stall half-way", after=SECOND_ROWS),
        Fault("reset half-way", after=SECOND_ROWS),
        Fault("say", said=refused("390114"), after=SECOND_ROWS),
        Fault("status", status=503, path=LOGIN),
    ],
    ids=lambda fault: f"{fault.kind} {fault.said['code'] if fault.said else ''}",
)
def test_a_fault_that_passes_is_cured_within_the_sync(running: Utility, sql: Sql, fault: Fault) -> None:
    with behind(running, fault, seconds=SHORT if "stall" in fault.kind else LONG) as harmed:
        harmed.attempts = 4  # on a busy machine other answers may be late too
        assert harmed.synced()["faults"].updated == 60
    assert sql("SELECT DISTINCT homes FROM faults") == [(6,)]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault("truncate", after=SECOND_ROWS, times=None), "cannot be reached|did not answer"),
        (Fault("stall half-way", after=SECOND_ROWS, times=None), "cannot be reached|did not answer"),
        (Fault("say", said=refused("390114"), after=SECOND_ROWS, times=None), "session with Snowflake has ended"),
        (Fault("status", status=503, times=None), "did not answer in time, or was busy"),
        (Fault("reset", path=LOGIN, times=None), "cannot be reached"),
        (Fault("say", path=LOGIN, said=refused("390100"), times=None), "refuses the sign-in of user fake"),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_a_fault_that_stays_leaves_every_row_and_the_next_sync_works(
    running: Utility, sql: Sql, fault: Fault, said: str
) -> None:
    before = sql(HELD)
    # The connector itself tries again for as long as it may.
    with behind(running, fault, seconds=LONG if fault.kind == "say" else SHORT) as harmed:
        failed = harmed.failed()
    assert failed.keys() == {"faults", "feeders"}
    assert sql(HELD) == before
    assert sql(LEDGER.format(2)) == [("FAILED", message := failed["faults"])] * 2
    assert re.search(said, message)
    assert running.synced()["faults"].updated == 60


def test_a_stop_does_not_wait_for_a_source_that_stalls(running: Utility, sql: Sql) -> None:
    before, stop = sql(HELD), Stop()
    with behind(running, Fault("stall", after=SECOND_ROWS, times=None), seconds=LONG) as harmed:
        asker = Thread(target=lambda: (harmed.proxy.stalling.wait(60), stop.request()))
        asker.start()
        failed = harmed.failed(stop=stop)
        asker.join()
    # In the words of whichever end the sync was waiting for when it was stopped.
    assert all("stopped on request; what was there before stays." in said.lower() for said in failed.values()), failed
    assert sql(HELD) == before
    assert running.synced()["faults"].updated == 60


def test_an_interrupt_is_told_as_a_stop_and_loses_nothing(
    running: Utility, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, failed = sql(HELD), sql(LEDGER.format(100))

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(TableMerge, "compare", interrupted)
    running.tell("UPDATE FAULTS SET HOMES = HOMES + 1")
    with pytest.raises(KeyboardInterrupt):
        running.sync()
    assert sql(HELD) == before
    told = [row for row in sql(LEDGER.format(100)) if row not in failed]
    assert set(told) == {("FAILED", "Stopped on request; what was there before stays.")}
    monkeypatch.undo()
    assert running.synced()["faults"].outcome == "changed"


@pytest.mark.parametrize(
    ("change", "configured", "said"),
    [
        (
            "UPDATE FAULTS SET FEEDER = 'a long feeder' WHERE FAULT_ID = 'F2'",
            "",
            "faults.feeder: 'a long feeder' has 13 characters, varchar(10) takes 10 (key F2)",
        ),
        (
            "UPDATE FAULTS SET HOMES = 3000000000 WHERE FAULT_ID = 'F3'",
            "",
            "faults.homes: 3000000000 is not a value of integer (key F3)",
        ),
        (
            "UPDATE FAULTS SET FEEDER = 'many' WHERE FAULT_ID = 'F4'",
            "[FAULTS.columns]\nhomes = { expression = \"REPLACE(FEEDER, 'A', '7')\" }",
            "faults.homes: 'many' is not a value of integer (key F4)",
        ),
    ],
    ids=["too long", "too large", "text for a number"],
)
def test_a_value_that_does_not_fit_stops_its_table_alone_and_is_named(
    running: Utility, sql: Sql, tmp_path, change: str, configured: str, said: str
) -> None:
    before = sql(HELD)
    running.tell(change + "; UPDATE FEEDERS SET TITLE = 'y'")
    if configured:
        running.overrides = config(tmp_path, configured)
    failed = running.failed()
    assert failed.keys() == {"faults"}
    assert said in failed["faults"]
    assert sql(HELD) == before
    assert sql("SELECT title FROM feeders") == [("y",)]
    assert (("FAILED", failed["faults"])) in sql(LEDGER.format(2))
    running.overrides = type(running.overrides)()
    running.tell("UPDATE FAULTS SET FEEDER = 'A', HOMES = 8")
    assert running.synced()["faults"].updated == 60


@pytest.mark.parametrize(
    ("change", "then"),
    [
        ("ALTER TABLE FAULTS RENAME COLUMN STATE TO CONDITION", "faults.state is required"),
        ("ALTER TABLE FAULTS RENAME TO ELSEWHERE", "does not exist"),
    ],
    ids=["column", "table"],
)
def test_what_changes_between_the_look_at_the_columns_and_the_rows_is_told_as_that(
    running: Utility, sql: Sql, monkeypatch: pytest.MonkeyPatch, change: str, then: str
) -> None:
    before, look_ahead = sql(HELD), Source.look_ahead

    def looked(self: Source, tables: Sequence[DynamicTable]) -> None:
        look_ahead(self, tables)
        running.tell(change + "; UPDATE FEEDERS SET TITLE = 'y'")

    with monkeypatch.context() as patched:
        patched.setattr(Source, "look_ahead", looked)
        failed = running.failed()
    assert failed.keys() == {"faults"}
    assert "since its columns were read" in failed["faults"]
    assert "the next tick reads the columns again" in failed["faults"]
    assert "GRANT" not in failed["faults"]
    assert (sql(HELD), sql("SELECT title FROM feeders")) == (before, [("y",)])
    assert then in running.failed()["faults"]


def test_an_idle_reader_holds_up_a_new_column_and_is_named(
    running: Utility, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows can be written beside a reader; the table itself cannot be changed."""
    monkeypatch.setattr(setup, "_LOCK_PATIENCE_SECONDS", 0.5)
    sql("ALTER TABLE faults DROP COLUMN homes")
    running.tell("UPDATE FEEDERS SET TITLE = 'y'")
    with psycopg.connect(running.target.conninfo, application_name="a map") as reader:
        assert reader.execute("SELECT count(*) FROM faults").fetchone() == (60,)
        failed = running.failed()
        assert failed.keys() == {"faults"}
        assert (
            f"process {reader.info.backend_pid} (user flux, application a map, idle in transaction" in failed["faults"]
        )
        assert sql("SELECT title FROM feeders") == [("y",)]
    assert running.synced()["faults"].updated == 60
    assert sql("SELECT DISTINCT homes FROM faults") == [(6,)]
