"""Webserver, daemon and code server, each a process of its own as deploy/ starts them: stopped by SIGTERM, replaced."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql as psql
from websockets.sync.client import connect

from flux_assets.doctor.readiness import unready
from flux_assets.layers.context import LoadOptions
from flux_assets.layers.load import load_layer
from flux_assets.release.release import Release
from flux_assets.sample.cluster import OWNER
from flux_assets.settings import REPOSITORY, load_settings
from flux_assets.sync.result import SyncOptions
from flux_assets.sync.setup import set_up_tables
from flux_assets.tables import dynamic_tables, static_tables
from flux_assets_tests import sample_cities

PATIENCE = 180  # to start and to work on a busy machine
GRACE = 30  # as the units and the compose file give from SIGTERM to SIGKILL; on a quiet machine all end within ten
DEFINITIONS = ("-m", "flux_assets.definitions", "--location-name", "flux_assets")
LAUNCH = """
mutation ($job: String!, $assets: [AssetKeyInput!], $config: RunConfigData) {
  launchRun(executionParams: {
    selector: {repositoryLocationName: "flux_assets", repositoryName: "__repository__", jobName: $job,
               assetSelection: $assets}, runConfigData: $config}) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  }
}
"""
FORCED = {"ops": {"substations": {"config": {"force": True}}}}


def until(reached: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < deadline, "it did not come that far"
        time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Deployment:
    """Its processes, each in a group of its own, as a container or a unit holds them."""

    def __init__(
        self, folder: Path, environment: dict[str, str], history: psycopg.Connection, stack: ExitStack
    ) -> None:
        self.folder, self.environment, self.history, self.stack = folder, environment, history, stack
        self.code, self.page = free_port(), free_port()
        written = (REPOSITORY / "deploy" / "workspace.yaml").read_text().replace("4000", str(self.code))
        self.workspace = folder / "workspace.yaml"
        self.workspace.write_text(written)

    def start(self, name: str, *command: str) -> subprocess.Popen:
        log = self.stack.enter_context((self.folder / f"{name}.log").open("w"))
        process = subprocess.Popen(
            [Path(sys.executable).with_name(command[0]), *command[1:]], env=self.environment, cwd=self.folder,
            stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        self.stack.callback(self._end, process)
        return process

    @staticmethod
    def _end(process: subprocess.Popen) -> None:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def launch(self, job: str, assets: tuple[str, ...] = (), config: object = None) -> str:
        variables = {"job": job, "config": config or {}, "assets": [{"path": [name]} for name in assets] or None}
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.page}/graphql",
            json.dumps({"query": LAUNCH, "variables": variables}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)["data"]["launchRun"]["run"]["runId"]

    def outcomes(self, run_id: str) -> list[str]:
        """How the run ended, and each that repeated it."""
        asked = (
            "SELECT status FROM runs WHERE run_id = %s OR run_id IN"
            " (SELECT run_id FROM run_tags WHERE key = 'flux/interrupted_run' AND value = %s) ORDER BY id"
        )
        return [status for (status,) in self.history.execute(asked, [run_id, run_id]).fetchall()]


@pytest.fixture
def deployment(cluster, database, target, tmp_path, monkeypatch) -> Iterator[Deployment]:
    """A layer is published and the dynamic tables are made."""
    city, name = sample_cities.folder(), f"{database}_history"
    substations = next(table for table in static_tables() if table.name == "substations")
    load_layer(substations, Release(str(city), "v1", tmp_path / "cache"), target, LoadOptions(), lambda _: None)
    set_up_tables(dynamic_tables(), target, SyncOptions(), lambda _: None)
    with cluster.admin_session() as admin:
        admin.execute(psql.SQL("CREATE DATABASE {} OWNER {}").format(*map(psql.Identifier, (name, OWNER))))
    settings = {
        "FLUX_POSTGRES_URL": cluster.url(database), "DAGSTER_POSTGRES_URL": cluster.url(name),
        "FLUX_RELEASE": str(city), "SNOWFLAKE_ACCOUNT": "stand-in", "DAGSTER_HOME": str(REPOSITORY),
        "FLUX_CODE_HOST": "127.0.0.1", "PYTHONWARNINGS": "ignore",
    }  # fmt: skip
    for setting, value in settings.items():
        monkeypatch.setenv(setting, value)
    load_settings.cache_clear()
    with ExitStack() as stack:
        history = stack.enter_context(psycopg.connect(cluster.conninfo(name), autocommit=True))
        yield Deployment(tmp_path, dict(os.environ), history, stack)
    with cluster.admin_session() as admin:
        admin.execute(psql.SQL("DROP DATABASE {} (FORCE)").format(psql.Identifier(name)))


@contextmanager
def watching(port: int, run_id: str) -> Iterator[None]:
    """A page of the UI that follows a run through its web socket."""
    query = f'subscription {{ pipelineRunLogs(runId: "{run_id}") {{ __typename }} }}'
    with connect(f"ws://127.0.0.1:{port}/graphql", subprotocols=["graphql-ws"], ping_interval=None) as page:
        page.send(json.dumps({"type": "connection_init"}))
        page.send(json.dumps({"type": "start", "id": "1", "payload": {"query": query}}))
        while json.loads(page.recv(PATIENCE))["type"] != "data":
            pass
        yield


@contextmanager
def held_up(conninfo: str) -> Iterator[None]:
    """Somebody's transaction keeps the layer from being published and the synced tables from being written."""
    with psycopg.connect(conninfo) as other:
        other.execute("LOCK TABLE substations IN ACCESS SHARE MODE")
        other.execute("LOCK TABLE work_orders IN SHARE MODE")
        yield
        other.rollback()


