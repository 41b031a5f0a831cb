"""Whole-table comparisons as checks: alone, in one step, for the tables asked for, and never with a materialisation."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
from dagster import DagsterEventType as Event

from flux_assets.compare.match import MATCHES_RELEASE, MATCHES_SOURCE
from flux_assets.definitions import defs as ours
from flux_assets.orchestration.checks import JUDGED_AT
from flux_assets.orchestration.executor import threads_executor
from flux_assets.orchestration.layer_assets import layer_asset
from flux_assets.orchestration.match_checks import match_keys, release_match, source_match
from flux_assets.orchestration.names import Names
from flux_assets.orchestration.resources import PostgisResource, ReleaseResource, WarehouseResource
from flux_assets.orchestration.sync_assets import dynamic_assets
from flux_assets.settings import load_settings
from flux_assets.spec import StaticTable
from flux_assets.tables import dynamic_tables, static_tables
from flux_assets_tests.conftest import Sql
from flux_assets_tests.made_up import grove, trees, write_trees
from flux_assets_tests.running import Run, run_assets, run_job
from flux_assets_tests.synced import FAULTS, FEEDERS, Utility

RELEASE_STEP, SOURCE_STEP = "match_static_layers", "match_dynamic_tables"
OAKS, ELMS = trees("oaks"), trees("elms")


@pytest.fixture
def release(tmp_path, cluster, database, monkeypatch) -> Path:
    """The folder of a release of two layers, and settings that lead there and into the test's own database."""
    folder = tmp_path / "v7"
    folder.mkdir()
    monkeypatch.setenv("FLUX_POSTGRES_URL", cluster.url(database))
    monkeypatch.setenv("FLUX_RELEASE", str(folder))
    load_settings.cache_clear()
    for table in (OAKS, ELMS):
        write_trees(folder, grove(30), table.name)
    return folder


@pytest.fixture
def running(reached: Utility) -> Utility:
    """One fault on one feeder, and settings that lead to both ends."""
    reached.tell(
        "INSERT INTO FEEDERS SELECT 'A', 'Feeder A', 100;"
        "INSERT INTO FAULTS SELECT 'F1', 'A', 'OPEN', SYSDATE(), 5, -95.1, 29.1"
    )
    return reached


def of_layers(*tables: StaticTable) -> dg.Definitions:
    return dg.Definitions(
        assets=[layer_asset(table, Names()) for table in tables],
        asset_checks=[release_match(tables, Names())],
        resources={"postgis": PostgisResource(), "release": ReleaseResource()},
        executor=threads_executor,
    )


def of_utility() -> dg.Definitions:
    tables = (FAULTS, FEEDERS)
    return dg.Definitions(
        assets=[dynamic_assets(tables, Names())],
        asset_checks=[source_match(tables, Names())],
        resources={"postgis": PostgisResource(), "snowflake": WarehouseResource()},
        executor=threads_executor,
    )


def alone(defs: dg.Definitions, instance: dg.DagsterInstance, name: str, *tables: str, **config: object) -> Run:
    step = RELEASE_STEP if name == MATCHES_RELEASE else SOURCE_STEP
    run_config = {"ops": {step: {"config": config}}} if config else None
    return run_assets(defs, instance, checks=[(table, name) for table in tables], run_config=run_config)


def outcomes(run: Run) -> dict[str, bool]:
    return {asset: outcome.passed for (asset, _), outcome in run.checks().items()}


def test_layers_are_compared_in_one_step_and_nothing_is_materialised(instance, release, sql: Sql):
    defs = of_layers(OAKS, ELMS)
    assert run_assets(defs, instance, "oaks", "elms").succeeded
    sql("UPDATE elms SET height_m = 99 WHERE tree_id = 'T3'")
    run = alone(defs, instance, MATCHES_RELEASE, "oaks", "elms")
    assert run.succeeded
    assert run.steps(Event.STEP_SUCCESS) == [RELEASE_STEP]
    assert run.materialized() == {}
    assert outcomes(run) == {"oaks": True, "elms": False}
    found = run.checks()["elms", MATCHES_RELEASE]
    assert found.severity == dg.AssetCheckSeverity.ERROR
    assert found.metadata["changed"].value == 1
    assert "changed T3: height_m is '99', not '8'" in found.metadata["sample"].value
    assert "tree_id" in found.metadata["sql"].value
    assert "somebody changed the table" in found.description
    told = run.lines(RELEASE_STEP)
    assert "oaks: 1 of 1 checks passed" in told
    assert any(line.startswith("elms: matches_release (ERROR) failed: changed T3: height_m is") for line in told)


