"""The assembled definitions: complete, quick to import, and loadable without any database."""

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from flux_assets.checks.live_audits import all_audits_of
from flux_assets.checks.sync_audits import sync_audits
from flux_assets.definitions import defs
from flux_assets.orchestration.names import Names
from flux_assets.orchestration.origins import snowflake_sources
from flux_assets.settings import load_settings
from flux_assets.spec import DynamicTable, StaticTable, type_ddl
from flux_assets.tables import catalogue, dynamic_tables, layers, static_tables, views
from flux_assets.tables.work_orders import TABLE as WORK_ORDERS

pytestmark = pytest.mark.bare

SLOW = (
    "adlfs", "celery", "dagster_postgres", "dagster_snowflake", "fakesnow", "fsspec", "geopandas", "jinja2.environment",
    "kubernetes", "matplotlib", "pandas", "pgpq", "pyarrow", "snowflake.connector",
)  # fmt: skip
each_layer = pytest.mark.parametrize("table", static_tables(), ids=lambda table: table.name)
each_dynamic = pytest.mark.parametrize("table", dynamic_tables(), ids=lambda table: table.name)
graph = defs.resolve_asset_graph()


def python(code: str, **environment: str) -> str:
    """What another Python prints, with nothing set but what is given."""
    kept = {name: os.environ[name] for name in ("PATH", "FLUX_ENV_FILE") if name in os.environ}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env={**kept, **environment}, check=True, capture_output=True, text=True).stdout


def test_nothing_slow_is_imported():
    """`import dagster_snowflake` takes ten seconds; each of the others more than all of ours together."""
    code = f"import json, sys, flux_assets.definitions; print(json.dumps([m for m in {SLOW} if m in sys.modules]))"
    assert json.loads(python(code)) == []


def test_definitions_load_without_any_database():
    code = (
        "import dagster as dg; from flux_assets.definitions import defs; dg.Definitions.validate_loadable(defs);"
        "print(len(defs.resolve_asset_graph().get_all_asset_keys()))"
    )
    printed = python(code, FLUX_PROFILE="production", FLUX_POSTGRES_URL="postgresql://nobody@nowhere.invalid/none")
    assert int(printed) >= 2 * len(static_tables())


