"""The set-up scripts do nothing when nothing is missing, and name the exact remedy when they cannot help."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from flux_assets.settings import REPOSITORY

RUN, MAP, ALL = "requirements.lock", "requirements-map.lock", "requirements-test.lock"
TOOLS = (
    "bash",
    "cat",
    "cksum",
    "cut",
    "awk",
    "sort",
    "tail",
    "grep",
    "dirname",
    "rm",
    "touch",
    "sed",
    "find",
    "mktemp",
    "mkdir",
    "basename",
    "env",
    "ps",
    "seq",
    "sleep",
)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the scripts, the lock and nothing else."""
    folder = tmp_path / "checkout"
    shutil.copytree(REPOSITORY / "scripts", folder / "scripts")
    (folder / "requirements.lock").write_text("locked==1\n")
    (folder / "requirements-map.lock").write_text("locked==1\ntiles==1\n")
    (folder / "requirements-test.lock").write_text("locked==1\ntiles==1\ntool==1\n")
    (folder / "snow-cli.lock").write_text("locked==2\n")
    (folder / "pyproject.toml").write_text("[project]\n")
    return folder


@pytest.fixture
def commands(tmp_path: Path) -> Path:
    """The only folder of the PATH: a few tools of the machine, to which a test adds commands of its own."""
    folder = tmp_path / "commands"
    folder.mkdir()
    for tool in TOOLS:
        (folder / tool).symlink_to(str(shutil.which(tool)))
    return folder


def program(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["#!/bin/bash", *lines, ""]))
    path.chmod(0o755)


def run(checkout: Path, script: str, commands: Path, *arguments: str, **environment: str):
    command = ["bash", str(checkout / "scripts" / script), *arguments]
    environment = {"PATH": str(commands), "HOME": "/nowhere"} | environment
    return subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=False)


def make_environment(checkout: Path, made_from: str) -> Path:
    """A `.venv` whose python writes down what it was asked to do; returns those notes."""
    notes = checkout / "notes"
    program(checkout / ".venv" / "bin" / "python", f'echo "$@" >>"{notes}"')
    (checkout / ".venv" / "bin" / "activate").write_text(f'VIRTUAL_ENV="{checkout.resolve()}/.venv"\n')
    (checkout / ".venv" / "made_from").write_text(made_from)
    (checkout / ".venv" / "snow-cli").mkdir()
    (checkout / ".venv" / "snow-cli" / "made_from").write_text(digest(checkout, "snow-cli.lock"))
    return notes


def digest(checkout: Path, *names: str) -> str:
    whole = b"".join((checkout / name).read_bytes() for name in names or (ALL, "pyproject.toml"))
    return subprocess.run(["cksum"], input=whole, capture_output=True, check=True).stdout.decode()