@pytest.mark.parametrize("keys", [("oaks",), ("oaks", "elms")])
def test_a_materialisation_never_compares(instance, release, keys):
    """Dagster selects all checks of an asset with it, on the command line as in the UI."""
    defs = of_layers(OAKS, ELMS)
    run = run_assets(defs, instance, *keys)
    assert run.succeeded
    assert set(run.materialized()) == set(keys)
    assert not [name for _, name in run.checks() if name == MATCHES_RELEASE]
    assert any("A run that materialises a table does not compare it" in line for line in run.lines(RELEASE_STEP))
    assert not [line for line in run.lines() if "did not yield" in line]


def test_a_load_that_fails_leaves_what_a_comparison_said(instance, release, sql: Sql):
    """Dagster plans it with the load, and shows what was planned and not done as failed."""
    defs = of_layers(OAKS, ELMS)
    run_assets(defs, instance, "oaks", "elms")
    sql("UPDATE elms SET height_m = height_m + 1")
    alone(defs, instance, MATCHES_RELEASE, "oaks", "elms")
    for name in ("oaks", "elms"):
        write_trees(release, grove(3), name).write_bytes(b"no gzip at all")
    failed = run_assets(defs, instance, "oaks", "elms")
    assert not failed.succeeded
    keys = match_keys((OAKS, ELMS), MATCHES_RELEASE, Names())
    found = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    assert [(found[key].run_id, found[key].evaluation.passed) for key in keys] == [
        (failed.run_id, True), (failed.run_id, False),
    ]  # fmt: skip
    assert JUDGED_AT in found[keys[0]].evaluation.metadata