def test_loading_them_says_nothing():
    """A warning would greet the user in front of every command."""
    result = subprocess.run(
        [sys.executable, "-W", "default", "-c", "import dagster, warnings; warnings.resetwarnings();"
         "warnings.simplefilter('error', dagster.BetaWarning); import flux_assets.definitions"],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr


def test_every_layer_has_its_file_upstream():
    layers = {key for key in graph.get_all_asset_keys() if graph.get(key).group_name == "static_layers"}
    assert layers == {dg.AssetKey(table.name) for table in static_tables()}
    for key in layers:
        assert graph.get(key).parent_keys == {dg.AssetKey(["release", *key.path])}


DERIVED = {
    "power_lines_spatial", "power_lines_lod_overview", "power_lines_lod_mid", "buildings_spatial", "grid_assets",
    "vegetation_risk_computed", "circuit_service_areas", "circuit_metadata",
}  # fmt: skip


def test_what_is_derived_is_downstream_of_its_layers():
    derived = {key for key in graph.get_all_asset_keys() if graph.get(key).group_name == "derived_layers"}
    assert derived == {dg.AssetKey(each.name) for each in (*catalogue().computed, *views())}
    assert derived >= set(map(dg.AssetKey, DERIVED))
    assert graph.get(dg.AssetKey("circuit_metadata")).parent_keys == {dg.AssetKey("circuit_service_areas")}
    assert graph.get(dg.AssetKey("power_lines_spatial")).parent_keys == {
        dg.AssetKey("grid_power_lines"), dg.AssetKey(["release", "power_lines_spatial"]),
    }  # fmt: skip


def test_the_job_selects_the_groups():
    job = defs.resolve_job_def("load_static_layers")
    names = [each.name for each in (*layers(), *views())]
    assert job.asset_layer.executable_asset_keys == set(map(dg.AssetKey, names))
    assert set(names) >= {table.name for table in static_tables()} | DERIVED


@pytest.mark.parametrize("job", ["load_static_layers", "__ASSET_JOB"])
def test_steps_run_on_threads_also_without_a_job(job):
    assert defs.resolve_job_def(job).executor_def.name == "threads"


def test_the_files_are_observable():
    for table in static_tables():
        node = graph.get(dg.AssetKey(["release", table.name]))
        assert (node.group_name, node.is_observable, node.is_materializable) == ("release", True, False)


@each_layer
def test_the_asset_says_what_the_declaration_says(table: StaticTable):
    node = graph.get(dg.AssetKey(table.name))
    assert node.description == table.description
    assert node.owners == [table.owner]
    assert node.code_version == table.digest[:12]
    assert "postgres" in node.kinds
    columns = node.metadata["dagster/column_schema"].columns
    assert [column.name for column in columns] == list(table.column_names)
    for shown, column in zip(columns, table.columns, strict=True):
        assert (shown.type, shown.description) == (type_ddl(column), column.comment)
        assert shown.constraints.nullable == column.nullable
        assert ("primary key" in shown.constraints.other) == column.primary_key


@each_layer
def test_every_audit_is_declared_as_a_check(table: StaticTable):
    checks = {key.name: graph.get(key) for key in graph.get(dg.AssetKey(table.name)).check_keys}
    assert checks.keys() == {audit.name for audit in all_audits_of(table)} | {"matches_release"}
    assert all(check.description for check in checks.values())


@each_layer
def test_larger_layers_go_first(table: StaticTable):
    """One after another in a queue, the largest last would leave one core idle at the end; but what lies behind the
    pictures of all is there before them."""
    priority = int(defs.resolve_assets_def(table.name).op.tags["dagster/priority"])
    assert priority % 10**9 == table.release_rows
    assert (priority >= 10**9) == (table.name in {"osm_water", "grid_power_lines"})


@each_layer
def test_options_are_documented_and_off(table: StaticTable):
    fields = defs.resolve_assets_def(table.name).op.config_schema.config_type.fields
    asked = {"force", "accept_fewer_rows", "accept_schema_change", "take_over", "drop_foreign_keys", "quarantine"}
    assert set(fields) == asked
    assert all(field.description for field in fields.values())
    assert not any(field.default_value for name, field in fields.items() if field.default_provided)


@each_dynamic
def test_a_dynamic_asset_says_what_the_declaration_says(table: DynamicTable):
    node = graph.get(dg.AssetKey(table.name))
    assert (node.group_name, node.description, node.owners) == ("dynamic_operations", table.description, [table.owner])
    assert node.kinds >= {"postgres", "snowflake"}
    assert [column.name for column in node.metadata["dagster/column_schema"].columns] == list(table.column_names)
    policy = node.freshness_policy
    assert (policy.warn_window.to_timedelta(), policy.fail_window.to_timedelta()) == (
        table.freshness.warn, table.freshness.fail,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "upstream"),
    [
        ("outage_restoration_tracker", {"snowflake/outage_restoration_tracker"}),
        ("work_orders", {"snowflake/work_orders"}),
        (
            "circuit_status_realtime",
            {
                "snowflake/circuit_metadata", "grid_assets_cache", "meter_locations_enhanced",
                "outage_restoration_tracker", "substations",
            },
        ),
    ],
)  # fmt: skip
def test_what_is_promised_of_the_dynamic_tables(name: str, upstream: set[str]):
    """In figures and names, as people rely on them, whatever the declarations say."""
    node = graph.get(dg.AssetKey(name))
    assert {key.to_user_string() for key in node.parent_keys} == upstream
    assert node.freshness_policy == dg.FreshnessPolicy.time_window(
        warn_window=timedelta(minutes=11), fail_window=timedelta(minutes=16)
    )


