"""A source that goes silent, or sends a byte now and then for ever, at each point: it is given up within the deadline.

The connector's own time-outs are long here and would not end any of it in time; a byte now and then they never end.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from threading import Event

import pytest
from snowflake.connector import SnowflakeConnection

from flux_assets.errors import WarehouseError
from flux_assets.retry import Call, GivenUpError, RetryPolicy
from flux_assets.settings import REPOSITORY
from flux_assets.snowflake.account import Account
from flux_assets.snowflake.overrides import Overrides
from flux_assets.snowflake.source import Source
from flux_assets.sync import reader as source_side
from flux_assets_tests import sourced
from flux_assets_tests.conftest import Sql
from flux_assets_tests.faulting_proxy import LOGIN, PIECE, QUERIES, SIGN_OUT, Fault, Proxy, faulting_proxy
from flux_assets_tests.snowflake.test_warehouse_network import THE_ROWS, without_pauses
from flux_assets_tests.sync.test_sync_faults import HELD, LEDGER, SECOND_ROWS, Impatient
from flux_assets_tests.synced import FAULTS, Utility

ROWS = 50
# Seconds of the connector, which no test waits for, and of ours.
THEIRS, OURS = 600, 3.0
SILENT = ("stall", "dribble")


@pytest.fixture
def filled(source: Account) -> Account:
    sourced.tell(
        source,
        f"""CREATE TABLE FAULTS AS SELECT 'F' || SEQ4() FAULT_ID, 'A' FEEDER, 'OPEN' STATE, SYSDATE() BEGUN
            FROM TABLE(GENERATOR(ROWCOUNT => {ROWS}))""",
    )
    return source


def patient(account: Account, port: int, **ours: float) -> Account:
    theirs = {"login_timeout": THEIRS, "network_timeout": THEIRS, "socket_timeout": THEIRS}
    return replace(account, port=port, **theirs, **ours)


@contextmanager
def signed_in(arguments: dict, over: Event | None = None) -> Iterator[SnowflakeConnection]:
    """With the token that the stand-in does not give and without which the connector does not sign out."""
    with without_pauses(arguments, over) as connection:
        connection.rest.update_tokens(connection.rest.token, "master")
        yield connection


@contextmanager
def behind(account: Account, *faults: Fault, attempts: int = 1, **ours: float) -> Iterator[tuple[Source, Proxy]]:
    over = Event()  # a call that was given up would try again for ten minutes, in the tests that follow too
    with faulting_proxy(account.port or 0, *faults) as proxy:
        opened = Source.open(
            patient(account, proxy.port, **ours), Overrides(), connect=partial(signed_in, over=over),
            patience=RetryPolicy(attempts=attempts, pause=0.01, longest_pause=0.02),
        )  # fmt: skip
        try:
            with opened as source:
                yield source, proxy
        finally:
            over.set()


def read(source: Source) -> int:
    instant = source.instant()
    return sum(batch.num_rows for batch in source.rows(source.mapping(FAULTS), instant))


@pytest.mark.parametrize("kind", SILENT)
def test_a_sign_in(filled: Account, kind: str) -> None:
    fault = Fault(kind, path=LOGIN, times=None)
    with (
        pytest.raises(WarehouseError, match="did not answer in time, or was busy: no answer within 3 s") as given_up,
        behind(filled, fault, sign_in_deadline=OURS),
    ):
        pass
    assert given_up.value.retryable


@pytest.mark.parametrize("kind", [*SILENT, "stall half-way"])
@pytest.mark.parametrize("after", range(3), ids=["first statement", "columns", "rows"])
def test_a_statement(filled: Account, kind: str, after: int) -> None:
    fault = Fault(kind, path=QUERIES, after=after, times=None)
    with (
        behind(filled, fault, answer_deadline=OURS) as (source, _),
        pytest.raises(WarehouseError, match="no answer within 3 s; the session was closed"),
    ):
        read(source)


@pytest.mark.parametrize("kind", SILENT)
def test_the_download_of_a_result(filled: Account, kind: str) -> None:
    faults = Fault("in pieces", after=THE_ROWS), Fault(kind, path=PIECE, times=None)
    with behind(filled, *faults, answer_deadline=OURS) as (source, proxy):
        with pytest.raises(WarehouseError, match="no answer within 3 s; the session was closed"):
            read(source)
        assert proxy.count(PIECE) == 1


def test_a_result_that_is_downloaded_in_pieces_is_whole(filled: Account) -> None:
    with behind(filled, Fault("in pieces", after=THE_ROWS)) as (source, proxy):
        assert read(source) == ROWS
        assert proxy.count(PIECE) == 1


@pytest.mark.parametrize("kind", SILENT)
def test_what_is_silent_once_is_cured_on_a_new_session(filled: Account, kind: str) -> None:
    with behind(filled, Fault(kind, after=THE_ROWS), attempts=3, answer_deadline=OURS) as (source, proxy):
        assert source.retrying(lambda: read(source)) == ROWS
        assert proxy.count(LOGIN) == 2


@pytest.mark.parametrize("kind", SILENT)
def test_signing_out(filled: Account, kind: str) -> None:
    with behind(filled, Fault(kind, path=SIGN_OUT, times=None), close_deadline=OURS) as (source, proxy):
        assert read(source) == ROWS
    assert proxy.count(SIGN_OUT) >= 1


def test_a_sync_ends_is_recorded_and_told_and_the_next_one_works(utility: Utility, sql: Sql) -> None:
    utility.tell("INSERT INTO FAULTS SELECT 'F' || SEQ4(), 'A', 'OPEN', SYSDATE(), 5, -95, 29"
                 " FROM TABLE(GENERATOR(ROWCOUNT => 60)); INSERT INTO FEEDERS SELECT 'A', 'x', 1")  # fmt: skip
    utility.synced()
    before = sql(HELD)
    utility.tell("UPDATE FAULTS SET HOMES = 6")
    with faulting_proxy(utility.account.port or 0, Fault("dribble", after=SECOND_ROWS, times=None)) as proxy:
        account = patient(utility.account, proxy.port, answer_deadline=OURS, close_deadline=OURS)
        harmed = Impatient(account=account, target=utility.target)
        harmed.attempts = 1
        failed = harmed.failed()
    assert sql(HELD) == before
    assert sql(LEDGER.format(2)) == [("FAILED", failed["faults"])] * 2
    assert "no answer within 3 s; the session was closed" in failed["faults"]
    assert utility.synced()["faults"].updated == 60


def test_a_reading_that_never_ends_is_given_up_as_a_whole(
    utility: Utility, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each answer of it may still come in time."""
    monkeypatch.setattr(source_side, "_LONGEST_SECONDS", 1.0)
    with faulting_proxy(utility.account.port or 0, Fault("dribble", times=None)) as proxy:
        harmed = Impatient(account=patient(utility.account, proxy.port), target=utility.target)
        failed = harmed.failed()
    assert "Snowflake has not delivered the rows within 1 s" in failed["faults"]
    assert sql(LEDGER.format(2)) == [("FAILED", failed["faults"])] * 2


