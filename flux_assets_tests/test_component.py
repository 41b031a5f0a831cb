"""The component: in a project that `create-dagster` made, by the commands of `dg`; and what its defs.yaml may say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from dagster.components.testing.utils import DefsFolderSandbox, create_defs_folder_sandbox

from flux_assets import FluxAssetsComponent
from flux_assets_tests.made_up import grove, write_trees
from flux_assets_tests.running import run_job

# Of Dagster, where it reads a defs.yaml and notes its place.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`parse_obj_as` is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::dagster.BetaWarning"),
]
PROGRAMS = Path(sys.executable).parent
TREES = "from flux_assets_tests.made_up import trees\n\nTABLE = trees()\n"
FEW = {"without": ["all"], "key_prefix": "houston", "postgres_schema": "public"}


def test_dg_lists_it_scaffolds_it_and_two_stand_side_by_side(tmp_path):
    folder = tmp_path / "utilities"

    def run(program: str, *arguments: str, within: Path = folder) -> str:
        """What a program of this environment prints for other programs."""
        environment = os.environ | {"PYTHONPATH": str(folder / "src")}
        done = subprocess.run(
            [PROGRAMS / program, *arguments], cwd=within, env=environment, check=False, text=True, capture_output=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("create-dagster", "project", str(folder), "--no-uv-sync", within=tmp_path)
    listed = {entry["key"]: entry for entry in json.loads(run("dg", "list", "components", "--json"))["items"]}
    assert listed["flux_assets.FluxAssetsComponent"]["summary"].startswith("A utility's map layers")
    run("dg", "scaffold", "defs", "flux_assets.FluxAssetsComponent", "houston")
    written = folder / "src" / "utilities" / "defs" / "houston" / "defs.yaml"
    assert yaml.safe_load(written.read_text())["attributes"] == {
        "tables": [],
        "key_prefix": "houston",
        "postgres_schema": "houston",
        "executor": "threads",
        "schedule": "*/5 * * * *",
    }
    other = written.parent.with_name("austin") / "defs.yaml"
    other.parent.mkdir()
    other.write_text(written.read_text().replace("houston", "austin"))
    keys = {asset["asset_key"] for asset in json.loads(run("dg", "list", "defs", "--json"))["assets"]}
    assert keys >= {"houston/substations", "austin/substations", "houston/work_orders", "austin/snowflake/work_orders"}
    assert {key.partition("/")[0] for key in keys} == {"houston", "austin"}


@pytest.fixture
def project() -> Iterator[DefsFolderSandbox]:
    """A project with a folder of components, in this process."""
    with create_defs_folder_sandbox() as sandbox:
        yield sandbox


def described(project: DefsFolderSandbox, attributes: dict) -> Path:
    """The folder of a defs.yaml with these attributes."""
    content = {"type": "flux_assets.FluxAssetsComponent", "attributes": attributes}
    return project.scaffold_component(FluxAssetsComponent, defs_path="houston", defs_yaml_contents=content)


def test_tables_beside_it_are_loaded_with_its_own_settings(
    project, tmp_path, cluster, database, sql, instance, monkeypatch
):
    monkeypatch.setenv("HOUSTON_POSTGRES_URL", cluster.url(database))
    write_trees(tmp_path / "release", grove(90))
    settings = {"FLUX_POSTGRES_URL": "{{ env.HOUSTON_POSTGRES_URL }}", "flux_release": str(tmp_path / "release")}
    folder = described(project, {**FEW, "tables": ["tables"], "settings": settings})
    (folder / "tables").mkdir()
    (folder / "tables" / "trees.py").write_text(TREES)
    with project.load_component_and_build_defs(folder) as (_, defs):
        assert run_job(defs.resolve_job_def("houston_load_static_layers"), instance).succeeded
    assert sql("SELECT count(*) FROM trees") == [(90,)]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"sensors": ["release"]}, "there is no sensor of that name"),
        ({"settings": {"FLUX_RELEAS": "x"}}, "flux_releas: there is no setting of that name"),
        ({"tabels": []}, "tabels"),
    ],
)
def test_what_is_wrong_in_it_is_the_cause_that_dagster_shows(project, wrong, said):
    folder = described(project, {**FEW, **wrong})
    with pytest.raises(Exception, match="houston") as raised, project.load_component_and_build_defs(folder):
        pass
    assert said in str(raised.value.__cause__)
