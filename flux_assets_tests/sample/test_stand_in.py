"""The Snowflake stand-in comes up for whoever asks, however its last life ended, keeps what was committed, lets nobody
in without its password; and it is the source only where that is allowed."""

import asyncio
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from time import sleep
from uuid import uuid4

import duckdb
import pytest
import snowflake.connector
from snowflake.connector.constants import FIELD_ID_TO_NAME
from snowflake.connector.errors import DatabaseError, ProgrammingError

from flux_assets.errors import EmbeddedError, SettingError
from flux_assets.release.release import Release
from flux_assets.sample.processes import accepts
from flux_assets.sample.simulation.seeding import ensure_empty
from flux_assets.sample.stand_in.door import Door
from flux_assets.sample.stand_in.server import StandIn
from flux_assets.settings import load_settings
from flux_assets.tables.work_orders import TABLE as WORK_ORDERS
from flux_assets.wiring.source import snowflake_account
from flux_assets_tests import sample_cities
from flux_assets_tests.conftest import shared_stand_in

KEPT = "KEPT.PUBLIC.KEPT"


@pytest.fixture(scope="module")
def stand_in() -> StandIn:
    """One that is shared with the other workers of the session; each test makes a database of its own."""
    return shared_stand_in()


def connect(stand_in: StandIn, **other: object) -> snowflake.connector.SnowflakeConnection:
    return snowflake.connector.connect(**stand_in.account().arguments() | other)


def run(connection: snowflake.connector.SnowflakeConnection, *statements: str) -> list[tuple]:
    return [connection.cursor().execute(statement).fetchall() for statement in statements][-1]


def keep_seven(connection: snowflake.connector.SnowflakeConnection) -> None:
    run(connection, "CREATE DATABASE KEPT", "CREATE SCHEMA IF NOT EXISTS KEPT.PUBLIC")
    run(connection, f"CREATE TABLE {KEPT} (N NUMBER(10,0), T TIMESTAMP_NTZ)", f"INSERT INTO {KEPT} VALUES (7, NULL)")


def kept(stand_in: StandIn) -> list[tuple]:
    with connect(stand_in) as connection:
        return run(connection, f"SELECT N, T FROM {KEPT}")


def test_columns_are_told_by_the_result(stand_in: StandIn) -> None:
    """In their own case and type, also where an alias differs from the column in case alone."""
    name = f"D{uuid4().hex[:8].upper()}"
    with connect(stand_in) as connection:
        run(connection, f"CREATE DATABASE {name}", f"CREATE SCHEMA {name}.S")
        run(connection, f"CREATE TABLE {name}.S.T (N NUMBER(10,2), T TIMESTAMP_NTZ, F FLOAT, S VARCHAR, D DATE)")
        cursor = connection.cursor().execute(f'SELECT N AS "n", T, F, S, D, NULL AS X FROM {name}.S.T')
        assert [(c.name, FIELD_ID_TO_NAME[c.type_code], c.scale) for c in cursor.description] == [
            ("n", "FIXED", 2), ("T", "TIMESTAMP_NTZ", 9), ("F", "REAL", None), ("S", "TEXT", None), ("D", "DATE", None),
            ("X", "TEXT", None),
        ]  # fmt: skip
        connection.cursor().execute("SELECT 1 AS ONE")
        again = connection.cursor().execute(f"SELECT * FROM TABLE(RESULT_SCAN('{cursor.sfqid}'))")
        assert [column.name.upper() for column in again.description] == ["N", "T", "F", "S", "D", "X"]


def test_the_source_of_a_table_that_nothing_simulates_is_there_without_rows(stand_in: StandIn, tmp_path: Path) -> None:
    """Made once: rows that somebody wrote into it stay."""
    other = replace(WORK_ORDERS, source=f"JUGGLERS_{uuid4().hex[:8].upper()}")
    layout, account = replace(stand_in.layout, folder=tmp_path), stand_in.account(database="OUTSIDE")
    layout.data.mkdir()
    with connect(stand_in) as connection:
        run(connection, "CREATE DATABASE IF NOT EXISTS OUTSIDE", "CREATE SCHEMA IF NOT EXISTS OUTSIDE.PRODUCTION")
    for rows in (0, 1):
        ensure_empty(layout, account, [other])
        with connect(stand_in) as connection:
            name = f"{account.database}.{account.schema}.{other.source}"
            assert run(connection, f"SELECT COUNT(SCHEDULED_START), COUNT(*) FROM {name}") == [(0, rows)]
            run(connection, f"INSERT INTO {name} (WORK_ORDER_ID, LATITUDE) VALUES ('a', 1.5)")


