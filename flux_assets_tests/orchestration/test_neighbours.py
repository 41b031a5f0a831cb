"""Several deployments in one Dagster instance: a code server each, and one real daemon for all.

Here: that ticks and loads of all run side by side, each into its own database. Not here: names alone (test_names.py).
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import psycopg
import pytest
import snowflake.connector
import yaml
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import InstigatorState, ScheduleInstigatorData, TickStatus
from dagster._core.workspace.context import WorkspaceProcessContext, WorkspaceRequestContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._utils.tags import TagConcurrencyLimitsCounter
from dagster_graphql.client.query import LAUNCH_PIPELINE_EXECUTION_MUTATION
from dagster_graphql.test.utils import execute_dagster_graphql

from flux_assets.alerting.incident import Policy
from flux_assets.alerting.watching import Watch
from flux_assets.orchestration.alerts import events
from flux_assets.orchestration.automation import jobs
from flux_assets.orchestration.names import Names
from flux_assets.sample.city.release_writer import write_release
from flux_assets.sample.simulation.store import SourceTables
from flux_assets.settings import REPOSITORY, load_settings
from flux_assets.spec import StaticTable
from flux_assets.tables import declarations, dynamic_tables, static_tables
from flux_assets.tables.substations import TABLE as SUBSTATIONS
from flux_assets_tests.conftest import TEMPLATE, fresh_database
from flux_assets_tests.synced import settings_of, source_database

PATIENCE = 1200
SYNC, LOAD = "sync_all_dynamic", "load_static_layers"
UTILITIES = ("austin", "houston", "waco", "laredo", "dallas", "tyler", "odessa", "denton", "lubbock", "el_paso")
DONE = {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}
WATCH = Watch(schema="public", tables=declarations(), policy=Policy(after=1), clean=str)


@dataclass(frozen=True)
class Neighbour:
    """A deployment: its name, the number of its work orders, and where everything of it is."""

    names: Names
    orders: int
    layers: tuple[StaticTable, ...]
    release: Path
    conninfo: str
    environment: dict[str, str]
    port: int

    def sql(self, query: str) -> list[tuple]:
        with psycopg.connect(self.conninfo) as connection:
            return connection.execute(query).fetchall()

    def published(self) -> dict[str, str]:
        """The digest of each layer's file that is live."""
        return dict(self.sql("SELECT layer_name, sha256 FROM postgres_sync.layer_versions WHERE current"))

    def files(self) -> dict[str, str]:
        found = {table.name: self.release / table.file_name for table in self.layers}
        return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in found.items()}


