"""The wheel, installed into an environment of its own, far from the repository: it has all that its commands need."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Sequence
from pathlib import Path
from zipfile import ZipFile

import pytest

from flux_assets.settings import REPOSITORY
from flux_assets_tests.conftest import SETTINGS


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel of the repository as it is."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


class Elsewhere:
    """An environment with the wheel, which finds what that depends on in this one, and a folder to work in."""

    def __init__(self, folder: Path, wheel: Path, home: Path) -> None:
        self.folder, self._programs = folder, folder / "venv" / "bin"
        venv.create(folder / "venv", with_pip=True)
        self.run("python", "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel))
        (packages,) = (folder / "venv").glob("lib/python3*/site-packages")
        # What links to the repository is not followed from here.
        (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
        self._home = home

        dagster = self._programs / "dagster"
        dagster.write_text(f'#!/bin/sh\nexec "{self._programs / "python"}" -m dagster "$@"\n')
        dagster.chmod(0o755)

    def run(self, program: str, *arguments: str, within: Path | None = None, ends: Sequence[int] = (0,)) -> str:
        """What a program of the environment prints, without anybody's settings but a home."""
        return self._run([str(self._programs / program), *arguments], within or self.folder, ends)

    def run_script(self, script: str, ends: Sequence[int] = (0,)) -> str:
        """What a script prints whose programs are those of the environment."""
        return self._run(["bash", "-c", script], self.folder, ends)

    def _run(self, command: Sequence[str], within: Path, ends: Sequence[int]) -> str:
        plain = {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}
        given = {"FLUX_HOME": str(self._home)} if hasattr(self, "_home") else {}
        path = {"PATH": f"{self._programs}:{os.environ['PATH']}"}
        done = subprocess.run(
            command, cwd=within, env=plain | given | path, check=False, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode in ends, done.stdout
        return done.stdout


@pytest.fixture
def elsewhere(tmp_path: Path, wheel: Path, new_home: Path) -> Elsewhere:
    return Elsewhere(tmp_path, wheel, new_home)


def test_it_holds_every_file_of_the_package_and_the_sql(wheel):
    held = set(ZipFile(wheel).namelist())
    ours = [
        path for path in (REPOSITORY / "flux_assets").rglob("*") if path.is_file() and "__pycache__" not in path.parts
    ]
    wanted = {str(path.relative_to(REPOSITORY)) for path in ours}
    wanted |= {f"flux_assets/{path.relative_to(REPOSITORY)}" for path in (REPOSITORY / "sql").rglob("*.sql")}
    assert wanted - held == set()
    assert "flux_assets/cli/starter/dagster.yaml" in held
    assert {name.partition("/")[0] for name in held if ".dist-info" not in name} == {"flux_assets"}


def test_a_project_that_it_makes_loads_syncs_and_says_how_it_is(elsewhere):
    elsewhere.run("flux-assets", "init", "houston")
    houston = elsewhere.folder / "houston"
    where = elsewhere.run("python", "-c", "import flux_assets; print(flux_assets.__file__)", within=houston)
    assert where.startswith(str(elsewhere.folder / "venv"))
    assert "2 passed" in elsewhere.run("python", "-m", "pytest", "-q", within=houston)
    elsewhere.run("flux-assets", "load", "building_footprints", within=houston)
    elsewhere.run("flux-assets", "sync", "work_orders", within=houston)
    # Not everything is loaded.
    status = json.loads(elsewhere.run("flux-assets", "status", "--json", within=houston, ends=(0, 1)))
    states = {each["table"]: each["state"] for each in status["tables"]}
    assert {states[name] for name in ("building_footprints", "tall_buildings", "work_orders")} == {"live"}
    advice = elsewhere.run("flux-assets", "doctor", within=houston, ends=(0, 1))
    assert f"dagster.yaml is read from {houston}" in advice
    assert "declared outside: tall_buildings" in advice
    assert "site-packages" not in advice


def test_outside_of_a_project_doctor_sends_nobody_into_the_package(elsewhere):
    advice = elsewhere.run("flux-assets", "doctor", ends=(0, 1))
    assert "such as `flux-assets init` makes" in advice
    assert "site-packages" not in advice
