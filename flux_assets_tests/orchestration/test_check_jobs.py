"""The jobs that only run checks: what they select, when they run, and that one layer's part of them runs alone."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from flux_assets.compare.match import MATCHES_RELEASE, MATCHES_SOURCE
from flux_assets.definitions import defs
from flux_assets.orchestration.checks import check_specs
from flux_assets.orchestration.executor import threads_executor
from flux_assets.orchestration.layer_assets import layer_asset
from flux_assets.orchestration.match_checks import match_keys
from flux_assets.orchestration.names import Names
from flux_assets.orchestration.resources import PostgisResource, ReleaseResource
from flux_assets.orchestration.view_assets import view_check
from flux_assets.settings import load_settings
from flux_assets.tables import declarations, dynamic_tables, layers, static_tables, views
from flux_assets_tests.made_up import grove, trees, write_trees
from flux_assets_tests.running import instance_in, run_assets, run_job


def test_it_selects_every_check_that_is_cheap_and_no_asset() -> None:
    layer = defs.resolve_job_def("check_all_tables").asset_layer
    wanted = {spec.key for table in (*layers(), *dynamic_tables()) for spec in check_specs(table, Names())}
    wanted |= {view_check(view, Names()).key for view in views()}
    assert set(layer.asset_graph.asset_check_keys) == wanted
    assert layer.selected_asset_keys == set()
    steps = {node.name for node in defs.resolve_job_def("check_all_tables").nodes}
    assert steps == {*(each.name for each in (*layers(), *views())), "sync_dynamic_tables"}


def test_it_stays_within_its_process() -> None:
    assert defs.resolve_job_def("check_all_tables").executor_def.name == threads_executor.name


def test_a_table_is_known_by_its_declaration_alone() -> None:
    checked = {key.asset_key.to_user_string() for key in defs.resolve_asset_graph().asset_check_keys}
    assert checked >= {table.name for table in declarations()}


@pytest.fixture
def made(tmp_path: Path, cluster, database, monkeypatch) -> dg.Definitions:
    """A made-up layer, its release, and the job over it."""
    monkeypatch.setenv("FLUX_POSTGRES_URL", cluster.url(database))
    monkeypatch.setenv("FLUX_RELEASE", str(tmp_path / "v7"))
    load_settings.cache_clear()
    write_trees(tmp_path / "v7", grove(90))
    checks = dg.AssetSelection.checks(*(spec.key for spec in check_specs(trees(), Names())))
    return dg.Definitions(
        assets=[layer_asset(trees(), Names())],
        jobs=[dg.define_asset_job("check_all_tables", checks)],
        resources={"postgis": PostgisResource(), "release": ReleaseResource()},
        executor=threads_executor,
    )


def test_it_judges_what_is_published_and_tells_what_it_found(made, tmp_path, sql) -> None:
    with instance_in(tmp_path / "dagster") as instance:
        assert run_assets(made, instance, "trees").succeeded
        sql("UPDATE trees SET height_m = 900 WHERE tree_id = 'T7'")
        run = run_job(made.resolve_job_def("check_all_tables"), instance)
        assert run.succeeded
        assert run.materialized() == {}
        # That others wrote the layer is told as soon as the server has counted it.
        told = {key: outcome for key, outcome in run.checks().items() if key[1] != "only_writer"}
        assert {key for key, outcome in told.items() if not outcome.passed} == {("trees", "accepted_range")}
        assert {name for _, name in run.checks()} == {spec.name for spec in check_specs(trees(), Names())}
        summary, *lines = run.lines("trees")
        assert summary.endswith(f" of {len(run.checks())} checks passed")
        assert "trees: accepted_range (WARN) failed: T7: height_m = 900" in lines


def test_a_load_reports_the_checks_of_what_it_published(made, tmp_path, sql) -> None:
    """The live table's, and of a version that an earlier release of flux_assets staged those that it did not know."""
    with instance_in(tmp_path / "dagster") as instance:
        every = {spec.name for spec in check_specs(trees(), Names())}
        assert {name for _, name in run_assets(made, instance, "trees").checks()} == every
        sql("""UPDATE postgres_sync.layer_versions SET audits = '[]'""")
        again = run_assets(made, instance, "trees")
        assert again.materialized()["trees"].metadata["outcome"].value == "unchanged"
        assert {name for _, name in again.checks()} == every


def test_a_load_that_failed_reports_that_it_did(made, tmp_path) -> None:
    with instance_in(tmp_path / "dagster") as instance:
        run_assets(made, instance, "trees")
        (tmp_path / "v7" / "trees.csv.gz").write_bytes(b"no gzip at all")
        for failures in (1, 2):
            run = run_assets(made, instance, "trees")
            assert not run.succeeded
            outcome = run.checks()["trees", "recent_failures"]
            assert outcome.metadata["failed"].value == failures
            assert "trees.csv.gz" in outcome.metadata["last_error"].value
        assert not outcome.passed


each_kind = pytest.mark.parametrize(
    ("name", "step", "keys", "cron"),
    [
        (
            "static_layers_match",
            "match_static_layers",
            match_keys(static_tables(), MATCHES_RELEASE, Names()),
            "17 3 * * 0",
        ),
        (
            "dynamic_tables_match",
            "match_dynamic_tables",
            match_keys(dynamic_tables(), MATCHES_SOURCE, Names()),
            "33 2 * * *",
        ),
    ],
)


@each_kind
def test_a_job_is_one_step_that_runs_the_check_of_every_table_and_nothing_else(name, step, keys, cron):
    job = defs.resolve_job_def(f"check_{name}")
    assert [node.name for node in job.nodes] == [step]
    assert job.asset_layer.asset_graph.asset_check_keys == set(keys)
    assert job.asset_layer.selected_asset_keys == set()


@each_kind
def test_a_schedule_starts_it_in_utc_once_it_is_switched_on(name, step, keys, cron):
    schedule = defs.resolve_schedule_def(f"{name}_schedule")
    assert (schedule.job_name, schedule.cron_schedule, schedule.execution_timezone) == (f"check_{name}", cron, "UTC")
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
