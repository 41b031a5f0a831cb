"""The simulation through the real connector: what lies in the tables is what the steps say, in both shapes; and
`flux-assets simulate`, which writes to the stand-in alone."""

import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
import snowflake.connector
from click.testing import CliRunner, Result
from snowflake.connector import SnowflakeConnection
from snowflake.connector.errors import ProgrammingError

from flux_assets.cli.main import main
from flux_assets.errors import EmbeddedError
from flux_assets.sample.city.frame import random_stream
from flux_assets.sample.cluster import Cluster
from flux_assets.sample.simulation.day import advance
from flux_assets.sample.simulation.seeding import seed
from flux_assets.sample.simulation.store import SourceTables
from flux_assets.sample.simulation.tables import CIRCUITS, ORDERS, OUTAGES, SourceTable, order_row, outage_row
from flux_assets.sample.simulation.tick import Ticked, tick, ticked
from flux_assets.sample.stand_in.server import StandIn
from flux_assets.settings import load_settings
from flux_assets_tests import sample_cities
from flux_assets_tests.conftest import shared_stand_in
from flux_assets_tests.sample.test_simulation import NOON, STEP, grid

if TYPE_CHECKING:
    import dagster as dg

PROGRAM = str(Path(sys.executable).with_name("flux-assets"))


@pytest.fixture
def connection() -> Iterator[SnowflakeConnection]:
    """A fresh database of the session's stand-in."""
    stand_in = shared_stand_in()
    name = f"T{uuid4().hex[:10]}".upper()
    with snowflake.connector.connect(**stand_in.account().arguments()) as made:
        for statement in (f"CREATE DATABASE {name}", f"CREATE SCHEMA {name}.S"):
            made.cursor().execute(statement)
    with snowflake.connector.connect(**stand_in.account(database=name, schema="S").arguments()) as found:
        yield found


def rows(connection: SnowflakeConnection, table: SourceTable) -> list[dict]:
    found = connection.cursor().execute(f"SELECT {', '.join(table.columns)} FROM {table.name} ORDER BY 1").fetchall()
    return [dict(zip(table.columns, row, strict=True)) for row in found]


def everything(connection: SnowflakeConnection, shape: str) -> list[list[dict]]:
    return [rows(connection, table) for table in (CIRCUITS, OUTAGES[shape], ORDERS[shape])]


def in_memory(connection: SnowflakeConnection, steps: int, step: Callable[[int], dict]) -> tuple[list[Ticked], dict]:
    """What the steps say that they change, from the tables as they are now; nothing is written."""
    state, shape = SourceTables(connection).read()
    told, changed = [], {}
    for number in range(steps):
        changes = advance(state, random_stream(5, number), NOON + (number + 1) * STEP, **step(number))
        state = changes.applied_to(state)
        told.append(ticked(changes, state))
        now = changes.clock.now
        for outage in (*changes.begun, *changes.changed):
            changed[outage.outage_id] = outage_row(outage, shape, now)
        for order in (*changes.ordered, *changes.worked):
            changed[order.work_order_id] = order_row(order, shape, now)
    return told, changed


@pytest.mark.parametrize("shape", ["a", "b"])
def test_the_tables_hold_what_the_steps_say(connection: SnowflakeConnection, shape: str) -> None:
    seed(connection, grid(), shape=shape, now=NOON)
    before = everything(connection, shape)
    weather = {4: {"storm": True}, 9: {"calm": True}}
    told, changed = in_memory(connection, 12, lambda number: weather.get(number, {}))
    assert len(changed) > 20
    done = [
        tick(connection, random_stream(5, number), NOON + (number + 1) * STEP, **weather.get(number, {}))
        for number in range(12)
    ]
    if shape == "a":
        assert done == told
        expected = {row[next(iter(row))]: row for table in before[1:] for row in table} | changed
        after = everything(connection, shape)
        assert {row[next(iter(row))]: row for table in after[1:] for row in table} == expected
    assert [step.storm for step in done] == [4 <= number < 9 for number in range(12)]
    assert done[4].begun > 20
    assert done[9].restored > 20
    assert SourceTables(connection).clock() == replace(
        SourceTables(connection).clock(), ticks=12, now=NOON + 12 * STEP, seed=7
    )


