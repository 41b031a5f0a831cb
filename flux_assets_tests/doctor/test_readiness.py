"""`flux-assets health`: ready or not, by what a probe can see."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from flux_assets.cli.main import main
from flux_assets.doctor.readiness import unready
from flux_assets.settings import load_settings
from flux_assets_tests.web import serving

BEATS = "CREATE TABLE daemon_heartbeats (daemon_type text PRIMARY KEY, timestamp timestamp)"
BEAT = "INSERT INTO daemon_heartbeats SELECT unnest(%s::text[]), now() AT TIME ZONE 'UTC' - %s::interval"


def health(*parts: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["health", *parts])
    return done.exit_code, done.output


@pytest.fixture
def settings(cluster, database, monkeypatch):
    """Both databases in one."""
    for name in ("FLUX_POSTGRES_URL", "DAGSTER_POSTGRES_URL"):
        monkeypatch.setenv(name, cluster.url(database))
    load_settings.cache_clear()


def test_databases_that_answer_are_ready(settings):
    assert health("postgis", "dagster") == (0, "ready: postgis, dagster\n")


def test_a_database_that_takes_no_writes_is_not(settings, database, sql):
    sql(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    code, said = health()
    assert code == 1
    assert said.startswith("not ready: postgis: it takes no writes")
    assert "dagster:" not in said


def test_a_server_that_is_away_is_told_in_one_line(monkeypatch):
    monkeypatch.setenv("FLUX_POSTGRES_URL", "postgresql://nobody@127.0.0.1:1/nowhere")
    load_settings.cache_clear()
    code, said = health("postgis")
    assert (code, said.count("\n")) == (1, 1)
    assert "127.0.0.1" in said


@pytest.mark.parametrize("address", ["grpc://127.0.0.1:99999", "grpc://127.0.0.1", "grpc://:4266", "grpc:x"])
def test_a_code_server_has_host_and_port(address):
    """gRPC would take another port without a word."""
    assert health(address) == (1, f"not ready: {address}: it is not grpc://host:port, with a port from 1 to 65535\n")


def test_the_daemon_is_ready_by_its_heartbeats(settings, sql):
    assert unready("daemon") == "it has never run"
    sql(BEATS)
    sql(BEAT, ["SCHEDULER", "QUEUED_RUN_COORDINATOR", "BACKFILL"], "0 minutes")
    sql(BEAT, ["SENSOR"], "6 minutes")
    assert unready("daemon") == "no heartbeat in 5 minutes: SENSOR"
    sql("UPDATE daemon_heartbeats SET timestamp = now() AT TIME ZONE 'UTC' WHERE daemon_type = 'SENSOR'")
    assert unready("daemon") is None


def test_nothing_is_started_to_find_out(tmp_path, monkeypatch):
    monkeypatch.setenv("FLUX_HOME", str(tmp_path))
    load_settings.cache_clear()
    assert "not running" in unready("postgis")
    assert "not running" in unready("dagster")
    assert list(tmp_path.iterdir()) == []


def test_in_production_a_missing_setting_is_named(monkeypatch):
    monkeypatch.setenv("FLUX_PROFILE", "production")
    load_settings.cache_clear()
    assert "DAGSTER_POSTGRES_URL is not set" in unready("daemon")


def test_a_page_is_ready_when_it_answers_well():
    with serving() as web:
        web.files["/server_info"] = b"{}"
        assert unready(f"{web.address}/server_info") is None
        assert "404" in unready(f"{web.address}/elsewhere")
    assert unready(f"{web.address}/server_info") is not None
    assert "nonnumeric port" in unready("http://127.0.0.1:port/")


def test_dagsters_database_is_not_called_the_target(monkeypatch):
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", "postgresql://nobody@127.0.0.1:1/nowhere")
    load_settings.cache_clear()
    code, said = health("dagster")
    assert code == 1
    assert "Dagster's database cannot be reached" in said
    assert "DAGSTER_POSTGRES_URL" in said
    assert "FLUX_POSTGRES_URL" not in said


def test_an_address_says_the_same(settings, database, sql):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [Path(sys.executable).with_name("flux-assets"), "health", "--port", str(port), "postgis"]
    with subprocess.Popen(command) as process:
        try:
            until = time.monotonic() + 60
            while unready(f"http://127.0.0.1:{port}") is not None:
                assert time.monotonic() < until
                time.sleep(0.1)
            sql(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
            assert "503" in unready(f"http://127.0.0.1:{port}")
        finally:
            process.terminate()
    assert process.returncode == -signal.SIGTERM


def test_another_part_is_wrong_use():
    for options in (), ("--port", "1"):
        code, said = health(*options, "postgis", "postgres")
        assert code == 1
        assert "postgis, dagster, daemon" in said


def test_dagster_is_not_imported(cluster, database):
    """It would cost a probe seconds of processor time."""
    script = (
        "import sys; from flux_assets.doctor.readiness import unready;"
        "[unready(part) for part in ('postgis', 'dagster', 'daemon', 'http://127.0.0.1:1', 'grpc://127.0.0.1:1')];"
        "print([name for name in ('dagster', 'snowflake.connector', 'pandas', 'pyarrow') if name in sys.modules])"
    )
    urls = {name: cluster.url(database) for name in ("FLUX_POSTGRES_URL", "DAGSTER_POSTGRES_URL")}
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | urls, cwd=Path("/"), capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