def test_a_new_version_takes_over_while_a_load_and_a_sync_run(deployment, target, sql):
    """Both are interrupted with the code server whose processes they are, and repeated by the new one."""
    old = deployment.start("old", "dagster", "api", "grpc", "-p", str(deployment.code), *DEFINITIONS)
    daemon = deployment.start("daemon", "dagster-daemon", "run", "-w", str(deployment.workspace))
    code, page = f"grpc://127.0.0.1:{deployment.code}", f"http://127.0.0.1:{deployment.page}/server_info"
    assert unready(code) is not None, "nothing answers yet"
    until(lambda: unready(code) is None)
    port = str(deployment.page)
    webserver = deployment.start("webserver", "dagster-webserver", "-p", port, "-w", str(deployment.workspace))
    until(lambda: unready(page) is None)
    until(lambda: unready("daemon") is None)
    [[before]] = sql("SELECT count(*) FROM substations")

    waiting = (
        "SELECT count(*) FROM postgres_sync.layer_leases AS lease JOIN pg_stat_activity AS session"
        " ON session.pid = lease.holder_pid WHERE datname = current_database()"
    )
    with held_up(target.conninfo):
        runs = deployment.launch("load_static_layers", ("substations",), FORCED), deployment.launch("sync_all_dynamic")
        until(lambda: sql(waiting) == [(2,)])
        os.killpg(old.pid, signal.SIGTERM)
        assert old.wait(GRACE) == 0
        until(lambda: [deployment.outcomes(run)[0] for run in runs] == ["FAILURE", "FAILURE"])
        assert sql("SELECT count(*) FROM substations") == [(before,)]
        assert sql("SELECT count(*) FROM work_orders") == [(0,)]

    new = deployment.start("new", "dagster", "code-server", "start", "-p", str(deployment.code), *DEFINITIONS)
    until(lambda: [deployment.outcomes(run) for run in runs] == [["FAILURE", "SUCCESS"]] * 2)
    assert sql("SELECT count(*) FROM substations") == [(before,)]
    assert sql("SELECT count(*) > 0 FROM work_orders") == [(True,)]
    assert sql(waiting) == [(0,)]
    deployment.stack.enter_context(watching(deployment.page, runs[0]))
    for process in (webserver, daemon, new):
        process.send_signal(signal.SIGTERM)
    assert [process.wait(GRACE) for process in (webserver, daemon, new)] == [0, 0, 0]
    assert unready(page) is not None
