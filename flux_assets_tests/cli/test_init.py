"""`flux-assets init`: what it refuses, and that its project works, by the commands that it prints."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from flux_assets.cli.main import main
from flux_assets.settings import REPOSITORY

PROGRAMS = Path(sys.executable).parent


def init(folder: Path) -> Result:
    return CliRunner().invoke(main, ["init", str(folder)])


def run(folder: Path, program: str, *arguments: str) -> str:
    """What a program of this environment prints in the folder, whose `.env` is read."""
    environment = {name: value for name, value in os.environ.items() if name != "FLUX_ENV_FILE"}
    done = subprocess.run(
        [PROGRAMS / program, *arguments], cwd=folder, env={**environment, "NO_COLOR": "1"}, check=False, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_its_own_test_passes_and_so_does_dg_s_check(tmp_path):
    folder = tmp_path / "houston-gis"
    said = init(folder)
    assert said.exit_code == 0, said.output
    assert f"cd {folder}" in said.output
    assert (folder / ".env").read_text() == (folder / ".env.example").read_text()
    assert "2 passed" in run(folder, "pytest", "-q")
    assert "All definitions loaded successfully" in run(folder, "dg", "check", "defs")


def test_dg_works_in_the_repository_too():
    assert "All definitions loaded successfully" in run(REPOSITORY, "dg", "check", "defs")


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "houston").mkdir()
    (tmp_path / "houston" / "mine.txt").write_text("mine")
    said = init(tmp_path / "houston")
    assert said.exit_code == 1
    assert "is not empty" in said.output
    assert [file.name for file in (tmp_path / "houston").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("7th", "cannot be the name of a Python package"),
        ("two words", "cannot be the name of a Python package"),
        ("class", "cannot be the name of a Python package"),
        ("tests", "cannot be the name of a Python package"),
        ("json", "There is a Python module json already"),
    ],
)
def test_a_name_that_no_package_can_have_is_refused(tmp_path, name, why):
    said = init(tmp_path / name)
    assert said.exit_code == 1
    assert why in said.output
    assert not (tmp_path / name).exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    said = init(tmp_path / "file" / "houston")
    assert said.exit_code == 1
    assert "cannot be written" in said.output
