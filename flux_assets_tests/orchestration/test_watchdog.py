"""The watchdog and muting, as cron and a user call them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner, Result
from dagster._daemon.types import DaemonHeartbeat

from flux_assets.alerting.store import AlertTables
from flux_assets.cli.main import main
from flux_assets.ledger.runs import register_declarations
from flux_assets.settings import load_settings
from flux_assets.tables import dynamic_tables
from flux_assets_tests.receiver import Receiver, receiving

pytestmark = pytest.mark.bare

Call = Callable[..., Result]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def dagster_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that an instance keeps its storage in; making one takes longer than most of the tests."""
    return tmp_path_factory.mktemp("dagster")


@pytest.fixture
def settings(monkeypatch, cluster, database, tmp_path, dagster_home, receiver) -> Callable[..., None]:
    """Sets what is given beside what leads to the fresh database."""

    def change(**given: str | None) -> None:
        usual = {
            "FLUX_HOME": str(tmp_path / "home"), "FLUX_POSTGRES_URL": cluster.tcp_url(database),
            "DAGSTER_HOME": str(dagster_home), "FLUX_ALERT_URL": f"{receiver.address}/x",
            "DAGSTER_POSTGRES_URL": "postgresql://unused/here",
        }  # fmt: skip
        for name, value in (usual | given).items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)
        load_settings.cache_clear()

    change()
    return change


@pytest.fixture
def call(settings) -> Call:
    return lambda *arguments: CliRunner().invoke(main, arguments, catch_exceptions=False)


@pytest.fixture
def ledger(target, sql) -> Callable[..., None]:
    """Writes rows of the ledger of real tables."""
    with target.session("test") as session:
        AlertTables(session, target.schema).create()
        for statement in register_declarations(target.schema, (), dynamic_tables()):
            session.execute(statement)

    def write(table: str, status: str, message: str | None = None, *, ago: timedelta = timedelta()) -> None:
        at = datetime.now(UTC) - ago
        sql(
            "INSERT INTO postgres_sync.sync_status (layer_name, status, started_at, completed_at, error_message)"
            " VALUES (%s, %s, %s, %s, %s)",
            table, status, at, at, message,
        )  # fmt: skip

    return write


def test_all_is_well(call):
    result = call("watchdog")
    assert (result.exit_code, result.output) == (0, "All is well.\n")
    assert json.loads(call("watchdog", "--json").output) == {"ok": True, "problems": [], "told": [], "undelivered": []}


def test_looking_changes_nothing(call, sql):
    call("watchdog")
    assert sql("SELECT to_regnamespace('postgres_sync')") == [(None,)]


def test_a_line_for_each_problem_and_exit_code_1(call, ledger, receiver):
    ledger("substations", "FAILED", "substations: line 3 is damaged. Fix it.", ago=timedelta(minutes=5))
    ledger("osm_water", "FAILED", "osm_water: PostgreSQL refused it: x.")
    result = call("watchdog")
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert len(lines) == 2
    assert "substations could not be loaded, for 5 min: substations: line 3 is damaged. Fix it." in lines
    assert receiver.got == [], "nobody asked for that"
    found = json.loads(call("watchdog", "--json").output)
    assert not found["ok"]
    assert {(each["kind"], *each["tables"]) for each in found["problems"]} == {
        ("load", "substations"), ("load", "osm_water")
    }  # fmt: skip


def test_it_tells_what_nobody_has_told_yet(call, ledger, receiver):
    ledger("substations", "FAILED", "substations: line 3 is damaged.")
    result = call("watchdog", "--send")
    assert "sent: substations could not be loaded" in result.output
    assert receiver.texts() == ["opened: substations could not be loaded"]
    assert "sent" not in call("watchdog", "--send").output
    ledger("substations", "SUCCESS")
    result = call("watchdog", "--send", "--json")
    assert result.exit_code == 0
    assert json.loads(result.output)["told"] == [
        {"event": "recovered", "title": "Recovered: substations could not be loaded"}
    ]
    assert receiver.texts() == ["recovered: Recovered: substations could not be loaded"]


