"""`flux-assets load` and `sync`: Dagster's own runs, with exit codes and names that a person can get wrong."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner, Result

from flux_assets.checks.live_audits import all_audits_of
from flux_assets.cli.main import main
from flux_assets.errors import SettingError
from flux_assets.postgis.session import Target
from flux_assets.sample.cluster import Cluster
from flux_assets.settings import load_settings
from flux_assets.sync.result import SyncOptions
from flux_assets.sync.setup import set_up_tables
from flux_assets.tables import dynamic_tables, following, layers, static_tables, views
from flux_assets_tests import sample_cities
from flux_assets_tests.conftest import Sql
from flux_assets_tests.leasing import someone_else
from flux_assets_tests.made_up import write_one_row

LAYERS = ("substations", "transformers")


@pytest.fixture(autouse=True)
def dagster_home(monkeypatch: pytest.MonkeyPatch, cluster: Cluster, database: str, tmp_path: Path) -> Path:
    """A release of one row a layer, the fresh database, and a Dagster instance of the test's own."""
    for table in static_tables():
        if table.name in LAYERS:
            write_one_row(tmp_path / "tiny", table)
    home = tmp_path / "dagster"
    home.mkdir()
    given = {
        "FLUX_POSTGRES_URL": cluster.url(database), "FLUX_RELEASE": str(tmp_path / "tiny"), "DAGSTER_HOME": str(home),
        "FLUX_PUBLISH_WAIT": "1s",
    }  # fmt: skip
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    load_settings.cache_clear()
    return home


def call(*words: str) -> Result:
    return CliRunner().invoke(main, words)


def test_layers_are_loaded_by_a_run_of_the_job_and_loaded_again_where_forced(sql: Sql, dagster_home: Path) -> None:
    result = call("load", *LAYERS, LAYERS[0])
    assert result.exit_code == 0, result.output
    assert sql("SELECT layer_name FROM postgres_sync.sync_status ORDER BY 1") == [(name,) for name in LAYERS]
    assert "circuit_service_areas stays as it is: public.circuit_service_areas is computed from" in result.output
    assert "did not yield" not in result.output
    assert call("load", "substations", "--force").exit_code == 0
    assert sql("SELECT count(*) FROM postgres_sync.layer_versions WHERE layer_name = 'substations'") == [(2,)]
    with dg.DagsterInstance.from_config(str(dagster_home)) as instance:
        runs = instance.get_runs()
        assert {run.job_name for run in runs} == {"load_static_layers"}
        assert {run.status for run in runs} == {dg.DagsterRunStatus.SUCCESS}
        assert instance.get_latest_materialization_event(dg.AssetKey("transformers")) is not None
        planned = {
            (key.asset_key.to_user_string(), key.name)
            for run in runs
            for event in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED)
            if event.dagster_event and (key := event.dagster_event.asset_check_planned_data.asset_check_key)
        }
    # The comparison with the release, which reads all of it again, is not among them.
    names = {*LAYERS, *following(LAYERS)}
    loaded = [table for table in layers() if table.name in names]
    wanted = {(table.name, audit.name) for table in loaded for audit in all_audits_of(table)}
    assert planned == wanted | {(view.name, "as_declared") for view in views() if view.name in names}


def test_a_layer_that_cannot_be_loaded_is_exit_code_1_and_one_that_another_loads_is_3(target: Target) -> None:
    with someone_else(target.conninfo, name="substations"):
        result = call("load", "substations")
    assert result.exit_code == 3, result.output
    assert "another process is loading it" in result.output
    failed = call("load", "osm_water")
    assert failed.exit_code == 1
    assert "failed; the messages above" in failed.output


def test_a_sync_is_a_run_of_the_job_and_exit_code_3_while_another_is_under_way(
    monkeypatch: pytest.MonkeyPatch, target: Target, sql: Sql
) -> None:
    monkeypatch.setenv("SNOWFLAKE_ACCOUNT", "stand-in")
    monkeypatch.setenv("FLUX_RELEASE", str(sample_cities.folder()))
    load_settings.cache_clear()
    set_up_tables(dynamic_tables(), target, SyncOptions(), lambda _: None)
    with someone_else(target.conninfo):
        result = call("sync", "work_orders")
    assert result.exit_code == 3, result.output
    result = call("sync", "work_orders", "--force")
    assert result.exit_code == 0, result.output
    assert sql("SELECT DISTINCT layer_name FROM postgres_sync.sync_status WHERE status = 'SUCCESS'") == [
        ("work_orders",)
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("load", "substation"), "There is no layer 'substation'. Did you mean substations?"),
        (("load", "Building-Footprints"), "Did you mean building_footprints?"),
        (("load", "qqq"), "There is no layer 'qqq'.\n"),
        (("load", "work_orders"), "by `flux-assets sync work_orders`"),
        (("sync", "work_order"), "There is no synced table 'work_order'. Did you mean work_orders?"),
        (("sync", "substations"), "by `flux-assets load substations`"),
        (("versions", "transformer"), "Did you mean transformers?"),
        (("load", "--forse"), "Did you mean --force?"),
    ],
)
def test_a_name_that_is_misspelt_gives_one_sentence_and_starts_nothing(
    words: tuple[str, ...], said: str, dagster_home: Path
) -> None:
    result = call(*words)
    assert result.exit_code == (2 if said.endswith("--force?") else 1)
    assert said in result.output.replace("'--force'", "--force")  # later versions of click quote it
    assert "Traceback" not in result.output
    assert list(dagster_home.iterdir()) == []


def test_pods_are_started_within_a_cluster(dagster_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLUX_EXECUTOR", "k8s")
    result = call("load", "substations")
    assert result.exit_code == 1
    assert "this command does not run in a Kubernetes cluster" in result.output
    assert "Traceback" not in result.output
    assert list(dagster_home.iterdir()) == []


def test_what_an_executor_refuses_is_a_sentence(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("An unexpected error.") from SettingError("FLUX_CELERY_BROKER is not set.", "Set it.")

    monkeypatch.setattr("flux_assets.cli.status.the_target", refuse)
    result = call("status")
    assert result.exit_code == 1
    assert "FLUX_CELERY_BROKER is not set." in result.output