def process_of(stand_in: StandIn) -> int:
    return json.loads(stand_in.layout.process_file.read_text())["pid"]


def python(code: str, *arguments: str) -> subprocess.Popen[str]:
    head = "import sys\nfrom pathlib import Path\nfrom flux_assets.sample.stand_in.server import StandIn\n"
    return subprocess.Popen(
        [sys.executable, "-c", head + dedent(code), *arguments], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def test_starts_once_and_keeps_its_data_over_a_restart(new_home: Path) -> None:
    stand_in = StandIn(new_home)
    assert not stand_in.running
    stand_in.stop()
    stand_in.start()
    process, port = process_of(stand_in), stand_in.account().port
    with connect(stand_in) as connection:
        keep_seven(connection)
    stand_in.start()
    assert process_of(stand_in) == process
    stand_in.stop()
    assert not stand_in.running
    stand_in.start()
    assert process_of(stand_in) != process
    assert (kept(stand_in), stand_in.account().port) == ([(7, None)], port)


@pytest.mark.parametrize("name", ["a;b", "my-db", "1db", "x'y", '"Mixed Case"', "FLUX_DB ", ""])
def test_a_name_that_it_cannot_have_is_refused_and_leaves_nothing(new_home: Path, name: str) -> None:
    stand_in = StandIn(new_home)
    for names in ({"database": name}, {"schema": name}):
        with pytest.raises(
            SettingError, match=r"^SNOWFLAKE_\w+ = .* is not a name that the Snowflake stand-in can have"
        ):
            stand_in.ensure(unasked, **names)
    assert not stand_in.layout.folder.exists()


def unasked() -> Release:
    raise AssertionError("nobody needs the release")


def test_a_name_is_read_as_snowflake_reads_it(stand_in: StandIn) -> None:
    assert stand_in.account(database="flux_db", schema="production") == stand_in.account()


def test_a_word_of_sql_is_refused_and_a_file_that_cannot_be_opened_keeps_nobody_out(new_home: Path) -> None:
    stand_in = StandIn(new_home)
    with pytest.raises(EmbeddedError, match='cannot create "SELECT"'):
        stand_in.ensure(lambda: Release(str(sample_cities.folder()), None, new_home), database="SELECT")
    stand_in.stop()
    for file in ("a;b.db", "SELECT.db"):
        (stand_in.layout.data / file).write_bytes(b"no database")
    stand_in.start()
    with connect(stand_in) as connection:
        keep_seven(connection)
    assert "a;b.db is left out" in stand_in.layout.log.read_text()


def test_what_was_committed_survives_a_kill(new_home: Path) -> None:
    stand_in = StandIn(new_home)
    stand_in.start()
    connection = connect(stand_in)
    keep_seven(connection)
    run(connection, "BEGIN", f"INSERT INTO {KEPT} VALUES (8, NULL)", "COMMIT")
    run(connection, f"ALTER TABLE {KEPT} ADD COLUMN LATE VARCHAR(5)", "BEGIN", f"DELETE FROM {KEPT}")
    os.kill(process_of(stand_in), signal.SIGKILL)
    stand_in.start()
    assert sorted(kept(stand_in)) == [(7, None), (8, None)]
    with connect(stand_in) as connection:
        assert run(connection, f"SELECT LATE FROM {KEPT}") == [(None,), (None,)]


def test_two_processes_at_once_make_one_server_and_fill_it_once(new_home: Path) -> None:
    code = """
        from flux_assets.release.release import Release
        stand_in = StandIn(Path(sys.argv[1]))
        account = stand_in.ensure(lambda: print("filling") or Release(sys.argv[2], None, stand_in.home))
        print(stand_in.layout.process_file.read_text())
    """
    starters = [python(code, str(new_home), str(sample_cities.folder())) for _ in range(3)]
    # Their output ends with them, though the server goes on: it holds no pipe of theirs.
    said = "".join(starter.communicate()[0] for starter in starters)
    stand_in = StandIn(new_home)
    assert stand_in.running
    assert said.count("filling") == 1, said
    assert said.count(stand_in.layout.process_file.read_text()) == 3, said


def test_a_process_file_that_names_somebody_else_harms_nobody(new_home: Path) -> None:
    stand_in = StandIn(new_home)
    stand_in.start()
    stand_in.stop()
    left = {"pid": os.getpid(), "port": stand_in.account().port}
    stand_in.layout.process_file.write_text(json.dumps(left))
    assert not stand_in.running
    stand_in.stop()
    stand_in.start()
    assert stand_in.running
    assert process_of(stand_in) != os.getpid()
    stand_in.stop()
    stand_in.layout.process_file.write_text('{"pid": 1')
    stand_in.start()
    assert stand_in.running


def test_takes_another_port_when_its_own_is_taken(new_home: Path) -> None:
    stand_in = StandIn(new_home)
    stand_in.start()
    stand_in.stop()
    start_elsewhere(stand_in)
    with connect(stand_in) as connection:
        assert run(connection, "SELECT 1") == [(1,)]


def start_elsewhere(stand_in: StandIn) -> None:
    """Start one that has ended, while somebody else is at its port; then nobody is."""
    port = stand_in.account().port
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # A stand-in of another test may have taken it already, which is as good.
        with suppress(OSError):
            squatter.bind(("127.0.0.1", port))
            squatter.listen()
        stand_in.start()
    assert stand_in.account().port != port


def test_a_sync_goes_on_when_it_was_killed_and_started_again_elsewhere(
    new_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flux_assets.orchestration.resources import WarehouseResource  # Dagster takes two seconds to import

    settings(monkeypatch, FLUX_HOME=new_home, FLUX_RELEASE=sample_cities.folder())
    stand_in, log = StandIn(new_home), []
    with WarehouseResource().opening("run-1", ["work_orders"], log.append)() as source:
        before = source.retrying(source.instant)
        os.kill(process_of(stand_in), signal.SIGKILL)
        while accepts(stand_in.account().port):
            sleep(0.02)
        start_elsewhere(stand_in)
        assert source.retrying(source.instant) > before
        assert source.account == replace(stand_in.account(), run_id="run-1", layer="work_orders")
        assert source.mapping(WORK_ORDERS).table is WORK_ORDERS
    assert [line.partition(":")[0] for line in log] == ["Retrying on a new session"]


def test_says_from_its_log_why_it_does_not_start(new_home: Path) -> None:
    stand_in = StandIn(new_home)
    stand_in.layout.data.mkdir(parents=True)
    (stand_in.layout.data / "FLUX_DB.db").write_bytes(b"no database" * 1000)
    with pytest.raises(EmbeddedError, match=r"does not start. Its log says:[\s\S]*not a valid DuckDB database"):
        stand_in.start()
    assert not stand_in.running


def test_says_what_to_install_where_fakesnow_is_missing(new_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "fakesnow" else plain(name))
    with pytest.raises(EmbeddedError, match=r"needs fakesnow, .* Run `pip install 'flux_assets\[embedded\]'`"):
        StandIn(new_home).start()


def test_what_it_needs_while_it_runs_lies_in_its_own_folder_and_goes_with_it(
    new_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setenv("TMPDIR", str(elsewhere))
    stand_in = StandIn(new_home)
    stand_in.start()
    (killed,) = (stand_in.layout.folder / "tmp").iterdir()
    os.kill(process_of(stand_in), signal.SIGKILL)
    stand_in.start()
    (running,) = (stand_in.layout.folder / "tmp").iterdir()
    assert running != killed
    stand_in.stop()
    assert not (stand_in.layout.folder / "tmp").exists()
    assert list(elsewhere.iterdir()) == []


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    with pytest.raises(EmbeddedError, match=f"cannot use {tmp_path}/home/snowflake"):
        StandIn(tmp_path / "home").start()


def test_a_home_with_quotes_and_spaces_will_do(new_home: Path) -> None:
    stand_in = StandIn(new_home / 'it\'s a "home"')
    stand_in.start()
    try:
        with connect(stand_in) as connection:
            keep_seven(connection)
        assert kept(stand_in) == [(7, None)]
    finally:
        stand_in.stop()


@pytest.mark.parametrize("wrong", [{"password": "guessed"}, {"user": "root"}])
def test_nobody_comes_in_without_the_password(stand_in: StandIn, wrong: dict[str, str]) -> None:
    with pytest.raises(DatabaseError, match="Incorrect username or password was specified"):
        connect(stand_in, **wrong)
    assert stand_in.layout.secret.stat().st_mode & 0o777 == 0o600
    assert stand_in.account().password.get_secret_value() not in repr(stand_in.account())


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere 127.0.0.2 is no address")
def test_listens_on_127_0_0_1_alone(stand_in: StandIn) -> None:
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.2", stand_in.account().port)) != 0


def test_sessions_work_side_by_side_and_collide_at_once(stand_in: StandIn) -> None:
    database = f"T{uuid4().hex[:8]}".upper()
    with connect(stand_in) as setting_up:
        run(setting_up, f"CREATE DATABASE {database}", f"CREATE SCHEMA {database}.S")
        run(setting_up, f"CREATE TABLE {database}.S.T (N NUMBER(10,0))", f"INSERT INTO {database}.S.T VALUES (1)")
    there = {"database": database, "schema": "S"}
    with connect(stand_in, **there) as one, connect(stand_in, **there) as two:
        run(one, "BEGIN", "UPDATE T SET N = 2")
        assert run(two, "SELECT N FROM T") == [(1,)]
        with pytest.raises(ProgrammingError, match="000625"):
            run(two, "UPDATE T SET N = 3")
        run(one, "COMMIT")
        assert run(two, "SELECT N FROM T") == [(2,)]


def test_a_session_is_in_its_schema_or_in_none(stand_in: StandIn) -> None:
    database = f"D{uuid4().hex[:8].upper()}"
    with connect(stand_in) as connection:
        run(
            connection,
            f"CREATE DATABASE {database}",
            f"CREATE SCHEMA {database}.S",
            f"CREATE TABLE {database}.S.T (N INT)",
        )
    with connect(stand_in, database=database.lower(), schema="s") as connection:
        assert run(connection, "SELECT CURRENT_DATABASE(), CURRENT_SCHEMA()") == [(database, "S")]
        assert run(connection, "SELECT COUNT(*) FROM T") == [(0,)]
    for schema in ("NOT_THERE", "INFORMATION_SCHEMA"):
        with connect(stand_in, database=database, schema=schema) as connection:
            assert run(connection, f"SELECT COUNT(*) FROM {database}.S.T") == [(0,)]
            with pytest.raises(ProgrammingError, match="T"):
                run(connection, "SELECT COUNT(*) FROM T")


def test_a_database_that_does_not_exist_is_not_made(stand_in: StandIn) -> None:
    with connect(stand_in, database="NOWHERE") as connection, pytest.raises(ProgrammingError, match="current database"):
        run(connection, "SELECT * FROM T")


def test_the_transaction_of_a_client_that_is_gone_is_undone() -> None:
    base = duckdb.connect()
    base.execute("CREATE TABLE t AS SELECT 1 AS n")
    gone, idle = base.cursor(), base.cursor()
    gone.execute("BEGIN; UPDATE t SET n = 2")
    sessions = {"gone": Session(gone), "idle": Session(idle)}
    door = Door(inside=nobody, sessions=sessions, password="", folder="")
    door._sweep(0.0)
    door._sweep(29.0)
    assert set(sessions) == {"gone", "idle"}
    door._sweep(31.0)
    assert set(sessions) == {"idle"}
    base.execute("UPDATE t SET n = 3")
    assert idle.execute("SELECT n FROM t").fetchall() == [(3,)]
    door._sweep(3601.0)
    assert not sessions


def test_an_idle_session_is_asked_once_for_its_transaction() -> None:
    """Connectors never sign out of the stand-in, and every sign-in sweeps."""

    class Asked(Session):
        asked = 0

        def begin(self) -> None:
            self.asked += 1

        def rollback(self) -> None:
            pass

        _duck_conn = property(lambda self: self, lambda self, connection: None)

    asked = Asked(duckdb.connect())
    door = Door(inside=nobody, sessions={"idle": asked}, password="", folder="")
    for now in (0.0, 31.0, 40.0, 50.0):
        door._sweep(now)
    assert asked.asked == 1
    asyncio.run(
        door({"type": "http", "path": "/x", "headers": [(b"authorization", b'Snowflake Token="idle"')]}, nobody, nobody)
    )
    door._seen["idle"] = 60.0
    door._sweep(100.0)
    assert asked.asked == 2, "it was heard of again"


def test_a_session_that_is_being_answered_is_not_idle() -> None:
    cursor = duckdb.connect().cursor()
    cursor.execute("BEGIN")
    sessions, seen = {"busy": Session(cursor)}, []

    async def slow(scope: object, receive: object, send: object) -> None:
        door._sweep(1e9)
        seen.extend(sessions)

    door = Door(inside=slow, sessions=sessions, password="", folder="")
    scope = {"type": "http", "path": "/session", "headers": [(b"authorization", b'Snowflake Token="busy"')]}
    asyncio.run(door(scope, nobody, nobody))
    assert seen == ["busy"]


class Session:
    """As much of fakesnow's connection as the door knows."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._duck_conn = connection

    def close(self) -> None:
        self._duck_conn.close()


async def nobody(*_: object) -> None:
    return None


def settings(monkeypatch: pytest.MonkeyPatch, **given: object):
    for name, value in given.items():
        monkeypatch.setenv(name, str(value))
    load_settings.cache_clear()
    return load_settings()


REAL = {
    "SNOWFLAKE_ACCOUNT": "xy12345", "SNOWFLAKE_USER": "SYNC", "SNOWFLAKE_PASSWORD": "secret", "SNOWFLAKE_WAREHOUSE": "W"
}  # fmt: skip
ELSEWHERE = {"FLUX_POSTGRES_URL": "postgresql://u:p@localhost/maps"}


def test_the_stand_in_is_provided_and_filled_where_nothing_is_set(
    new_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = settings(monkeypatch, FLUX_HOME=new_home, FLUX_RELEASE=sample_cities.folder())
    account = snowflake_account(given)
    assert account.stand_in
    with snowflake.connector.connect(**account.arguments()) as connection:
        ((circuits,),) = run(connection, "SELECT count(*) FROM CIRCUIT_METADATA")
        assert circuits == len(set(sample_cities.column("grid_power_lines", "circuit_id")))
        run(connection, "DELETE FROM WORK_ORDERS")
        # Filled once: what happened since stays.
        snowflake_account(given)
        assert run(connection, "SELECT count(*) FROM WORK_ORDERS") == [(0,)]


def test_a_host_that_is_set_stands_between(new_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"SNOWFLAKE_ACCOUNT": "stand-in", "SNOWFLAKE_PORT": 4711, "FLUX_RELEASE": sample_cities.folder()}
    account = snowflake_account(settings(monkeypatch, FLUX_HOME=new_home, **given, **ELSEWHERE))
    assert (account.host, account.port, account.protocol, account.stand_in) == ("127.0.0.1", 4711, "http", True)


def test_an_account_needs_neither_warehouse_nor_role(new_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user may have defaults of its own."""
    account = snowflake_account(settings(monkeypatch, FLUX_HOME=new_home, **REAL | {"SNOWFLAKE_WAREHOUSE": ""}))
    assert not {"warehouse", "role"} & account.arguments().keys()


def test_a_configured_account_is_used_and_nothing_is_started(new_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    account = snowflake_account(settings(monkeypatch, FLUX_HOME=new_home, SNOWFLAKE_HOST="h.example", **REAL))
    assert (account.account, account.user, account.host, account.stand_in) == ("xy12345", "SYNC", "h.example", False)
    assert list(new_home.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (ELSEWHERE, "SNOWFLAKE_ACCOUNT is not set, and simulated outages are synced into your database only"),
        ({"FLUX_PROFILE": "production"},
         r"SNOWFLAKE_ACCOUNT, SNOWFLAKE_USER, SNOWFLAKE_PRIVATE_KEY_PATH \(or SNOWFLAKE_PASSWORD\) are not set"),
        ({"FLUX_PROFILE": "production", "SNOWFLAKE_ACCOUNT": "stand-in"}, "profile production does not provide"),
        ({"SNOWFLAKE_USER": "SYNC"}, "SNOWFLAKE_ACCOUNT, SNOWFLAKE_PRIVATE_KEY_PATH"),
        ({**REAL, "SNOWFLAKE_USER": ""}, "^SNOWFLAKE_USER is not set"),
        ({**REAL, "SNOWFLAKE_PASSWORD": "", "SNOWFLAKE_PRIVATE_KEY_PATH": "/none/key.p8"},
         "SNOWFLAKE_PRIVATE_KEY_PATH = '/none/key.p8' cannot be read: No such file"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named_and_nothing_is_provided(
    given: dict[str, str], said: str, new_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingError, match=said):
        snowflake_account(settings(monkeypatch, FLUX_HOME=new_home, **given))
    assert list(new_home.iterdir()) == []