def test_what_arrives_too_late_is_discarded() -> None:
    go, discarded = Event(), Event()
    given: list[str] = []

    def late() -> str:
        go.wait(60)
        return "a session"

    def discard(session: str) -> None:
        given.append(session)
        discarded.set()

    with pytest.raises(GivenUpError, match=r"no answer within 0\.01 s"):
        Call(late).within(0.01, discard)
    go.set()
    assert discarded.wait(60)
    assert given == ["a session"]


def test_an_error_of_the_call_is_its_own_also_when_it_is_a_time_out() -> None:
    def fails() -> None:
        raise TimeoutError("of a socket")

    with pytest.raises(TimeoutError, match="of a socket"):
        Call(fails).within(60)


def test_a_process_ends_although_a_download_never_does(filled: Account) -> None:
    """Threads of a pool would be waited for at its end."""
    faults = Fault("in pieces", after=THE_ROWS), Fault("dribble", path=PIECE, times=None)
    with faulting_proxy(filled.port or 0, *faults) as proxy:
        program = f"""
from dataclasses import replace
from functools import partial
from pydantic import SecretStr
from flux_assets.errors import WarehouseError
from flux_assets.settings import REPOSITORY
from flux_assets.snowflake.account import Account
from flux_assets_tests.snowflake.test_warehouse_silence import Overrides, RetryPolicy, Source, patient, read
account = Account(account="fakesnow", user="fake", password=SecretStr("snow"), host="127.0.0.1", protocol="http",
                  database={filled.database!r}, schema={filled.schema!r}, stand_in=True)
try:
    with Source.open(patient(account, {proxy.port}, answer_deadline={OURS}, close_deadline={OURS}), Overrides(),
                     patience=RetryPolicy(attempts=1)) as source:
        read(source)
except WarehouseError as error:
    print(error)
"""
        done = subprocess.run(
            [sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
    assert "no answer within 3 s" in done.stdout, done.stderr
    assert done.returncode == 0
