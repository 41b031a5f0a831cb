"""Results that do not hold what the source holds: cut by a limit, in another format, or another number of rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from flux_assets.retry import RetryPolicy
from flux_assets.snowflake.account import Account
from flux_assets.snowflake.source import Source
from flux_assets_tests.conftest import Sql
from flux_assets_tests.faulting_proxy import LOGIN, Fault, Proxy, faulting_proxy
from flux_assets_tests.sync_runs import fault
from flux_assets_tests.synced import Utility

ROWS = 60
# Of the queries for rows, and not of the guard's.
READS = 'ORDER BY "FAULT_ID"'
KEYS = "SELECT fault_id FROM faults ORDER BY 1"
ALL = [(f"F{number}",) for number in range(10, 10 + ROWS)]


class Behind(Utility):
    """The utility as seen through a proxy, by a sync that tries again at once."""

    def source(self):
        return Source.open(
            self.account, self.overrides, log=self.log.append, patience=RetryPolicy(attempts=2, pause=0.01)
        )


@pytest.fixture
def filled(utility: Utility) -> Utility:
    utility.tell("INSERT INTO FEEDERS SELECT 'A', 'Feeder A', 100;" + "".join(fault(n) for n in range(10, 10 + ROWS)))
    return utility


@contextmanager
def through(utility: Utility, *faults: Fault) -> Iterator[tuple[Behind, Proxy]]:
    with faulting_proxy(utility.account.port or 0, *faults) as proxy:
        account = replace(utility.account, port=proxy.port)
        yield Behind(account=account, target=utility.target), proxy


@pytest.mark.parametrize(
    "shaped",
    [
        Fault("limited", rows=40, holding=READS, times=None, unless="ROWS_PER_RESULTSET"),
        Fault("as json", holding=READS, times=None, unless="PYTHON_CONNECTOR_QUERY_RESULT_FORMAT"),
    ],
    ids=lambda shaped: shaped.kind,
)
def test_what_the_account_sets_for_people_shapes_no_result(filled: Utility, sql: Sql, shaped: Fault) -> None:
    with through(filled, shaped) as (seen, _):
        assert seen.synced()["faults"].inserted == ROWS
    assert sql(KEYS) == ALL


@pytest.mark.parametrize("limit", [ROWS - 1, ROWS // 2, 1])
@pytest.mark.parametrize("accepts", [False, True], ids=["", "accepting what vanished"])
def test_a_limit_that_no_session_can_lift_stops_the_table(
    filled: Utility, sql: Sql, limit: int, *, accepts: bool
) -> None:
    """Also where fewer rows are missing than the guard lets go, and where there is nothing to compare with."""
    with through(filled, Fault("limited", rows=limit, holding=READS, times=None)) as (seen, _):
        said = (
            f'the query found 60 rows in {filled.account.database}.PRODUCTION."FAULTS", and Snowflake gave {limit} of'
        )
        for held in ([], ALL):
            (told,) = seen.failed("faults", accept_vanished=accepts).values()
            assert said in told
            assert "ROWS_PER_RESULTSET" in told
            assert (sql(KEYS) if held else sql("SELECT count(*) FROM faults")) == (held or [(0,)])
            filled.synced()
            filled.tell("UPDATE FAULTS SET HOMES = HOMES + 1")


@pytest.mark.parametrize("accepts", [False, True], ids=["", "accepting what vanished"])
def test_rows_that_are_still_to_be_taken_were_lost_by_the_reading(filled: Utility, sql: Sql, *, accepts: bool) -> None:
    """The guard takes them neither for closed nor for gone."""
    filled.synced()
    with through(filled, Fault("limited below", rows=20, holding=READS, times=None)) as (seen, _):
        told = seen.failed("faults", accept_vanished=accepts)["faults"]
    assert "40 of the 40 rows that were not read are still in FAULTS, and are to be taken: reading lost them" in told
    assert sum(f"F{number}" in told for number in range(10, 10 + ROWS)) == 10
    assert sql(KEYS) == ALL
    assert filled.synced()["faults"].deleted == 0


def test_rows_that_closed_beside_those_that_were_lost_are_told_apart(filled: Utility, sql: Sql) -> None:
    filled.synced()
    filled.tell("UPDATE FAULTS SET STATE = 'SHUT', BEGUN = DATEADD('day', -30, SYSDATE()) WHERE FAULT_ID < 'F50'")
    with through(filled, Fault("limited below", rows=0, holding=READS, times=None)) as (seen, _):
        told = seen.failed("faults")["faults"]
    assert "20 of the 60 rows that were not read are still in FAULTS" in told
    assert "F49" not in told
    assert filled.synced()["faults"].deleted == 40


def test_a_table_without_a_rule_takes_every_row_that_is_there(filled: Utility, sql: Sql) -> None:
    filled.tell("".join(f"INSERT INTO FEEDERS SELECT 'L{n}', 'Feeder', 1;" for n in range(10)))
    filled.synced()
    with through(filled, Fault("limited below", rows=2, holding='ORDER BY "FEEDER"', times=None)) as (seen, _):
        assert "9 of the 9 rows that were not read are still in FEEDERS" in seen.failed("feeders")["feeders"]
    assert sql("SELECT count(*) FROM feeders") == [(11,)]


@pytest.mark.parametrize("kind", ["miscounted", "in pieces"])
@pytest.mark.parametrize("rows", [7, -7], ids=["fewer than said", "more than said"])
def test_another_number_of_rows_than_the_server_says_is_an_incomplete_result(
    filled: Utility, sql: Sql, kind: str, rows: int
) -> None:
    filled.synced()
    with through(filled, Fault(kind, rows=rows, holding=READS, times=None)) as (seen, proxy):
        told = seen.failed("faults")["faults"]
        assert f"arrived incomplete: 60 rows came, and the server announced {ROWS + rows}" in told
        assert proxy.count(LOGIN) == 2, "another attempt may cure it"
    assert sql(KEYS) == ALL
    with through(filled, Fault(kind, rows=rows, holding=READS, times=1)) as (seen, _):
        assert seen.synced("faults")["faults"].outcome == "unchanged"


def test_a_result_in_another_format_is_told_by_the_parameter(filled: Utility, sql: Sql) -> None:
    filled.synced()
    filled.tell("UPDATE FAULTS SET HOMES = HOMES + 1")
    with through(filled, Fault("as json", holding=READS, times=None)) as (seen, proxy):
        told = seen.failed("faults")["faults"]
        assert "Snowflake sends results as JSON" in told
        assert "ALTER USER fake UNSET PYTHON_CONNECTOR_QUERY_RESULT_FORMAT" in told
        assert proxy.count(LOGIN) == 1
    assert sql(KEYS) == ALL


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ROWS_PER_RESULTSET", 500),
        ("QUOTED_IDENTIFIERS_IGNORE_CASE", True),
        ("TIMEZONE", "America/Chicago"),
        ("TIMESTAMP_INPUT_FORMAT", "DD/MM/YYYY"),
    ],
)
def test_a_session_that_did_not_take_a_parameter_is_refused(filled: Utility, name: str, value: object) -> None:
    with through(filled, Fault("with parameters", path=LOGIN, said={name: value}, times=None)) as (seen, proxy):
        told = seen.failed("faults")["faults"]
        assert f"opened the session with {name} = {value}, although {Account.SHAPING[name]} was requested" in told
        assert f"ALTER USER fake SET {name} = " in told
        assert proxy.count(LOGIN) == 1


def test_a_session_that_says_the_same_in_other_words_is_taken(filled: Utility) -> None:
    said = {"TIMEZONE": "Etc/UTC", "ROWS_PER_RESULTSET": "0", "QUOTED_IDENTIFIERS_IGNORE_CASE": "false"}
    with through(filled, Fault("with parameters", path=LOGIN, said=said)) as (seen, _):
        assert seen.synced()["faults"].inserted == ROWS