def test_the_tables_have_the_columns_and_types_of_the_field(connection: SnowflakeConnection) -> None:
    seed(connection, grid(), now=NOON)
    found = connection.cursor().execute(
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = 'S'"
        " AND table_name = 'OUTAGE_RESTORATION_TRACKER' ORDER BY ordinal_position"
    )
    kinds = {"VARCHAR": "TEXT", "TIMESTAMP_NTZ": "TIMESTAMP_NTZ", "NUMBER": "NUMBER", "FLOAT": "FLOAT"}
    assert found.fetchall() == [(name, kinds[kind.partition("(")[0]]) for name, kind in OUTAGES["a"].columns.items()]


def test_seeding_again_gives_the_same_and_nothing_else(connection: SnowflakeConnection) -> None:
    seed(connection, grid(), now=NOON)
    first = everything(connection, "a")
    tick(connection, random_stream(1), NOON + STEP, storm=True)
    assert everything(connection, "a") != first
    seed(connection, grid(), now=NOON)
    assert everything(connection, "a") == first
    circuits = {row["CIRCUIT_ID"] for row in first[0]}
    assert {row["CIRCUIT_ID"] for row in (*first[1], *first[2])} <= circuits
    for column in ("CUSTOMER_COUNT", "STATUS"):
        missing = [row for row in first[0] if row[column] is None]
        assert 0 < len(missing) < len(circuits) / 2
    seed(connection, grid(), now=NOON, seed_number=8)
    assert everything(connection, "a")[1] != first[1]


def test_shape_b_leaves_type_and_start_to_other_columns(connection: SnowflakeConnection) -> None:
    seed(connection, grid(), shape="b", now=NOON)
    orders = rows(connection, ORDERS["b"])
    assert {row["WORK_ORDER_TYPE"] is None for row in orders} == {True, False}
    assert all(row["WORK_TYPE"] and row["SCHEDULED_DATE"] for row in orders)
    assert all(row["SCHEDULED_START"] in {None, row["SCHEDULED_DATE"]} for row in orders)


def test_a_circuit_that_is_out_as_a_whole_shows_it_until_it_is_back(connection: SnowflakeConnection) -> None:
    seed(connection, grid(), now=NOON)
    circuit = grid().devices[0]
    run = connection.cursor().execute
    run("DELETE FROM OUTAGE_RESTORATION_TRACKER")
    run(
        "INSERT INTO OUTAGE_RESTORATION_TRACKER (OUTAGE_ID, CIRCUIT_ID, OUTAGE_START_TIME, STATUS, CUSTOMERS_AFFECTED)"
        " VALUES ('OUT-WHOLE', %s, %s, 'ACTIVE', %s)",
        (circuit.circuit_id, NOON, circuit.circuit_customers),
    )

    def status() -> str:
        found = run("SELECT STATUS FROM CIRCUIT_METADATA WHERE CIRCUIT_ID = %s", (circuit.circuit_id,)).fetchall()
        return found[0][0]

    tick(connection, random_stream(1), NOON)
    assert status() == "DE_ENERGIZED"
    run("UPDATE OUTAGE_RESTORATION_TRACKER SET STATUS = 'RESTORED' WHERE OUTAGE_ID = 'OUT-WHOLE'")
    tick(connection, random_stream(1), NOON)
    assert status() == "ENERGIZED"


def test_a_tick_is_written_whole_or_not_at_all(connection: SnowflakeConnection) -> None:
    seed(connection, grid(), now=NOON)
    before = everything(connection, "a")
    run = connection.cursor().execute
    run("ALTER TABLE WORK_ORDERS RENAME TO ELSEWHERE")
    run("CREATE VIEW WORK_ORDERS AS SELECT * FROM ELSEWHERE")
    with pytest.raises(ProgrammingError):
        tick(connection, random_stream(1), NOON + timedelta(hours=3), storm=True)
    assert rows(connection, OUTAGES["a"]) == before[1]
    assert SourceTables(connection).clock().ticks == 0


def test_a_schema_that_was_never_filled_says_what_to_do(connection: SnowflakeConnection) -> None:
    with pytest.raises(EmbeddedError, match="Run `flux-assets simulate --reset`"):
        tick(connection, random_stream(1), datetime.now(UTC))


