"""The wheel, installed into an environment of its own, far from the repository: it has all that its commands need."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

import pytest

from flux_assets.settings import REPOSITORY
from flux_assets_tests.conftest import SETTINGS

# A block of the tutorial, and the names of files before it, of which the last is the block's.
_BLOCK = re.compile(r"^```(\w+)(?: (\w+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"`([\w/]+\.(?:py|toml))`")
# The fixture does that.
_INSTALLED = ("python3 -m venv ", ". venv/bin/activate", "pip install ")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel of the repository as it is."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory) -> Path:
    """The programs of an environment with the wheel, which finds what that depends on in this one."""
    environment = tmp_path_factory.mktemp("elsewhere") / "venv"
    venv.create(environment, with_pip=True)
    programs = environment / "bin"
    install = [programs / "python", "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    (packages,) = environment.glob("lib/python3*/site-packages")
    # What links to the repository is not followed from here.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    (programs / "dagster").write_text(f'#!/bin/sh\nexec "{programs / "python"}" -m dagster "$@"\n')
    (programs / "dagster").chmod(0o755)
    return programs


@dataclass(frozen=True)
class Elsewhere:
    """A folder far from the repository, where scripts find the programs of the wheel, and no settings but a home."""

    folder: Path
    programs: Path
    home: Path

    def run(self, script: str, ends: Sequence[int] = (0,)) -> str:
        """What a script prints, which ends with one of these exit codes."""
        plain = {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}
        given = {"FLUX_HOME": str(self.home), "PATH": f"{self.programs}:{os.environ['PATH']}"}
        done = subprocess.run(
            ["bash", "-ec", script], cwd=self.folder, env=plain | given, check=False, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode in ends, done.stdout
        return done.stdout


@pytest.fixture
def elsewhere(tmp_path: Path, programs: Path, new_home: Path) -> Elsewhere:
    return Elsewhere(tmp_path, programs, new_home)


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


def test_what_it_makes_and_says_lies_there_and_not_in_the_package(elsewhere):
    advice = elsewhere.run("flux-assets doctor", ends=(0, 1))
    assert "such as `flux-assets init` makes" in advice
    assert "site-packages" not in advice
    elsewhere.run("flux-assets init houston")
    where = elsewhere.run(
        "cd houston; python -c 'import flux_assets; print(flux_assets.__file__)'; python -m pytest -q"
    )
    assert where.startswith(str(elsewhere.programs.parent))
    assert "2 passed" in where
    advice = elsewhere.run("cd houston; flux-assets doctor", ends=(0, 1))
    assert f"dagster.yaml is read from {elsewhere.folder / 'houston'}" in advice
    assert "declared outside: tall_buildings" in advice
    assert "site-packages" not in advice


def test_the_tutorial_works_as_it_is_written(elsewhere):
    """Files made, commands run, and what they should print looked for: docs/tutorial.md, with the wheel."""
    text = (REPOSITORY / "docs" / "tutorial.md").read_text()
    folder, exported, said, at = elsewhere.folder, "", "", 0
    for block in _BLOCK.finditer(text):
        kind, fails, body = block.groups()
        if kind == "console":
            lines = [line for line in body.splitlines() if not line.startswith(_INSTALLED)]
            exported = "\n".join(line for line in lines if line.startswith("export ")) or exported
            script = "\n".join([exported, f"cd {shlex.quote(str(folder))}", *lines, "pwd"])
            said = elsewhere.run(script, ends=(1,) if fails else (0,))
            folder = folder if fails else Path(said.splitlines()[-1])
        elif kind == "text":
            missing = [line for line in body.splitlines() if " ".join(line.split()) not in " ".join(said.split())]
            assert missing == [], said
        else:
            name = _FILE.findall(text[at : block.start()])[-1]
            (folder / name).write_text(body)
        at = block.end()
