"""The names of a deployment, and which of an instance's runs it calls its own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster import DagsterRunStatus as Status
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, ScheduleInstigatorData
from dagster._core.test_utils import create_run_for_test

from flux_assets.alerting.incident import Policy
from flux_assets.alerting.watching import Watch
from flux_assets.errors import SettingError
from flux_assets.orchestration.alerts import events
from flux_assets.orchestration.automation import jobs, release_sensor, schedules, sensors
from flux_assets.orchestration.commands import report_pins
from flux_assets.orchestration.layer_assets import layer_asset
from flux_assets.orchestration.match_checks import release_match, source_match
from flux_assets.orchestration.names import Names
from flux_assets.orchestration.origins import release_sources, snowflake_sources
from flux_assets.orchestration.pruning import _outdated_runs
from flux_assets.orchestration.resources import PostgisResource, ReleaseResource, WarehouseResource
from flux_assets.orchestration.sync_assets import dynamic_assets
from flux_assets.orchestration.view_assets import view_asset
from flux_assets.settings import DefinitionSettings, Settings
from flux_assets.tables import declarations, dynamic_tables, layers, static_tables, views
from flux_assets.tables.substations import TABLE as SUBSTATIONS
from flux_assets_tests.synced import FAULTS

HERE, THERE, ALONE = Names("austin"), Names("houston"), Names()
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
WATCH = Watch(schema="public", tables=[FAULTS], policy=Policy(), clean=str)


def definitions(names: Names) -> dg.Definitions:
    """All that definitions.py has, of a deployment of this name."""
    files = [table for table in layers() if table.file != "none"]
    defined = jobs(names)
    return dg.Definitions(
        assets=[
            *(layer_asset(table, names, files) for table in layers()),
            *(view_asset(view, names) for view in views()),
            release_sources(files, names), dynamic_assets(dynamic_tables(), names),
            *snowflake_sources(dynamic_tables(), names),
        ],
        asset_checks=[release_match(static_tables(), names), source_match(dynamic_tables(), names)],
        jobs=defined, schedules=schedules(defined, names),
        sensors=[release_sensor(files, names), *sensors(defined, names)],
        resources={"postgis": PostgisResource(), "release": ReleaseResource(), "snowflake": WarehouseResource()},
    )  # fmt: skip


def run(
    instance: dg.DagsterInstance, *keys: dg.AssetKey, checks: tuple[dg.AssetCheckKey, ...] = (), **given: object
) -> str:
    """A run for some assets, without a tag unless one is given."""
    chosen = {"asset_selection": frozenset(keys) or None, "asset_check_selection": frozenset(checks) or None}
    return create_run_for_test(instance, **{"job_name": "__ASSET_JOB", **chosen, **given}).run_id


def own(instance: dg.DagsterInstance, names: Names) -> set[str]:
    return {record.dagster_run.run_id for record in names.runs(instance)}


def tick(instance: dg.DagsterInstance, names: Names) -> dg.RunRequest | dg.SkipReason:
    (schedule,) = [each for each in schedules(jobs(names), names) if each.name == "dynamic_sync_schedule"]
    return schedule(dg.build_schedule_context(instance=instance, scheduled_execution_time=NOON))


@pytest.mark.parametrize("names", [HERE, ALONE], ids=["prefix", "none"])
def test_every_key_begins_with_the_utility_and_leads_back_to_the_table(names):
    graph = definitions(names).get_repository_def().asset_graph
    prefix = [names.utility] if names.utility else []
    keys = graph.get_all_asset_keys()
    assert {tuple(key.path[: len(prefix)]) for key in keys} == {tuple(prefix)}
    tables = {name for key in keys if (name := names.table(key))}
    assert tables == {each.name for each in (*declarations(), *views())}
    assert {key.path[len(prefix)] for key in keys if not names.table(key)} == {"release", "snowflake"}
    assert {names.table(key.asset_key) for key in graph.asset_check_keys} == tables
    assert not graph.get(names.key("power_lines_spatial")).parent_keys - keys
    others = ALONE if names.utility else HERE
    assert not any(map(others.table, keys)), "of another deployment"


def test_a_job_has_the_tags_of_its_utility_and_without_one_none():
    for job in ("load_static_layers", "sync_all_dynamic", "prune_history", "check_all_tables", "setup_dynamic_tables"):
        assert definitions(HERE).resolve_job_def(job).run_tags["flux/utility"] == "austin"
        assert "flux/utility" not in definitions(ALONE).resolve_job_def(job).run_tags
    for names, value in ((HERE, "sync:austin"), (ALONE, "sync")):
        job = definitions(names).resolve_job_def("sync_all_dynamic")
        assert job.run_tags["flux/exclusive"] == value
        assert {names.table(key) for key in job.asset_layer.executable_asset_keys} == {
            table.name for table in dynamic_tables()
        }


def test_a_run_belongs_to_whose_tag_it_has_else_to_whose_assets_it_is_for(instance):
    here = {
        run(instance, tags=dict(HERE.tags), job_name="sync_all_dynamic"),
        run(instance, HERE.key("work_orders")),
        run(instance, HERE.key("release", "substations")),
        run(instance, checks=(HERE.check("work_orders", "lag"),)),
    }
    there = {run(instance, tags=dict(THERE.tags)), run(instance, THERE.key("work_orders"))}
    alone = {
        run(instance, job_name="sync_all_dynamic"),
        run(instance, ALONE.key("work_orders")),
        run(instance, ALONE.key("snowflake", "work_orders")),
    }
    assert (own(instance, HERE), own(instance, THERE), own(instance, ALONE)) == (here, there, alone)


def test_a_sync_of_another_is_no_reason_to_skip_a_tick(instance):
    under_way = {"job_name": "sync_all_dynamic", "status": Status.STARTED}
    run(instance, tags=dict(THERE.tags), **under_way)
    assert isinstance(tick(instance, HERE), dg.RunRequest)
    assert isinstance(tick(instance, ALONE), dg.RunRequest)
    mine = run(instance, tags=dict(HERE.tags), **under_way)
    answer = tick(instance, HERE)
    assert isinstance(answer, dg.SkipReason)
    assert mine in answer.skip_message


def test_failures_of_another_are_nobodys_alert_but_its_own(instance):
    failed = run(instance, HERE.key("faults"), status=Status.FAILURE)
    run(instance, job_name="nightly", tags=dict(HERE.tags), status=Status.FAILURE)

    def causes(names: Names) -> dict[str, tuple[str, ...]]:
        found = events.observed((instance, []), names, lambda _: (), {}, WATCH, datetime.now(UTC))
        return {each.cause: each.tables for each in found if each.kind == "run"}

    assert causes(HERE) == {"faults": ("faults",), "nightly": ()}, failed
    assert causes(THERE) == causes(ALONE) == {}
    run(instance, THERE.key("faults"), status=Status.SUCCESS)
    assert "faults" in causes(HERE), "another's success makes nothing good"


def test_pruning_counts_and_removes_its_own_runs_alone(instance):
    keep = Settings(_env_file=None, flux_keep_runs=1, flux_keep_runs_for="0")
    oldest, *_ = [run(instance, job_name="sync", tags=dict(HERE.tags), status=Status.SUCCESS) for _ in range(2)]
    for _ in range(3):
        run(instance, job_name="sync", tags=dict(THERE.tags), status=Status.SUCCESS)
    later = datetime.now(UTC) + timedelta(days=1)
    assert _outdated_runs(HERE.runs(instance), keep, set(), later) == [oldest]
    assert len(_outdated_runs(THERE.runs(instance), keep, set(), later)) == 2
    assert _outdated_runs(ALONE.runs(instance), keep, set(), later) == []


def test_the_schedule_of_the_code_location_called_like_the_utility_is_its_own(instance):
    for location, status in (("austin", InstigatorStatus.STOPPED), ("houston", InstigatorStatus.RUNNING)):
        origin = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(location), "__repository__")
        place = RemoteInstigatorOrigin(origin, "dynamic_sync_schedule")
        data = ScheduleInstigatorData("*/5 * * * *", datetime.now(UTC).timestamp())
        instance.add_instigator_state(InstigatorState(place, InstigatorType.SCHEDULE, status, data))
    assert HERE.schedule_states(instance) == {"austin": "STOPPED"}
    assert Names("waco").schedule_states(instance) == {"austin": "STOPPED", "houston": "RUNNING"}
    lodging = RemoteInstigatorOrigin(
        RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("all"), "__repository__"), "dallas_dynamic_sync_schedule"
    )
    data = ScheduleInstigatorData("*/5 * * * *", datetime.now(UTC).timestamp())
    instance.add_instigator_state(InstigatorState(lodging, InstigatorType.SCHEDULE, InstigatorStatus.RUNNING, data))
    assert Names("dallas", is_lodger=True).schedule_states(instance) == {"all": "RUNNING"}
    assert Names("dallas").schedule_states(instance)["all"] == "RUNNING"
    now = datetime.now(UTC)
    long_ago = {"faults": now - timedelta(days=1)}

    def kinds(names: Names) -> dict[str, str]:
        return {
            each.kind: each.remedy
            for each in events.observed((instance, []), names, lambda _: (), long_ago, WATCH, now)
        }

    assert "start -w workspace.yaml -l austin dynamic_sync_schedule" in kinds(HERE)["schedule"]
    assert "schedule" not in kinds(THERE)


@pytest.mark.parametrize("name", ["release", "snowflake", "Austin", "7th", "two words", "a/b", "x" * 31])
def test_a_name_that_is_none_is_refused(monkeypatch, name):
    monkeypatch.setenv("FLUX_UTILITY", name)
    with pytest.raises(SettingError, match=rf"FLUX_UTILITY = '{name}': .*such as houston"):
        DefinitionSettings.load()


@pytest.mark.parametrize("name", ["work_orders", "grid_assets"])
def test_the_name_of_a_table_is_refused(monkeypatch, name):
    monkeypatch.setenv("FLUX_UTILITY", name)
    with pytest.raises(SettingError, match="is the name of a table"):
        Names.configured()


def test_what_commands_report_is_of_the_utility(monkeypatch, tmp_path):
    monkeypatch.setenv("FLUX_UTILITY", "austin")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    report_pins([(SUBSTATIONS, None)])
    with dg.DagsterInstance.from_config(str(tmp_path)) as told:
        assert len(told.fetch_observations(HERE.key("substations"), limit=9).records) == 1
        assert told.all_asset_keys() == [HERE.key("substations")]


def test_definitions_need_no_setting_but_theirs(monkeypatch):
    monkeypatch.setenv("FLUX_KEEP_VERSIONS", "many")
    monkeypatch.setenv("FLUX_UTILITY", "austin")
    assert Names.configured() == HERE
