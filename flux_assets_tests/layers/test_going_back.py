"""The commands rollback, pin and unpin as a user types them: what they print, what Dagster hears, their exit codes."""

import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from flux_assets.layers.context import LoadOptions
from flux_assets.layers.load import LoadResult, load_layer
from flux_assets.settings import load_settings
from flux_assets.tables.substations import TABLE as SUBSTATIONS
from flux_assets.tables.transformers import TABLE as TRANSFORMERS
from flux_assets_tests.leasing import someone_else
from flux_assets_tests.made_layers import ReleaseFolder
from flux_assets_tests.made_up import write_one_row

PATIENCE = 120
PROGRAM = str(Path(sys.executable).with_name("flux-assets"))
KEY = dg.AssetKey("substations")


class Shell:
    """The program itself, in processes of its own, with the fresh database as its target."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = os.environ | environment
        self.code: int | None = None
        self.errors = ""

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run(
            [PROGRAM, *arguments], env=self.environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        self.code, self.errors = done.returncode, done.stderr
        return done.stdout

    def dagster(self) -> dg.DagsterInstance:
        return dg.DagsterInstance.from_config(self.environment["DAGSTER_HOME"])


@pytest.fixture
def shell(cluster, database, tmp_path, monkeypatch) -> Shell:
    (tmp_path / "dagster").mkdir()
    given = {"FLUX_POSTGRES_URL": cluster.tcp_url(database), "DAGSTER_HOME": str(tmp_path / "dagster")}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    load_settings.cache_clear()
    return Shell(given)


@pytest.fixture
def load(target, tmp_path):
    def load(tag: str, key: str, table=SUBSTATIONS) -> LoadResult:
        """One row with that key, as a release of its own."""
        folder = ReleaseFolder(tmp_path / tag, tag=tag)
        write_one_row(folder.folder, table)
        content = gzip.decompress((folder.folder / table.file_name).read_bytes()).decode()
        folder.write(table, content.replace("A1", key))
        return load_layer(table, folder.release, target, LoadOptions(), lambda _: None)

    return load


def test_pin_and_unpin(shell, load, sql):
    first = load("v1", "A1").version
    said = shell("pin", "substations", "--reason", "v2 lacks a feeder")
    assert shell.code == 0, shell.errors
    assert f"substations is pinned to version {first[:12]} since " in said
    assert "(v2 lacks a feeder). `flux-assets unpin substations` lets loads publish again." in said
    held = load("v2", "B2")
    assert held.outcome == "pinned"
    assert sql("SELECT substation_id FROM substations") == [("A1",)]

    (line,) = [line for line in shell("versions", "substations").splitlines() if "current" in line][1:]
    assert "current, pinned" in line
    (version,) = json.loads(shell("versions", "substations", "--json"))
    assert (version["pinned"]["by"], version["pinned"]["reason"]) == ("flux", "v2 lacks a feeder")
    status = {table["table"]: table for table in json.loads(shell("status", "--json"))["tables"]}["substations"]
    assert (shell.code, status["pin_reason"], status["held_version"]) == (0, "v2 lacks a feeder", held.held.version)
    assert status["pinned_at"] == version["pinned"]["at"]
    assert re.search(r"pinned (just now|\d+ minutes? ago) \(v2 lacks a feeder\)", shell("status"))

    assert "substations is no longer pinned: the next load publishes" in shell("unpin", "substations")
    assert shell("unpin", "substations") == "substations is not pinned.\n"
    assert shell.code == 0
    assert load("v2", "B2").outcome == "published"
    assert [version["pinned"] for version in json.loads(shell("versions", "substations", "--json"))] == [None, None]


def test_pin_to_a_version_publishes_it_and_tells_dagster(shell, load, sql):
    first, _ = load("v1", "A1").version, load("v2", "B2")
    with shell.dagster() as instance:
        said = shell("pin", "substations", "--version", first[:8])
        assert shell.code == 0, shell.errors
        assert f"substations: version {first[:12]} of release v1 is live now" in said
        assert sql("SELECT substation_id FROM substations") == [("A1",)]
        told = instance.get_latest_materialization_event(KEY).asset_materialization
        assert (told.metadata["outcome"].value, told.metadata["version"].value) == ("rolled back", first)
        (pinned,) = instance.fetch_observations(KEY, limit=9).records
        assert pinned.asset_observation.metadata["pinned"].value.startswith(f"pinned to version {first[:12]} since ")
        shell("unpin", "--all")
        newest, _ = instance.fetch_observations(KEY, limit=9).records
    assert newest.asset_observation.metadata["pinned"].value.startswith("no longer")
    assert shell("unpin", "--all") == "No layer is pinned.\n"


def test_rollback_pins_and_says_so(shell, load):
    first, second = load("v1", "A1").version, load("v2", "B2").version
    said = shell("rollback", "substations")
    assert f"version {first[:12]} of release v1 is live now" in said
    assert "It is pinned: no load replaces it before `flux-assets unpin substations`." in said
    assert f"rolled back from version {second[:12]}" in shell("status")
    with shell.dagster() as instance:
        told = instance.get_latest_materialization_event(KEY).asset_materialization
    assert told.metadata["pinned"].value == "by the rollback, until `flux-assets unpin substations`"


def test_rollback_of_a_release(shell, load, sql):
    load("v1", "A1")
    load("v1", "A1", TRANSFORMERS)
    load("v2", "B2")
    said = shell("rollback", "--release", "v1")
    assert shell.code == 0, shell.errors
    assert "substations: version " in said
    assert "is at release v1 already." in said
    assert sql("SELECT substation_id FROM substations") == [("A1",)]
    with shell.dagster() as instance:
        assert instance.get_latest_materialization_event(KEY) is not None
        (pinned,) = instance.fetch_observations(dg.AssetKey("transformers"), limit=9).records
    assert "kept at release v1" in pinned.asset_observation.metadata["pinned"].value
    shell("rollback", "--release", "v9")
    assert shell.code == 1
    assert "public.substations (has v2, v1); public.transformers (has v1)" in shell.errors
    assert shell("unpin", "--all").count("is no longer pinned") == 2


def test_exit_code_3_where_somebody_else_is_at_it(shell, load, target):
    load("v1", "A1")
    load("v2", "B2")
    shell.environment["FLUX_PUBLISH_WAIT"] = "0"
    with someone_else(target.conninfo, name="substations"):
        for words in (("rollback", "substations"), ("rollback", "--release", "v1")):
            shell(*words)
            assert shell.code == 3
            assert "is being loaded by process" in shell.errors
            assert "(another, user flux)" in shell.errors


@pytest.mark.parametrize(
    "words",
    [("rollback", "substations", "--to", ""), ("pin", "substations", "--version", " "), ("rollback", "--release", "")],
)
def test_an_empty_version_is_not_the_same_as_none(shell, load, sql, words):
    load("v1", "A1")
    load("v2", "B2")
    live = sql("SELECT version FROM postgres_sync.layer_versions WHERE current")
    shell(*words)
    assert shell.code == 2
    assert f"{words[-2]}" in shell.errors
    assert "is empty; give a value, or leave the option out." in shell.errors
    assert sql("SELECT version FROM postgres_sync.layer_versions WHERE current") == live
    assert sql("SELECT count(*) FROM postgres_sync.layer_pins") == [(0,)]


def test_what_has_no_version_is_exit_code_1(shell):
    shell("pin", "substations")
    assert shell.code == 1
    assert "public.substations has no live version to pin." in shell.errors


def test_before_the_database_has_pins_versions_and_status_answer(shell, load, sql):
    """After an update of flux_assets and before the first load."""
    version = load("v1", "A1").version
    sql("DROP VIEW postgres_sync.v_table_status; DROP TABLE postgres_sync.layer_pins")
    sql("ALTER TABLE postgres_sync.layer_versions DROP COLUMN further_tags")
    sql(
        "CREATE VIEW postgres_sync.v_table_status AS SELECT 'public' AS schema_name, 'substations' AS layer_name,"
        " 'static' AS kind, 'live' AS state, true AS trusted, '' AS detail, 1::bigint AS rows, version, release_tag,"
        " now() AS source_changed_at, now() AS checked_at, now() AS published_at, NULL::float8 AS lag_seconds,"
        " NULL::text AS last_error, NULL::timestamptz AS last_error_at, 0::bigint AS failures_last_hour,"
        " NULL::bigint AS sync_id, NULL::text AS run_id FROM postgres_sync.layer_versions"
    )
    assert version[:12] in shell("versions", "substations")
    assert version[:12] in shell("status")
    assert shell.code == 0, shell.errors