def test_a_comparison_that_was_never_made_is_no_failure_after_a_load_that_failed(instance, release):
    write_trees(release, grove(3), "oaks").write_bytes(b"no gzip at all")
    failed = run_assets(of_layers(OAKS, ELMS), instance, "oaks")
    assert not failed.succeeded
    said = failed.checks()["oaks", MATCHES_RELEASE]
    assert (said.passed, said.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "No comparison has been made yet" in said.description


def test_a_sync_that_fails_leaves_what_a_comparison_said(instance, running):
    defs = of_utility()
    run_assets(defs, instance, "faults", "feeders")
    alone(defs, instance, MATCHES_SOURCE, "faults", "feeders")
    running.tell("INSERT INTO FAULTS SELECT 'F1', 'A', 'OPEN', SYSDATE(), 5, -95.1, 29.1")
    failed = run_assets(defs, instance, "faults")
    assert not failed.succeeded
    assert failed.checks()["faults", MATCHES_SOURCE].passed


def test_a_materialisation_and_the_check_of_another_table_go_together(instance, release):
    defs = of_layers(OAKS, ELMS)
    run_assets(defs, instance, "oaks", "elms")
    run = run_assets(defs, instance, "oaks", checks=[("oaks", MATCHES_RELEASE), ("elms", MATCHES_RELEASE)])
    assert run.succeeded
    assert outcomes(run) == {"elms": True}


def test_the_configuration_names_the_tables(instance, release):
    defs = of_layers(OAKS, ELMS)
    run_assets(defs, instance, "oaks", "elms")
    assert outcomes(alone(defs, instance, MATCHES_RELEASE, "oaks", "elms", tables=["elms"])) == {"elms": True}
    wrong = alone(defs, instance, MATCHES_RELEASE, "oaks", "elms", tables=["firs"])
    assert "No such table: firs. There are oaks, elms." in wrong.failure(RELEASE_STEP)


def test_a_table_that_cannot_be_compared_fails_the_step_after_the_others(instance, release):
    defs = of_layers(OAKS, ELMS)
    run_assets(defs, instance, "elms")
    run = alone(defs, instance, MATCHES_RELEASE, "oaks", "elms")
    assert not run.succeeded
    assert outcomes(run) == {"elms": True}
    assert "oaks has not been published yet" in run.failure(RELEASE_STEP)
    assert "Stack Trace" not in run.failure(RELEASE_STEP)


def test_every_table_that_cannot_be_compared_is_named(instance, release):
    told = alone(of_layers(OAKS, ELMS), instance, MATCHES_RELEASE, "oaks", "elms").failure(RELEASE_STEP)
    assert "oaks has not been published yet" in told
    assert "elms has not been published yet" in told


def test_dynamic_tables_are_compared_in_one_step_without_a_sync(instance, running, sql: Sql):
    defs = of_utility()
    synced = run_assets(defs, instance, "faults", "feeders")
    assert synced.succeeded
    assert not [name for _, name in synced.checks() if name == MATCHES_SOURCE]
    sql("UPDATE feeders SET faults = 3")
    run = alone(defs, instance, MATCHES_SOURCE, "faults", "feeders")
    assert run.succeeded
    assert run.steps(Event.STEP_SUCCESS) == [SOURCE_STEP]
    assert run.materialized() == {}
    assert outcomes(run) == {"faults": True, "feeders": False}
    found = run.checks()["feeders", MATCHES_SOURCE]
    assert found.severity == dg.AssetCheckSeverity.ERROR
    assert "changed A: faults is '3', not '1'" in found.metadata["sample"].value
    assert sql("SELECT faults FROM feeders") == [(3,)], "a check fixes nothing"


def test_later_changes_of_the_source_are_a_warning(instance, running):
    defs = of_utility()
    run_assets(defs, instance, "faults", "feeders")
    running.tell("DELETE FROM FAULTS")
    found = alone(defs, instance, MATCHES_SOURCE, "faults").checks()["faults", MATCHES_SOURCE]
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert found.metadata["since_the_last_sync"].value == "the source's rows changed"


def test_a_source_that_cannot_be_reached_fails_the_step(instance, running, monkeypatch):
    monkeypatch.delenv("SNOWFLAKE_PASSWORD")
    load_settings.cache_clear()
    run = alone(of_utility(), instance, MATCHES_SOURCE, "faults")
    assert "SNOWFLAKE_PASSWORD" in run.failure(SOURCE_STEP)


def test_every_table_has_its_check_and_its_description_says_how_to_run_it():
    graph = ours.resolve_asset_graph()
    for tables, name, job in (
        (static_tables(), MATCHES_RELEASE, "check_static_layers_match"),
        (dynamic_tables(), MATCHES_SOURCE, "check_dynamic_tables_match"),
    ):
        for key in match_keys(tables, name, Names()):
            assert f"dagster job execute -m flux_assets.definitions -j {job}" in graph.get(key).description


def test_the_jobs_that_load_and_sync_do_not_select_them():
    costly = {
        *match_keys(static_tables(), MATCHES_RELEASE, Names()),
        *match_keys(dynamic_tables(), MATCHES_SOURCE, Names()),
    }
    for job in ("load_static_layers", "sync_all_dynamic", "check_all_tables"):
        assert not costly & ours.resolve_job_def(job).asset_layer.asset_graph.asset_check_keys, job


def test_a_job_of_a_made_up_layer_runs_the_check_alone(instance, release):
    defs = dg.Definitions.merge(
        of_layers(OAKS),
        dg.Definitions(
            jobs=[dg.define_asset_job("match", dg.AssetSelection.checks(*match_keys([OAKS], MATCHES_RELEASE, Names())))]
        ),
    )
    run_assets(defs, instance, "oaks")
    run = run_job(defs.resolve_job_def("match"), instance)
    assert run.steps(Event.STEP_SUCCESS) == [RELEASE_STEP]
    assert outcomes(run) == {"oaks": True}
