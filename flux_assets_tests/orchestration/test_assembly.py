"""Definitions that a project merges with its own: nothing collides, and each deployment has settings of its own."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

import flux_assets
from flux_assets import build_definitions
from flux_assets.definitions import defs
from flux_assets.errors import SettingError
from flux_assets.settings import load_settings
from flux_assets_tests.made_up import grove, write_trees
from flux_assets_tests.running import run_assets, run_job

TREES = "from flux_assets_tests.made_up import trees\n\nTABLE = trees()\n"


@dg.asset(group_name="static_layers")
def building_footprints(snowflake: dg.ResourceParam[str]) -> None:
    """An asset of the project itself, called like one of ours, with a resource called like one of ours."""


@dg.job
def load_static_layers() -> None:
    """A job of the project itself, called like one of ours."""


PROJECT = dg.Definitions(
    assets=[building_footprints],
    jobs=[load_static_layers],
    resources={"snowflake": "theirs"},
    executor=dg.in_process_executor,
)


def names(definitions: dg.Definitions) -> set[str]:
    """Of everything that has one in a code location, but for keys of assets."""
    whole = definitions.get_repository_def()
    graph = whole.asset_graph
    return {
        *(job.name for job in whole.get_all_jobs() if not job.name.startswith("__")),
        *(each.name for each in (*whole.schedule_defs, *whole.sensor_defs)),
        *(graph.get(key).group_name for key in graph.get_all_asset_keys()),
        *(op.name for job in whole.get_all_jobs() for op in job.all_node_defs),
        *(key for key in whole.get_top_level_resources() if key != "io_manager"),
    }


def test_without_arguments_they_are_those_of_the_environment():
    assert names(build_definitions()) == names(defs)
    assert build_definitions().executor.name == "threads"


def test_two_merge_with_a_project_and_every_name_begins_with_its_deployment():
    houston, austin = build_definitions(key_prefix="houston"), build_definitions(key_prefix="austin")
    merged = dg.Definitions.merge(PROJECT, houston, austin)
    dg.Definitions.validate_loadable(merged)
    plain = names(build_definitions())
    assert names(houston) == {f"houston_{name}" for name in plain}
    assert names(merged) == names(PROJECT) | {f"{place}_{name}" for place in ("houston", "austin") for name in plain}
    keys = merged.resolve_asset_graph().get_all_asset_keys()
    assert {key.path[0] for key in keys} == {"houston", "austin", "building_footprints"}
    for job in merged.get_repository_def().get_all_jobs():
        assert len({key.path[0] for key in job.asset_layer.executable_asset_keys}) <= 1 or job.name == "__ASSET_JOB"
    assert merged.resolve_job_def("houston_load_static_layers").executor_def.name == "threads"
    assert merged.resolve_job_def("__ASSET_JOB").executor_def.name == "in_process", "that of the project"


def test_what_is_chosen_is_had():
    chosen = build_definitions(
        key_prefix="houston",
        without=["vegetation_risk"],
        groups={"static_layers": "gis"},
        executor="multiprocess",
        schedule="7 * * * *",
        sensors=["release_sensor"],
    )
    whole = chosen.get_repository_def()
    keys = {key.path[-1] for key in whole.asset_graph.get_all_asset_keys()}
    assert "substations" in keys
    assert keys & {"vegetation_risk", "vegetation_risk_computed"} == set()
    assert whole.asset_graph.get(dg.AssetKey(["houston", "substations"])).group_name == "gis"
    assert whole.asset_graph.get(dg.AssetKey(["houston", "work_orders"])).group_name == "houston_dynamic_operations"
    assert chosen.resolve_job_def("houston_load_static_layers").executor_def.name == "multiprocess"
    assert chosen.resolve_assets_def(dg.AssetKey(["houston", "substations"])).op.pool == "flux_postgis:houston"
    assert chosen.resolve_schedule_def("houston_dynamic_sync_schedule").cron_schedule == "7 * * * *"
    # The other is Dagster's own, of assets with conditions that no sensor evaluates.
    assert {sensor.name for sensor in whole.sensor_defs} == {
        "houston_release_sensor",
        "default_automation_condition_sensor",
    }
    unscheduled = build_definitions(schedule=None).get_repository_def()
    assert "sync_all_dynamic" not in {schedule.job_name for schedule in unscheduled.schedule_defs}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"flux_releas": "x"}, "given flux_releas: there is no setting of that name"),
        ({"dagster_postgres_url": "x"}, "DAGSTER_POSTGRES_URL: all deployments of a process share this setting"),
        ({"sensors": ["release"]}, "given release: there is no sensor of that name.*release_sensor"),
        ({"groups": {"layers": "gis"}}, "given layers: there is no group of that name.*static_layers"),
        ({"key_prefix": "Houston"}, "FLUX_UTILITY = 'Houston': is not a plain lower-case name"),
        ({"key_prefix": "work_orders"}, "'work_orders' is the name of a table"),
        ({"executor": "dask"}, "FLUX_EXECUTOR = 'dask': must be 'threads'"),
        ({"without": ["gardens"]}, "gardens: flux_assets has no table"),
        ({"tables": ["./nowhere"]}, "nowhere is neither a folder nor the name of a module"),
    ],
)
def test_what_there_is_not_is_refused(given, said):
    with pytest.raises(SettingError, match=f"(?s){said}"):
        build_definitions(**given)


def test_a_setting_of_its_own_that_is_illegal_fails_the_steps_and_not_the_definitions(instance):
    made = dg.Definitions.merge(PROJECT, build_definitions(key_prefix="houston", flux_keep_versions="many"))
    run = run_assets(made, instance, "houston/substations")
    assert "FLUX_KEEP_VERSIONS = 'many': must be a whole number" in run.failure("houston_substations")


@pytest.fixture
def two(tmp_path: Path, cluster, database, admin_sql, monkeypatch) -> dg.Definitions:
    """Two deployments in one code location: one database, a schema and a release each, published whole."""
    tables = tmp_path / "tables"
    tables.mkdir()
    (tables / "trees.py").write_text(TREES)
    (tables / "hedges.py").write_text(TREES.replace("trees()", "trees('hedges')"))
    monkeypatch.setenv("FLUX_POSTGRES_URL", cluster.url(database))
    load_settings.cache_clear()
    made = []
    for name, rows in (("houston", 90), ("austin", 40)):
        admin_sql(f"CREATE SCHEMA {name}")
        admin_sql(f"GRANT ALL ON SCHEMA {name} TO flux")
        for table in ("trees", "hedges"):
            write_trees(tmp_path / name, grove(rows), table)
        chosen = {"flux_release": tmp_path / name, "flux_whole_release": "on"}
        made.append(
            build_definitions(tables=[str(tables)], without=["all"], key_prefix=name, postgres_schema=name, **chosen)
        )
    return dg.Definitions.merge(PROJECT, *made)


def counted(sql) -> dict[str, int]:
    tables = [f"{schema}.{table}" for schema in ("houston", "austin") for table in ("trees", "hedges")]
    return {table: rows for table in tables if sql("SELECT to_regclass(%s) IS NOT NULL", table) == [(True,)]
            for ((rows,),) in [sql(f"SELECT count(*) FROM {table}")]}  # fmt: skip


def test_a_job_loads_its_own_deployment_and_no_other(two, instance, sql):
    job = two.resolve_job_def("houston_load_static_layers")
    run = run_job(job, instance)
    assert run.succeeded, run.lines()
    assert counted(sql) == {"houston.trees": 90, "houston.hedges": 90}
    assert job.run_tags["flux/utility"] == "houston"


def test_one_run_may_have_assets_of_both_each_with_its_own_settings(two, instance, sql):
    everything = [f"{place}/{table}" for place in ("austin", "houston") for table in ("trees", "hedges")]
    run = run_assets(two, instance, *everything)
    assert run.succeeded, run.lines()
    assert counted(sql) == {"houston.trees": 90, "houston.hedges": 90, "austin.trees": 40, "austin.hedges": 40}
    assert run.materialized().keys() == set(everything)


def test_a_release_sensor_asks_for_what_its_own_release_has(two, tmp_path, instance):
    (tmp_path / "austin" / "hedges.csv.gz").unlink()
    asked, cursors = {}, {}
    for name in ("houston", "austin") * 2:  # what is new is asked for when it is still the same at the second look
        context = dg.build_sensor_context(instance=instance, definitions=two, cursor=cursors.get(name))
        found = two.resolve_sensor_def(f"{name}_release_sensor").evaluate_tick(context)
        cursors[name] = found.cursor
        for request in found.run_requests:
            asked[name] = {key.to_user_string() for key in request.asset_selection}
    assert asked == {"houston": {"houston/trees", "houston/hedges"}, "austin": {"austin/trees"}}


def test_the_package_has_both_names_and_imports_neither_before_it_is_asked():
    assert {"FluxAssetsComponent", "build_definitions"} <= set(dir(flux_assets))
    with pytest.raises(AttributeError, match="has no attribute 'build'"):
        _ = flux_assets.build