def test_nothing_is_written_to_another_machine() -> None:
    with pytest.raises(EmbeddedError, match=r"does not write to xy12345.snowflakecomputing.com"):
        tick(SimpleNamespace(host="xy12345.snowflakecomputing.com"), random_stream(1), NOON)


def run(*words: str) -> Result:
    load_settings.cache_clear()
    return CliRunner().invoke(main, ["simulate", *words])


@pytest.fixture
def small_city(new_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLUX_HOME", str(new_home))
    monkeypatch.setenv("FLUX_RELEASE", str(sample_cities.folder()))
    return new_home


def test_the_command_takes_steps_and_begins_anew(small_city: Path) -> None:
    storm = run("--storm", "--minutes-per-tick", "10")
    assert storm.exit_code == 0, storm.output
    assert storm.stdout.endswith("; storm\n")
    assert "restored" in run("--calm").stdout
    with snowflake.connector.connect(**StandIn(small_city).account().arguments()) as connection:
        store = SourceTables(connection)
        assert store.clock().ticks == 2
        assert run("--reset", "--seed", "3").stdout.startswith("Refilled the tables of the stand-in.\n")
        assert (store.clock().ticks, store.clock().seed) == (0, 3)
        first = store.clock().now
        assert "outages:" in run("--reset", "--tick").stdout.splitlines()[-1]
        assert store.clock().now >= first + timedelta(minutes=5)
    StandIn(small_city).stop()


def test_after_a_reset_the_sync_is_refused_until_what_it_says_is_done(
    small_city: Path, monkeypatch: pytest.MonkeyPatch, cluster: Cluster, database: str, instance: "dg.DagsterInstance"
) -> None:
    from flux_assets.definitions import defs
    from flux_assets_tests.running import run_assets  # with the whole project, which takes two seconds to import

    monkeypatch.setenv("FLUX_POSTGRES_URL", cluster.url(database))
    monkeypatch.setenv("SNOWFLAKE_ACCOUNT", "stand-in")
    run("--storm", "--minutes-per-tick", "60")
    table = "outage_restoration_tracker"
    assert run_assets(defs, instance, table).succeeded
    said = run("--reset").stdout
    refused = run_assets(defs, instance, table)
    assert not refused.succeeded
    assert "which looks truncated or half-loaded" in refused.failure("sync_dynamic_tables")
    (words,) = (shlex.split(line) for line in said.splitlines() if "--config-json" in line)
    assert run_assets(defs, instance, table, run_config=json.loads(words[-1])).succeeded


def test_goes_on_until_ctrl_c_and_leaves_no_transaction_open(small_city: Path) -> None:
    command = [PROGRAM, "simulate", "--every", "0.01", "--minutes-per-tick", "60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        lines = [process.stdout.readline() for _ in range(3)]
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=60)
    assert all("outages:" in line for line in lines), complaint
    assert process.returncode == 130
    assert "Traceback" not in complaint
    assert run().exit_code == 0


def test_does_not_bring_back_a_stand_in_that_was_stopped(small_city: Path) -> None:
    command = [PROGRAM, "simulate", "--every", "0.5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        StandIn(small_city).stop()
        _, complaint = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Error: The Snowflake stand-in has been stopped." in complaint
    assert not StandIn(small_city).running


def test_a_real_account_is_refused(new_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"ACCOUNT": "xy12345", "USER": "SYNC", "PASSWORD": "secret", "WAREHOUSE": "W"}
    for name, value in given.items():
        monkeypatch.setenv(f"SNOWFLAKE_{name}", value)
    monkeypatch.setenv("FLUX_HOME", str(new_home))
    for words in ([], ["--reset"], ["--storm"]):
        refused = run(*words)
        assert refused.exit_code == 1
        assert "Error: SNOWFLAKE_ACCOUNT = 'xy12345' is not the stand-in" in refused.stderr
    assert list(new_home.iterdir()) == []


@pytest.mark.parametrize(
    "words", [["--storm", "--calm"], ["--tick", "--every", "1"], ["--every", "0"], ["--seed", "-1"]]
)
def test_wrong_usage(words: list[str]) -> None:
    assert run(*words).exit_code == 2