def test_a_message_that_does_not_arrive_is_a_problem(call, ledger, receiver):
    receiver.status = 404
    ledger("substations", "FAILED", "x.")
    assert call("mute", "--table", "osm_water").exit_code == 0
    result = call("watchdog", "--send")
    assert result.exit_code == 1
    assert "404" in result.output
    assert "404" in json.loads(call("watchdog", "--send", "--json").stdout)["undelivered"][0]


def test_sending_needs_an_address(call, settings):
    settings(FLUX_ALERT_URL=None)
    result = call("watchdog", "--send")
    assert (result.exit_code, "FLUX_ALERT_URL" in result.output) == (1, True)


def test_a_dead_daemon(call, dagster_home):
    with dg.DagsterInstance.from_config(str(dagster_home)) as instance:
        long_ago = (datetime.now(UTC) - timedelta(minutes=12)).timestamp()
        instance.add_daemon_heartbeat(DaemonHeartbeat(long_ago, "SCHEDULER", "daemon"))
        try:
            result = call("watchdog")
        finally:
            instance.wipe_daemon_heartbeats()
    assert result.exit_code == 1
    assert "Dagster's daemon is dead, for 12 min" in result.output


def test_a_stopped_schedule(call, ledger):
    ledger("work_orders", "SUCCESS", ago=timedelta(minutes=20))
    found = json.loads(call("watchdog", "--json").output)["problems"]
    assert [each["kind"] for each in found] == ["schedule"], "that it is late follows from it"
    assert "dagster schedule start" in found[0]["remedy"]


def test_postgis_that_is_away(call, settings):
    settings(FLUX_POSTGRES_URL="postgresql://flux:hush-hush@127.0.0.1:1/maps")
    result = call("watchdog", "--send")
    assert result.exit_code == 1
    assert "PostGIS cannot be used" in result.output
    assert "hush-hush" not in result.output


def test_the_embedded_postgis_is_not_started_to_be_looked_at(call, settings, tmp_path):
    settings(FLUX_POSTGRES_URL=None)
    result = call("watchdog", "--send")
    assert result.exit_code == 1
    assert "not running" in result.output
    assert not (tmp_path / "home" / "postgres").exists()


def test_dagsters_storage_that_is_away(call, settings, tmp_path, ledger):
    ledger("substations", "FAILED", "x.")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "dagster.yaml").write_text("storage:\n  nothing: {}\n")
    settings(DAGSTER_HOME=str(tmp_path / "broken"))
    found = json.loads(call("watchdog", "--json").output)["problems"]
    assert {each["kind"] for each in found} == {"load", "dagster"}


def test_what_is_muted_is_shown_and_counts_for_nothing(call, ledger, receiver):
    ledger("substations", "FAILED", "substations: line 3 is damaged.")
    result = call("mute", "--for", "90m", "--table", "substations")
    assert (result.exit_code, "substations" in result.output) == (0, True)
    result = call("watchdog", "--send")
    assert (result.exit_code, result.output.startswith("muted: substations")) == (0, True)
    assert receiver.got == []
    assert "substations" in call("mute", "--list").output
    assert "Ended 1 mute." in call("mute", "--off").output
    assert call("mute", "--list").output == "Nothing is muted.\n"
    assert call("watchdog", "--send").exit_code == 1
    assert receiver.texts() == ["opened: substations could not be loaded"]


def test_muting_everything_holds_also_while_postgis_is_away(call, settings, receiver):
    call("mute", "--for", "2h")
    settings(FLUX_POSTGRES_URL="postgresql://flux@127.0.0.1:1/maps")
    result = call("watchdog")
    assert (result.exit_code, result.output.startswith("muted: PostGIS")) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--table", "nope"), "no table 'nope'"),
        (("--table", "work_order"), "Did you mean work_orders?"),
        (("--for", "2"), "'2' has no unit; write 2m, 2h or 2d"),
        (("--for", " 1.5"), "has no unit; write 1.5m, 1.5h or 1.5d"),
        (("--for", "soon"), "'soon' is not a time span of at most a year such as 30m, 2h or 1d"),
        (("--for", "2w"), "such as 30m, 2h or 1d"),
        (("--for", "0"), "between"),
        (("--for", "9999d"), "between"),
        (("--off", "--list"), "one of them"),
    ],
)
def test_mutes_that_make_no_sense(call, arguments, said):
    result = call("mute", *arguments)
    assert result.exit_code != 0
    assert said in result.output
