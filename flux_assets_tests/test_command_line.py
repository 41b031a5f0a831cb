"""`dagster asset materialize` from a plain shell, with Dagster's own storage in PostgreSQL."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from made_up import write_one_row

from flux_assets.settings import REPOSITORY
from flux_assets.tables import static_tables

PATIENCE = 120
DAGSTER = Path(sys.executable).with_name("dagster")


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
def materialising(environment: dict[str, str], *arguments: str) -> Iterator[subprocess.Popen]:
    process = subprocess.Popen(
        command("asset", "materialize", *arguments),
        env=environment, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def materialise(environment: dict[str, str], *arguments: str) -> tuple[int, str]:
    with materialising(environment, *arguments) as process:
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
    assert "flux_assets/orchestration/assets.py" not in printed
    assert rows(sql) == {"transformers": 1}


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_an_interrupted_command_ends_and_leaves_what_was_published(sent, environment, sql, admin_sql):
    """A transaction of ours keeps the layer from being published, so the command waits until it is stopped."""
    materialise(environment, "--select", "substations")
    sql("BEGIN")
    sql("LOCK TABLE substations IN ACCESS SHARE MODE")
    given = '{"ops": {"substations": {"config": {"force": true}}}}'
    with materialising(environment, "--select", "substations", "--config-json", given) as process:
        until = time.monotonic() + PATIENCE
        while not waiting(admin_sql):
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.1)
        process.send_signal(sent)
        printed, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode != 0
    assert "Interrupted; stopping substations" in printed
    assert sql("SELECT count(*) FROM substations") == [(1,)]
    sql("ROLLBACK")
    assert waiting(admin_sql) == 0
    assert materialise(environment, "--select", "substations")[0] == 0


def waiting(admin_sql) -> int:
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE %s"
    return admin_sql(query, "flux_assets %")[0][0]
