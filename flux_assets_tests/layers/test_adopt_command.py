"""The command adopt as a user types it: its plan, what it does, its exit codes."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from flux_assets.cli.main import main
from flux_assets.sample.cluster import Cluster
from flux_assets.settings import load_settings
from flux_assets.tables.grid_power_lines import TABLE as LINES
from flux_assets.tables.substations import TABLE as SUBSTATIONS
from flux_assets_tests.conftest import Sql
from flux_assets_tests.made_up import write_one_row


@pytest.fixture(autouse=True)
def _settings(cluster: Cluster, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dagster").mkdir()
    (tmp_path / "dagster" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    write_one_row(tmp_path / "v1", SUBSTATIONS)
    write_one_row(tmp_path / "v1", LINES)
    given = {"FLUX_POSTGRES_URL": cluster.tcp_url(database), "FLUX_RELEASE": str(tmp_path / "v1")}
    for name, value in (given | {"DAGSTER_HOME": str(tmp_path / "dagster")}).items():
        monkeypatch.setenv(name, value)
    load_settings.cache_clear()


def adopt(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["adopt", *arguments])


def test_a_layer_is_adopted_as_the_plan_says(sql: Sql) -> None:
    sql("CREATE TABLE substations (substation_id varchar(50) PRIMARY KEY, secret text)")
    sql("CREATE VIEW counted AS SELECT count(*) FROM substations")
    planned = adopt("--dry-run")
    assert planned.exit_code == 0
    assert "substations becomes substations_before_flux" in planned.output
    assert "reads the new table" in planned.output
    assert sql("SELECT count(*) FROM postgres_sync.layer_versions") == [(0,)]
    assert sql("SELECT relkind FROM pg_class WHERE oid = 'substations'::regclass") == [("r",)]
    assert adopt().exit_code == 0
    assert sql("SELECT count FROM counted") == [(1,)]
    assert sql("SELECT count(*) FROM substations_before_flux") == [(0,)]
    again = adopt("substations")
    assert (again.exit_code, "substations is not a plain table" in again.output) == (0, True)


def test_what_stands_in_the_way_is_said_before_anything_is_loaded(sql: Sql) -> None:
    sql("CREATE TABLE substations (substation_id varchar(50) PRIMARY KEY)")
    sql("CREATE TABLE feeders (at varchar(50) REFERENCES substations)")
    sql("CREATE TABLE grid_power_lines (line_id text PRIMARY KEY)")
    sql("CREATE TABLE poles (line text REFERENCES grid_power_lines)")
    both = adopt()
    assert both.exit_code == 1
    for said in ("feeders_at_fkey of feeders", "poles_line_fkey of poles", "Do what the brackets say"):
        assert both.output.count(said) == 1
    assert "substations would become substations_before_flux" in adopt("--dry-run").output
    planned, done = adopt("substations", "--dry-run"), adopt("substations")
    assert (planned.exit_code, done.exit_code) == (1, 1)
    for said in (planned.output, done.output):
        assert "feeders_at_fkey of feeders" in said
        assert "stands in the way" in said
    assert sql("SELECT count(*) FROM postgres_sync.layer_versions") == [(0,)]
    assert adopt("substations", "--drop-foreign-keys").exit_code == 0
    assert sql("SELECT count(*) FROM substations") == [(1,)]


def test_what_is_computed_from_a_layer_is_adopted_with_it(sql: Sql) -> None:
    sql("CREATE TABLE grid_power_lines (line_id text); CREATE TABLE power_lines_spatial (power_line_id text)")
    sql("CREATE VIEW counted AS SELECT count(*) FROM power_lines_spatial")
    done = adopt("grid_power_lines")
    assert done.exit_code == 0, done.output
    assert sql("SELECT count FROM counted") == [(1,)]
    assert sql("SELECT to_regclass('power_lines_spatial_before_flux') IS NOT NULL") == [(True,)]
    back = CliRunner().invoke(main, ["eject", "grid_power_lines"])
    assert "grid_power_lines is a plain table, with the 1 rows" in back.output
    assert "power_lines_spatial, vegetation_risk_computed cannot be computed anew" in back.output
    again = CliRunner().invoke(main, ["eject", "grid_power_lines"])
    assert (again.exit_code, again.output) == (0, "grid_power_lines is a plain table already.\n")


def test_eject_says_of_each_table_what_it_is(sql: Sql) -> None:
    sql("CREATE TABLE substations (substation_id varchar(50) PRIMARY KEY)")
    assert adopt("substations").exit_code == 0
    done = CliRunner().invoke(main, ["eject", "substations", "work_orders"])
    assert done.exit_code == 0, done.output
    assert "substations is a plain table, with the 1 rows of version" in done.output
    assert (
        "work_orders is a plain table already; syncs write into it until dynamic_sync_schedule is stopped"
        in done.output
    )
    assert sql("SELECT relkind FROM pg_class WHERE oid = 'substations'::regclass") == [("r",)]
    unknown = CliRunner().invoke(main, ["eject", "substation"])
    assert (unknown.exit_code, "Did you mean substations?" in unknown.output) == (1, True)