@pytest.mark.parametrize(
    ("arguments", "lock"),
    [([], ALL), (["run"], RUN), (["run"], MAP), (["run"], ALL), (["demo"], RUN), (["map"], MAP), (["map"], ALL)],
    ids=str,
)
def test_nothing_is_installed_when_nothing_is_missing(arguments, lock, checkout: Path, commands: Path) -> None:
    notes = make_environment(checkout, digest(checkout, lock, "pyproject.toml"))
    (checkout / ".flux" / "release" / "sample-city-0.05").mkdir(parents=True)
    done = run(checkout, "setup.sh", commands, *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    asked = notes.read_text()
    assert "pip" not in asked
    assert "binaries.find()" in asked


@pytest.mark.parametrize(("arguments", "lock"), [([], ALL), (["map"], MAP)], ids=str)
def test_an_environment_of_the_demo_alone_does_not_do_for_more(arguments, lock, checkout: Path, commands: Path) -> None:
    notes = make_environment(checkout, digest(checkout, RUN, "pyproject.toml"))
    assert run(checkout, "setup.sh", commands, *arguments).returncode == 0
    assert f"--require-hashes -r {lock}" in notes.read_text()


@pytest.mark.parametrize(("arguments", "lock"), [([], ALL), (["run"], RUN)], ids=["all", "run"])
def test_a_changed_lock_is_installed_into_the_environment_that_is_there(
    arguments, lock, checkout: Path, commands: Path
) -> None:
    notes = make_environment(checkout, digest(checkout, lock, "pyproject.toml"))
    (checkout / lock).write_text("locked==2\n")
    done = run(checkout, "setup.sh", commands, *arguments)
    assert done.returncode == 0, done.stderr
    assert f"--require-hashes -r {lock}" in notes.read_text()
    assert (checkout / ".venv" / "made_from").read_text() == digest(checkout, lock, "pyproject.toml")


def test_uv_installs_where_it_is_there(checkout: Path, commands: Path) -> None:
    notes = make_environment(checkout, "an older lock")
    program(commands / "uv", f'echo "uv $@" >>"{notes}"')
    assert run(checkout, "setup.sh", commands).returncode == 0
    asked = notes.read_text()
    assert f"uv pip install --quiet --python .venv/bin/python --no-deps --require-hashes -r {ALL}" in asked
    assert "-m pip" not in asked


def test_uv_is_fetched_by_its_hash_and_looks_where_pip_was_told_to(checkout: Path, commands: Path) -> None:
    notes = make_environment(checkout, "an older lock")
    program(checkout / "uv", f'echo "uv $@ from $UV_DEFAULT_INDEX" >>"{notes}"')
    program(
        checkout / ".venv" / "bin" / "python",
        f'echo "$@" >>"{notes}"',
        'case "$*" in *"--target .venv/uv"*) mkdir -p .venv/uv/bin; '
        f'{shutil.which("cp")} uv .venv/uv/bin/uv;; *"config list"*) echo "global.index-url=\'https://mirror\'";; esac',
    )
    done = run(checkout, "setup.sh", commands)
    assert (done.returncode, done.stderr) == (0, "")
    asked = notes.read_text()
    assert "--require-hashes --target .venv/uv -r uv-installer.lock" in asked
    assert f"-r {ALL} --compile from https://mirror" in asked
    assert not (checkout / ".venv" / "uv").exists()


def test_pip_installs_where_uv_is_unavailable(checkout: Path, commands: Path) -> None:
    notes = make_environment(checkout, "an older lock")
    program(commands / "uv", "exit 2")
    done = run(checkout, "setup.sh", commands)
    assert (done.returncode, done.stderr) == (0, "")
    assert "uv is unavailable; pip installs them" in done.stdout
    assert (
        f"-m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r {ALL}" in notes.read_text()
    )


def test_tests_get_an_environment_whose_packages_are_whole(checkout: Path, commands: Path) -> None:
    make_environment(checkout, digest(checkout, RUN, "pyproject.toml"))
    (checkout / ".venv" / "slim").touch()
    copy = f'mkdir -p "$4/bin"; {shutil.which("cp")} "$0" "$4/bin/python"'
    program(commands / "base", f'case "$*" in "-m venv"*) {copy};; esac')
    program(checkout / ".venv" / "bin" / "python", f'case "$*" in *_base_executable*) echo {commands}/base;; esac')
    done = run(checkout, "setup.sh", commands)
    assert done.returncode == 0, done.stderr
    assert "making .venv" in done.stdout
    assert not (checkout / ".venv" / "slim").exists()


def test_what_no_program_reads_is_removed_and_nothing_else(checkout: Path, commands: Path) -> None:
    packages = checkout / "packages"
    program(checkout / ".venv" / "bin" / "python", f'echo "{packages}"')
    removed = (
        "pandas/tests/test_a.py",
        "pyarrow/include/a.hpp",
        "pyarrow/libarrow_flight.so.1",
        "a/b.pyi",
        "dagster_webserver/webapp/a.js.map",
        "pyogrio/a.py",
        "pyogrio.libs/a.so",
        "botocore/data/ec2/a.json",
    )
    kept = (
        "pandas/a.py",
        "pyarrow/libarrow.so.1",
        "a/tests/b.py",
        "a/b.so",
        "a/b.map",
        "dagster_webserver/webapp/a.js",
        "botocore/data/endpoints.json",
        "botocore/data/s3/a.json",
        "botocore/data/sts/a.json",
    )
    for name in (*removed, *kept, "numpy/a.py", "matplotlib/a.py", "shapely/a.py"):
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        (packages / name).touch()
    done = run(checkout, "slim_environment.sh", commands)
    assert (done.returncode, done.stderr) == (0, "")
    assert [name for name in removed if (packages / name).exists()] == []
    assert [name for name in kept if not (packages / name).exists()] == []


def test_a_set_up_that_is_none_is_refused(checkout: Path, commands: Path) -> None:
    done = run(checkout, "setup.sh", commands, "tests")
    assert (done.returncode, done.stderr) == (
        2, "setup: tests is not a set-up; give run, demo or map, or nothing for all of it.\n",
    )  # fmt: skip


def test_a_failed_installation_is_tried_again(checkout: Path, commands: Path) -> None:
    make_environment(checkout, "an older lock")
    program(checkout / ".venv" / "bin" / "python", 'case "$*" in *pip*) echo "no such package" >&2; exit 1;; esac')
    done = run(checkout, "setup.sh", commands)
    assert done.returncode == 1
    assert "no such package" in done.stderr
    assert (checkout / ".venv" / "made_from").read_text() == "an older lock"


def test_an_environment_that_was_copied_from_elsewhere_is_made_anew(checkout: Path, commands: Path) -> None:
    make_environment(checkout, digest(checkout))
    (checkout / ".venv" / "bin" / "activate").write_text('VIRTUAL_ENV="/elsewhere/.venv"\n')
    copy = f'mkdir -p "$4/bin"; {shutil.which("cp")} "$0" "$4/bin/python"'
    program(commands / "python3", f'case "$*" in --version) echo Python 3.12.0;; "-m venv"*) {copy};; esac')
    done = run(checkout, "setup.sh", commands)
    assert done.returncode == 0, done.stderr
    assert "making .venv with Python 3.12.0" in done.stdout
    assert not (checkout / ".venv" / "bin" / "activate").exists()


def test_no_python_that_is_new_enough(checkout: Path, commands: Path) -> None:
    program(commands / "python3", "exit 1")
    done = run(checkout, "setup.sh", commands)
    assert done.returncode == 1
    assert "No Python from 3.11 on was found." in done.stderr
    assert "apt-get install python3" in done.stderr
    assert "brew install python" in done.stderr
    done = run(checkout, "setup.sh", commands, PYTHON=str(commands / "python3"))
    assert f"(PYTHON={commands}/python3 is older)" in done.stderr


def test_a_python_without_its_venv_module(checkout: Path, commands: Path) -> None:
    program(commands / "python3", 'case "$*" in *venv*version_info*) echo python3.11-venv;; *ensurepip*) exit 1;; esac')
    program(commands / "id", "echo 1000")
    done = run(checkout, "setup.sh", commands)
    assert done.returncode == 1
    assert "sudo apt-get install python3.11-venv" in done.stderr
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize(
    ("system", "user", "apt", "remedy"),
    [
        ("Linux", "1000", True, "sudo apt-get install --no-install-recommends postgresql-17-postgis-3"),
        ("Linux", "0", False, "by your system's package manager"),
        ("Darwin", "501", False, "brew install postgresql@17 postgis"),
    ],
)
def test_postgis_is_missing_and_cannot_be_installed_from_here(
    checkout: Path, commands: Path, system: str, user: str, apt: bool, remedy: str
) -> None:
    program(commands / "uname", f"echo {system}")
    program(commands / "id", f"echo {user}")
    if apt:
        program(commands / "apt-get", "exit 9")
        versions = " ".join(f"postgresql-{version}-postgis-3" for version in (9, 13, 17, 15))
        program(commands / "apt-cache", f'for name in {versions}; do echo "$name - Geographic objects"; done')
    make_environment(checkout, digest(checkout))
    program(checkout / ".venv" / "bin" / "python", 'case "$*" in *binaries.find*) exit 1;; esac')
    done = run(checkout, "setup.sh", commands)
    assert done.returncode == 1
    assert remedy in done.stderr


def test_demo_and_test_see_nobodys_settings(checkout: Path, commands: Path) -> None:
    flux = (
        "POSTGRES_URL",
        "POSTGRES_SCHEMA",
        "PROFILE",
        "RELEASE",
        "RELEASE_TAG",
        "CONFIG",
        "ENV_FILE",
        "DISK_LIMIT",
        "KEEP_VERSIONS",
    )
    others = ("PGHOST", "PGSERVICE", "PGOPTIONS", "SNOWFLAKE_ACCOUNT", "SNOWFLAKE_PASSWORD", "DAGSTER_HOME")
    theirs = dict.fromkeys([*(f"FLUX_{name}" for name in flux), *others, "DAGSTER_POSTGRES_URL"], "theirs")
    done = run(checkout, "isolated.sh", commands, "env", FLUX_HOME="/mine", PYTHONPATH="/mine", **theirs)
    left = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert left["FLUX_HOME"] == "/mine"
    assert left["FLUX_ENV_FILE"] == ""
    assert not (set(theirs) - {"FLUX_ENV_FILE"}) & set(left)


def test_down_ends_no_process_that_took_over_the_number_of_the_ui(checkout: Path, commands: Path) -> None:
    (checkout / ".flux").mkdir()
    (checkout / ".flux" / "ui.pid").write_text(str(os.getpid()))
    done = run(checkout, "down.sh", commands)
    assert done.returncode == 0, done.stderr
    assert not (checkout / ".flux" / "ui.pid").exists()


@pytest.mark.parametrize(("command", "name"), [("dagster dev", "ui"), ("python -m flux_assets.map 8088", "map")])
def test_down_stops_the_ui_and_the_map(command: str, name: str, checkout: Path, commands: Path) -> None:
    (checkout / ".flux").mkdir()
    called, *arguments = command.split()
    program(checkout / called, "trap 'exit 7' INT; echo ready; while :; do sleep 0.05; done")
    with subprocess.Popen([checkout / called, *arguments], stdout=subprocess.PIPE) as ui:
        assert ui.stdout.readline() == b"ready\n"
        (checkout / ".flux" / f"{name}.pid").write_text(str(ui.pid))
        assert run(checkout, "down.sh", commands).returncode == 0
        assert ui.wait(timeout=30) == 7


@pytest.mark.parametrize("port", ["abc", "0", "65536", "-1", "3000 ", "9" * 30])
def test_a_port_of_the_ui_that_is_none_is_named(checkout: Path, commands: Path, port: str) -> None:
    done = run(checkout, "ui.sh", commands, UI_PORT=port)
    said = f"UI_PORT = '{port}' is not a port. Give a number from 1 to 65535: UI_PORT=3001 make ui\n"
    assert (done.returncode, done.stderr) == (1, said)
    assert not (checkout / ".flux").exists()


def test_make_lists_its_commands() -> None:
    done = subprocess.run(["make", "-C", REPOSITORY], capture_output=True, text=True, check=True)
    for command in ("setup", "demo", "test", "test-ui", "ui", "check", "bench", "down", "help"):
        assert f"make {command} " in done.stdout


@pytest.mark.parametrize(
    ("present", "user", "said"),
    [
        ([], 0, "by your system's package manager"),
        (["apt-get"], 1000, "sudo apt-get install --no-install-recommends chromium chromium-driver"),
        (["apt-get", "chromium"], 1000, "chromium chromium-driver"),
        (["apt-get"], 0, "chrome-for-testing"),
    ],
    ids=["no apt", "not root", "without its driver", "only as a snap"],
)  # fmt: skip
def test_chromium_is_missing_and_cannot_be_installed_from_here(present, user, said, checkout: Path, commands: Path):
    for name in present:
        program(commands / name)
    program(commands / "apt-cache")
    program(commands / "id", f"echo {user}")
    done = run(checkout, "install_chromium.sh", commands)
    assert done.returncode == 1
    assert said in done.stderr


def test_chromium_that_is_there_is_not_installed(checkout: Path, commands: Path) -> None:
    for name in ("chromium", "chromedriver"):
        program(commands / name)
    program(commands / "apt-get", "exit 9")
    done = run(checkout, "install_chromium.sh", commands)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("present", "user", "said"),
    [
        ([], 0, "QGIS_PYTHON=/path/to/the/python/of/qgis make test-clients"),
        (["apt-get"], 1000, "sudo apt-get install --no-install-recommends python3-qgis qgis-providers gdal-bin"),
        (["apt-get", "python"], 1000, "python3-qgis qgis-providers gdal-bin"),
        (["apt-get", "ogr2ogr"], 1000, "python3-qgis qgis-providers gdal-bin"),
    ],
    ids=["no apt", "not root", "without GDAL", "without QGIS"],
)  # fmt: skip
def test_qgis_and_gdal_are_missing_and_cannot_be_installed_from_here(
    present, user, said, checkout: Path, commands: Path
):
    for name in present:
        program(commands / name)
    program(commands / "id", f"echo {user}")
    done = run(checkout, "install_clients.sh", commands, QGIS_PYTHON=str(commands / "python"))
    assert done.returncode == 1
    assert said in done.stderr


def test_qgis_and_gdal_that_are_there_are_not_installed(checkout: Path, commands: Path) -> None:
    for name in ("ogr2ogr", "python"):
        program(commands / name)
    program(commands / "apt-get", "exit 9")
    done = run(checkout, "install_clients.sh", commands, QGIS_PYTHON=str(commands / "python"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