def program(name: str, *arguments: str, log: Path, environment: dict[str, str]) -> subprocess.Popen:
    with log.open("w") as output:
        return subprocess.Popen(
            [Path(sys.executable).parent / name, *arguments], env=os.environ | environment, cwd=log.parent,
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip


def stop(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def spoil(file: Path) -> None:
    """Give the file a last record that no load takes."""
    file.write_bytes(gzip.compress(gzip.decompress(file.read_bytes()) + b"not a record\n"))


@pytest.fixture
def home(cluster, tmp_path, monkeypatch) -> Iterator[Path]:
    """The Dagster instance of all: our dagster.yaml, and storage in a database of its own."""
    (tmp_path / "dagster").mkdir()
    shutil.copy(REPOSITORY / "dagster.yaml", tmp_path / "dagster")
    with fresh_database(cluster, "template0") as storage:
        for name, value in {
            "DAGSTER_HOME": str(tmp_path / "dagster"), "DAGSTER_POSTGRES_URL": cluster.url(storage),
            "FLUX_HOME": str(tmp_path / "daemon"), "PYTHONWARNINGS": "ignore",
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        load_settings.cache_clear()
        yield tmp_path


@pytest.fixture
def neighbours(request, cluster, source_server, home) -> Iterator[list[Neighbour]]:
    """So many deployments with their servers, each with so many layers, as the daemon's workspace.yaml names them."""
    made: list[Neighbour] = []
    layers = (SUBSTATIONS, *(table for table in static_tables() if table is not SUBSTATIONS))[: request.param[1]]
    with ExitStack() as stack:
        for number, utility in enumerate(UTILITIES[: request.param[0]]):
            folder = home / utility
            write_release(folder / "release", static_tables(), scale=0.005, seed=7 + number)
            source = source_database(source_server)
            with snowflake.connector.connect(**source.arguments()) as connection:
                SourceTables(connection).make("a")
                orders = ", ".join(f"('{utility}-{order}', 'OPEN')" for order in range(number + 1))
                place = f"{source.database}.PRODUCTION.WORK_ORDERS"
                connection.cursor().execute(f"INSERT INTO {place} (WORK_ORDER_ID, STATUS) VALUES {orders}")
            database = stack.enter_context(fresh_database(cluster, TEMPLATE))
            environment = {
                "FLUX_UTILITY": utility, "FLUX_HOME": str(folder), "FLUX_RELEASE": str(folder / "release"),
                "FLUX_POSTGRES_URL": cluster.url(database), **settings_of(source),
            }  # fmt: skip
            made.append(
                Neighbour(
                    Names(utility),
                    number + 1,
                    layers,
                    folder / "release",
                    cluster.conninfo(database),
                    environment,
                    free_port(),
                )
            )
        spoil(made[-1].release / SUBSTATIONS.file_name)
        for each in made:
            server = program(
                "dagster", "api", "grpc", "-m", "flux_assets.definitions", "-h", "127.0.0.1", "-p", str(each.port),
                log=home / f"{each.names.utility}.log", environment=each.environment,
            )  # fmt: skip
            stack.callback(stop, server)
        places = [
            {"grpc_server": {"host": "127.0.0.1", "port": each.port, "location_name": each.names.utility}}
            for each in made
        ]
        (home / "workspace.yaml").write_text(yaml.safe_dump({"load_from": places}))
        yield made


@pytest.fixture
def instance(home) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        yield instance


def start(instance: dg.DagsterInstance, neighbours: list[Neighbour], workspace: Path) -> None:
    """Start each one's schedule, as of before the last five minutes began, and its sensor of the release."""
    for each in neighbours:
        answers(each)
    with WorkspaceProcessContext(instance, WorkspaceFileTarget([str(workspace)])) as context:
        known = context.create_request_context()
        for each in neighbours:
            begin(instance, each, known)


def begin(instance: dg.DagsterInstance, each: Neighbour, known: WorkspaceRequestContext) -> None:
    (repository,) = known.get_code_location(each.names.utility).get_repositories().values()
    state = instance.start_schedule(repository.get_schedule("dynamic_sync_schedule"))
    began = ScheduleInstigatorData("*/5 * * * *", time.time() - 300)
    instance.update_instigator_state(state.with_data(began))
    submit(known, each, repository.name)


def submit(workspace: WorkspaceRequestContext, neighbour: Neighbour, repository: str) -> None:
    """Ask for a load of its layers as the UI does."""
    keys = [{"path": list(neighbour.names.key(table.name).path)} for table in neighbour.layers]
    place = {
        "repositoryLocationName": neighbour.names.utility, "repositoryName": repository, "jobName": LOAD,
        "assetSelection": keys,
    }  # fmt: skip
    variables = {"executionParams": {"selector": place, "runConfigData": {}, "mode": "default"}}
    answer = execute_dagster_graphql(workspace, LAUNCH_PIPELINE_EXECUTION_MUTATION, variables).data
    assert "run" in answer["launchPipelineExecution"], answer


def answers(neighbour: Neighbour) -> None:
    """Wait until its server does."""
    end = time.monotonic() + PATIENCE
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", neighbour.port), timeout=5):
            return
        assert time.monotonic() < end, f"the server of {neighbour.names.utility} does not answer"
        time.sleep(0.2)


def location(state: InstigatorState) -> str:
    return state.origin.repository_origin.code_location_origin.location_name


def wait_for_runs(instance: dg.DagsterInstance, neighbours: list[Neighbour], log: Path) -> None:
    """Wait until a sync and a load of each have ended."""
    end = time.monotonic() + PATIENCE
    wanted = {(each.names.utility, job) for each in neighbours for job in (SYNC, LOAD)}
    while not wanted <= {
        (run.tags["flux/utility"], run.job_name) for run in instance.get_runs(dg.RunsFilter(statuses=[*DONE]))
    }:
        assert time.monotonic() < end, log.read_text()[-3000:]
        time.sleep(0.5)


@pytest.mark.parametrize(
    "neighbours", [(2, 2), pytest.param((10, 10), marks=pytest.mark.faults)], indirect=True, ids=["two", "ten"]
)
def test_each_syncs_and_loads_into_its_own_database_and_shows_nothing_of_the_others(instance, neighbours, home):
    """The last one's load fails: that is nobody else's alert."""
    start(instance, neighbours, home / "workspace.yaml")
    daemon = program("dagster-daemon", "run", "-w", str(home / "workspace.yaml"), log=home / "log", environment={})
    try:
        wait_for_runs(instance, neighbours, home / "log")
    finally:
        stop(daemon)
    runs = {each.names: [record.dagster_run for record in each.names.runs(instance)] for each in neighbours}
    assert sum(map(len, runs.values())) == len(instance.get_runs())
    states = [state for state in instance.all_instigator_state() if state.instigator_type == InstigatorType.SCHEDULE]
    for each in neighbours:
        names = each.names
        spoilt = {SUBSTATIONS.name} if each is neighbours[-1] else set()
        own = {run.run_id: run for run in runs[names]}
        (load,) = [run for run in own.values() if run.job_name == LOAD]
        syncs = [run for run in own.values() if run.job_name == SYNC]  # the clock may have ticked meanwhile
        assert own.keys() == {load.run_id, *(run.run_id for run in syncs)}
        assert load.is_success == (not spoilt)
        assert {run.is_success for run in syncs if run.is_finished} == {True}
        assert {run.remote_job_origin.location_name for run in own.values()} == {names.utility}
        # Its database has what it was to get, by its own runs.
        orders = [(f"{names.utility}-{order}",) for order in range(each.orders)]
        assert each.sql("SELECT work_order_id FROM work_orders ORDER BY 1") == orders
        files = {name: digest for name, digest in each.files().items() if name not in spoilt}
        assert {name: digest for name, digest in each.published().items() if name in files} == files
        assert {run_id for (run_id,) in each.sql("SELECT DISTINCT run_id FROM postgres_sync.sync_status")} <= own.keys()
        # Dagster's assets, too, are of its own runs.
        for table in (*each.layers, *dynamic_tables()):
            record = instance.get_latest_materialization_event(names.key(table.name))
            assert (record.run_id if record else None) in (own if table.name not in spoilt else {None}), table.name
        # Nobody else's sync was a reason to skip a tick of its schedule.
        (state,) = [state for state in states if location(state) == names.utility]
        first, *others = reversed(instance.get_ticks(state.instigator_origin_id, state.selector_id))
        assert first.status == TickStatus.SUCCESS
        assert set(first.run_ids) <= own.keys()
        assert not [
            tick for tick in others if tick.skip_reason and not any(run_id in tick.skip_reason for run_id in own)
        ]
        found = events.observed((instance, []), names, lambda _: (), {}, WATCH, datetime.now(UTC))
        assert [one.run_id for one in found if one.kind == "run"] == ([load.run_id] if spoilt else [])


def counted(*running: tuple[Names, str]) -> TagConcurrencyLimitsCounter:
    limits = yaml.safe_load((REPOSITORY / "dagster.yaml").read_text())["concurrency"]["runs"]
    assert limits["max_concurrent_runs"] == -1
    return TagConcurrencyLimitsCounter(limits["tag_concurrency_limits"], [queued(*each) for each in running])


def queued(names: Names, job: str) -> dg.DagsterRun:
    (tags,) = [each.tags for each in jobs(names) if each.name == job]
    return dg.DagsterRun(job_name=job, tags={**tags})


def test_loads_wait_for_loads_and_syncs_for_nobody_elses():
    austin, houston, waco = map(Names, UTILITIES[:3])
    assert not counted((austin, LOAD)).is_blocked(queued(austin, LOAD))
    one = counted((austin, LOAD), (austin, "check_all_tables"))
    assert one.is_blocked(queued(austin, LOAD))
    assert not one.is_blocked(queued(houston, LOAD))
    full = counted(*[(each, LOAD) for each in (austin, austin, houston, houston)], (houston, SYNC))
    assert full.is_blocked(queued(waco, LOAD))
    assert not any(full.is_blocked(queued(each, SYNC)) for each in (austin, waco, Names()))
    assert full.is_blocked(queued(houston, SYNC))