@each_dynamic
def test_a_dynamic_asset_is_downstream_of_its_source_and_of_what_it_is_computed_from(table: DynamicTable):
    source = dg.AssetKey(["snowflake", table.source.lower()])
    assert graph.get(dg.AssetKey(table.name)).parent_keys == {source, *map(dg.AssetKey, table.origins)}
    node = graph.get(source)
    assert (node.group_name, node.is_external) == ("snowflake", True)
    columns = {column.name: column for column in node.metadata["dagster/column_schema"].columns}
    assert columns.keys() == {column.names[0] for column in table.source_columns}
    for column in table.source_columns:
        shown = columns[column.names[0]]
        assert all(name in shown.description for name in (column.target, *column.names[1:]))
        assert ("required" in shown.constraints.other) == column.required


@each_dynamic
def test_every_audit_of_a_dynamic_table_is_declared_as_a_check(table: DynamicTable):
    checks = {key.name: graph.get(key) for key in graph.get(dg.AssetKey(table.name)).check_keys}
    assert checks.keys() == {audit.name for audit in sync_audits(table)} | {"matches_source"}
    assert checks.keys() >= {"columns", "row_count", "not_null", "unique"}
    assert ("relationships" in checks) == bool(table.references)
    assert all(check.description for check in checks.values())


def test_the_dynamic_tables_are_one_step():
    assert {defs.resolve_assets_def(table.name).op.name for table in dynamic_tables()} == {"sync_dynamic_tables"}


@pytest.mark.parametrize("key", sorted(graph.get_all_asset_keys()), ids=lambda key: key.to_user_string())
def test_every_asset_says_what_it_is_whose_it_is_and_where_to_look(key: dg.AssetKey):
    node = graph.get(key)
    assert node.description
    assert node.description.endswith(".")
    assert node.owners
    assert node.kinds
    assert node.group_name != "default"
    if "view" not in node.kinds:  # whose columns are known when it is made
        columns = node.metadata["dagster/column_schema"].columns
        assert columns
        assert all(column.description and column.type for column in columns)
    assert key.path[-1] in node.metadata["sql"].value.lower()
    references = node.metadata["dagster/code_references"].code_references
    assert [reference.label.split("/")[0] for reference in references] == ["the declaration", "docs"]
    assert all(Path(reference.file_path).is_file() for reference in references)


@pytest.mark.parametrize("key", sorted(graph.get_all_asset_keys()), ids=lambda key: key.to_user_string())
def test_the_sql_of_an_asset_is_shown_in_place(key: dg.AssetKey):
    """Dagster puts Markdown from 1,000 characters on behind a click."""
    assert len(graph.get(key).metadata["sql"].value) < 1000


ACCOUNT = {"SNOWFLAKE_ACCOUNT": "xy12345", "SNOWFLAKE_USER": "SYNC", "SNOWFLAKE_PASSWORD": "hush-hush"}


@pytest.mark.parametrize(
    ("given", "said", "account"),
    [
        ({}, "It is read from FLUX_DB.PRODUCTION.WORK_ORDERS of the stand-in, which is simulated.", "stand-in"),
        ({**ACCOUNT, "SNOWFLAKE_DATABASE": "GRID"},
         "It is read from GRID.PRODUCTION.WORK_ORDERS of the Snowflake account xy12345.", "xy12345"),
        ({**ACCOUNT, "FLUX_CONFIG": "flux.toml"},
         "It is read from FLUX_DB.OPS.ORDERS of the Snowflake account xy12345.", "xy12345"),
        ({"FLUX_PROFILE": "production"},
         "It is FLUX_DB.PRODUCTION.WORK_ORDERS, of no account yet: set SNOWFLAKE_ACCOUNT.", None),
        ({"SNOWFLAKE_PORT": "many"},
         "Its origin is unknown: a setting is illegal. `flux-assets doctor` names it.", None),
    ],
    ids=["stand-in", "account", "configured object", "nothing", "wrong"],
)  # fmt: skip
def test_a_source_says_which_object_of_which_account_it_is(given, said, account, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flux.toml").write_text('[WORK_ORDERS]\nobject = "OPS.ORDERS"\n')
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    load_settings.cache_clear()
    (spec,) = snowflake_sources([WORK_ORDERS], Names())
    assert spec.description.endswith(f"\n\n{said}")
    assert spec.metadata.get("account") == account
    assert spec.metadata.get("dagster/table_name", "") in said
    assert "hush-hush" not in f"{spec.metadata} {spec.description}"
