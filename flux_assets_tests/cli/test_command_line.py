"""`dagster asset materialize` from a plain shell, with Dagster's own storage in PostgreSQL."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flux_assets.settings import REPOSITORY
from flux_assets.sync.result import SyncOptions
from flux_assets.sync.setup import set_up_tables
from flux_assets.tables import dynamic_tables, static_tables
from flux_assets_tests import sample_cities
from flux_assets_tests.made_up import write_one_row

pytestmark = pytest.mark.bare

PATIENCE = 120
DAGSTER = Path(sys.executable).with_name("dagster")
MATERIALISE = ("asset", "materialize")


def ctrl_c(group: int) -> None:
    """As a terminal does it: to all processes of the command."""
    os.killpg(group, signal.SIGINT)


@pytest.fixture
def environment(tmp_path, cluster, database) -> dict[str, str]:
    """A release with one row a layer, and a database for it."""
    for table in static_tables():
        write_one_row(tmp_path / "tiny", table)
    given = {"FLUX_POSTGRES_URL": cluster.url(database), "FLUX_RELEASE": str(tmp_path / "tiny")}
    return os.environ | given | {"FLUX_PARALLEL_LAYERS": "4"}


def command(*arguments: str) -> list[str]:
    return [str(DAGSTER), *arguments, "-m", "flux_assets.definitions"]


@contextmanager
def running(environment: dict[str, str], *arguments: str) -> Iterator[subprocess.Popen]:
    """The command in a group of processes of its own, as a terminal starts it."""
    with subprocess.Popen(
        command(*arguments), env=environment, cwd=REPOSITORY, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def materialise(environment: dict[str, str], *arguments: str) -> tuple[int, str]:
    with running(environment, *MATERIALISE, *arguments) as process:
        printed, _ = process.communicate(timeout=PATIENCE)
        return process.returncode, printed


def rows(sql) -> dict[str, int]:
    counts = {}
    for table in static_tables():
        if sql("SELECT to_regclass(%s) IS NOT NULL", table.name) == [(True,)]:
            counts[table.name] = sql(f"SELECT count(*) FROM {table.name}")[0][0]
    return counts


def test_one_layer(environment, sql):
    code, printed = materialise(environment, "--select", "substations")
    assert code == 0, printed
    assert rows(sql) == {"substations": 1}


def test_the_group_and_then_the_group_unchanged(environment, sql):
    code, printed = materialise(environment, "--select", "group:static_layers")
    assert code == 0, printed
    assert rows(sql) == {table.name: 1 for table in static_tables()}
    code, printed = materialise(environment, "--select", "group:static_layers")
    assert code == 0, printed
    assert printed.count("is unchanged") == len(static_tables())


def test_force_by_configuration(environment, sql):
    materialise(environment, "--select", "substations")
    given = '{"ops": {"substations": {"config": {"force": true}}}}'
    code, printed = materialise(environment, "--select", "substations", "--config-json", given)
    assert code == 0, printed
    assert sql("SELECT count(*) FROM postgres_sync.layer_versions WHERE layer_name = 'substations'") == [(2,)]


def test_a_failure_is_an_exit_code_and_a_sentence(environment, sql):
    Path(environment["FLUX_RELEASE"], "substations.csv.gz").unlink()
    code, printed = materialise(environment, "--select", "substations,transformers")
    assert code != 0
    assert "substations.csv.gz" in printed
    assert "Traceback" not in printed
    assert "flux_assets/orchestration/layer_assets.py" not in printed
    assert rows(sql) == {"transformers": 1}


@pytest.mark.parametrize("stop", [ctrl_c, lambda pid: os.kill(pid, signal.SIGTERM)], ids=["Ctrl-C", "SIGTERM"])
def test_an_interrupted_command_ends_and_leaves_what_was_published(stop, environment, sql, admin_sql):
    """A transaction of ours keeps the layer from being published, so the command waits until it is stopped."""
    materialise(environment, "--select", "substations")
    sql("BEGIN")
    sql("LOCK TABLE substations IN ACCESS SHARE MODE")
    given = '{"ops": {"substations": {"config": {"force": true}}}}'
    forced = (*MATERIALISE, "--select", "substations", "--config-json", given)
    printed = interrupted(environment, forced, lambda: waiting(admin_sql), stop)
    assert "Interrupted; stopping substations" in printed
    assert sql("SELECT count(*) FROM substations") == [(1,)]
    sql("ROLLBACK")
    assert waiting(admin_sql) == 0
    assert materialise(environment, "--select", "substations")[0] == 0


@pytest.mark.parametrize(
    "how",
    [("job", "execute", "-j", "sync_all_dynamic"), (*MATERIALISE, "--select", "work_orders")],
    ids=["job", "asset"],
)
def test_an_interrupted_sync_ends_and_leaves_what_was_there(how, environment, sql, admin_sql, target):
    """A transaction of ours holds the table up, as above."""
    set_up_tables(dynamic_tables(), target, SyncOptions(), lambda _: None)
    sql("BEGIN")
    sql("LOCK TABLE work_orders IN SHARE MODE")
    source = {"SNOWFLAKE_ACCOUNT": "stand-in", "FLUX_RELEASE": str(sample_cities.folder())}
    interrupted(environment | source, how, lambda: waiting(admin_sql, "AND wait_event_type = 'Lock'"), ctrl_c)
    assert sql("SELECT count(*) FROM work_orders") == [(0,)]


def interrupted(environment, arguments, held: Callable[[], int], stop: Callable[[int], None]) -> str:
    """What a command prints that is stopped while it is held up; of Python's frames there is nothing."""
    with running(environment, *arguments) as process:
        until = time.monotonic() + PATIENCE
        while not held():
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.1)
        stop(process.pid)
        printed, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "Interrupted. Published data is intact" in printed
    assert "Traceback" not in printed
    assert "Stack Trace" not in printed
    return printed


def waiting(admin_sql, how: str = "") -> int:
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE %s"
    return admin_sql(f"{query} {how}", "flux_assets %")[0][0]
