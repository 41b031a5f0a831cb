"""Derived layers as assets: they follow a load of their inputs in its run, and otherwise by automation_sensor."""

import gzip
import importlib
import warnings
from pathlib import Path

import dagster as dg
import pytest

import flux_assets.definitions
from flux_assets.definitions import defs
from flux_assets.settings import load_settings
from flux_assets.tables import following, static_tables
from flux_assets_tests.made_up import write_one_row
from flux_assets_tests.running import run_assets, run_job

LINES = next(table for table in static_tables() if table.name == "grid_power_lines")
DERIVED = ["power_lines_spatial", "power_lines_lod_mid", "power_lines_lod_overview"]


@pytest.fixture
def release(tmp_path, cluster, database, monkeypatch) -> Path:
    folder = tmp_path / "release"
    write_one_row(folder, LINES)
    monkeypatch.setenv("FLUX_POSTGRES_URL", cluster.url(database))
    monkeypatch.setenv("FLUX_RELEASE", str(folder))
    load_settings.cache_clear()
    return folder


class Automation:
    """What automation_sensor asks for, tick by tick."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance = instance
        self._cursor = None

    def tick(self) -> set[str]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", dg.BetaWarning)  # Dagster warns of itself
            result = dg.evaluate_automation_conditions(defs, self._instance, cursor=self._cursor)
        self._cursor = result.cursor
        names = [key.to_user_string() for key in defs.resolve_asset_graph().get_all_asset_keys()]
        return {name for name in names if result.get_num_requested(dg.AssetKey(name))}


def change(release: Path) -> None:
    path = release / LINES.file_name
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content.replace(b",50,", b",51,"), mtime=0))


def test_what_follows_a_layer_comes_after_its_inputs():
    assert following(["grid_power_lines"])[0] == "power_lines_spatial"
    assert set(DERIVED) < set(following(["grid_power_lines"]))
    assert following(["osm_water"]) == []


def test_a_load_brings_along_what_is_derived_and_what_lacks_an_input_is_no_failure(release, instance, sql):
    run = run_assets(defs, instance, "grid_power_lines", *following(["grid_power_lines"]))
    assert run.succeeded
    assert set(run.materialized()) == {"grid_power_lines", *DERIVED}
    assert sql("SELECT count(*) FROM power_lines_lod_mid") == [(1,)]
    assert any("vegetation_risk_computed stays as it is" in line for line in run.lines())
    assert run.checks()["power_lines_spatial", "inputs_current"].passed
    assert run.checks()["power_lines_lod_mid", "as_declared"].passed


def test_an_optional_file_that_is_not_there_is_no_failure_to_observe(release, instance):
    run = run_assets(defs, instance, "release/power_lines_spatial", "release/grid_power_lines")
    assert run.succeeded
    (seen,) = run.events(dg.DagsterEventType.ASSET_OBSERVATION)
    assert seen.asset_key == dg.AssetKey(["release", "grid_power_lines"])


def test_asked_for_alone_a_layer_without_its_inputs_fails(release, instance):
    run = run_assets(defs, instance, "vegetation_risk_computed")
    assert not run.succeeded
    assert "is computed from" in run.failure("vegetation_risk_computed")
    view = run_assets(defs, instance, "grid_assets")
    assert "cannot be made" in view.failure("grid_assets")


def test_the_checks_run_alone_too(release, instance, sql):
    run_assets(defs, instance, "grid_power_lines", *DERIVED)
    sql("DROP VIEW power_lines_lod_mid")
    job = defs.resolve_job_def("check_all_tables")
    run = run_job(job, instance)
    assert not run.checks()["power_lines_lod_mid", "as_declared"].passed
    assert run.checks()["power_lines_lod_overview", "as_declared"].passed


def test_automation_asks_for_what_a_load_did_not_bring_along(release, instance):
    run_assets(defs, instance, "grid_power_lines", *DERIVED)
    automation = Automation(instance)
    automation.tick()
    assert automation.tick() == set()
    change(release)
    assert run_assets(defs, instance, "grid_power_lines").succeeded
    assert automation.tick() == {"power_lines_spatial"}
    assert automation.tick() == set()
    assert run_assets(defs, instance, "power_lines_spatial").succeeded
    assert automation.tick() >= {"power_lines_lod_mid", "power_lines_lod_overview"}
    assert run_assets(defs, instance, "grid_power_lines").succeeded  # unchanged
    assert automation.tick() == set()


MADE = {
    "long_lines.py": """
from flux_assets.spec import View

VIEW = View.beside(__file__, inputs=("line_lengths",), description="Lines of a metre or more.")
""",
    "long_lines.sql": "SELECT * FROM line_lengths WHERE metres >= 1;\n",
    "line_lengths.py": """
from sqlalchemy import Column, Double, MetaData, String, Table

from flux_assets.spec import StaticTable
from flux_assets.spec.facts import Computed

TABLE = StaticTable(
    table=Table(
        "line_lengths",
        MetaData(),
        Column("line_id", String(100), primary_key=True, comment="Identifier of the line."),
        Column("metres", Double, comment="Length, in metres."),
        comment="Lengths of lines.",
    ),
    file="none",
    computed=Computed.beside(__file__, inputs=("grid_power_lines",)),
    release_rows=1,
)
""",
    "line_lengths.sql": "SELECT line_id, ST_Length(geom::geography) AS metres FROM grid_power_lines;\n",
}


@pytest.fixture
def with_own(tmp_path, monkeypatch):
    """The project's definitions after a computed layer and a view were added, each a declaration and a file of SQL."""
    folder = tmp_path / "own"
    folder.mkdir()
    for name, text in MADE.items():
        (folder / name).write_text(text)
    monkeypatch.setenv("FLUX_TABLES", str(folder))
    yield importlib.reload(flux_assets.definitions).defs
    monkeypatch.undo()
    importlib.reload(flux_assets.definitions)


def test_a_layer_and_a_view_of_ones_own_are_a_declaration_and_a_file_of_sql(with_own, release, instance, sql):
    names = following(["grid_power_lines"])
    assert names.index("line_lengths") < names.index("long_lines")
    run = run_assets(with_own, instance, "grid_power_lines", *names)
    assert run.succeeded
    assert set(run.materialized()) == {"grid_power_lines", *DERIVED, "line_lengths", "long_lines"}
    assert sql("SELECT line_id, metres > 1 FROM long_lines") == [("A1", True)]
