"""The lock files hold what pyproject.toml asks for, exactly, with hashes, and from no registry in particular."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from flux_assets.settings import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
RUN, MAP, ALL = "requirements.lock", "requirements-map.lock", "requirements-test.lock"
INSTALLER, SNOW_CLI = "uv-installer.lock", "snow-cli.lock"
OF_RUN = ("build", "embedded")
each_lock = pytest.mark.parametrize("lock", [RUN, MAP, ALL, INSTALLER, SNOW_CLI])


def pins(lock: str) -> dict[str, dict[str, frozenset[str]]]:
    """By name the hashes of each version; there are several where not every Python has the same one."""
    found: dict[str, dict[str, frozenset[str]]] = {}
    for entry in re.split(r"\n(?=\S)", (REPOSITORY / lock).read_text().strip()):
        name, version = re.match(r"([\w.-]+)==(\S+)", entry).groups()
        hashes = frozenset(re.findall(r"--hash=(sha256:[0-9a-f]{64})", entry))
        found.setdefault(canonicalize_name(name), {})[version] = hashes
    return found


def asked(*extras: str) -> list[Requirement]:
    return [
        Requirement(text) for text in [*PROJECT["dependencies"], *(text for extra in extras for text in EXTRAS[extra])]
    ]


@pytest.mark.parametrize(
    ("lock", "extras"), [(RUN, OF_RUN), (MAP, (*OF_RUN, "map")), (ALL, tuple(EXTRAS))], ids=["run", "map", "all"]
)
def test_what_is_asked_for_is_locked_within_its_range(lock, extras):
    locked = pins(lock)
    versions = {str(wanted): locked.get(canonicalize_name(wanted.name), {}) for wanted in asked(*extras)}
    assert [wanted for wanted, found in versions.items() if not found] == []
    beyond = {
        wanted: set(found) - set(Requirement(wanted).specifier.filter(found)) for wanted, found in versions.items()
    }
    assert {wanted: found for wanted, found in beyond.items() if found} == {}


@pytest.mark.parametrize(("lock", "within"), [(RUN, MAP), (MAP, ALL)])
def test_what_is_run_has_the_versions_that_are_tested(lock, within):
    """The set-up takes an environment that was made from the wider lock for one that holds the narrower."""
    run, everything = pins(lock), pins(within)
    assert {name: pin for name, pin in run.items() if everything.get(name) != pin} == {}


def test_the_demo_installs_no_tile_server():
    assert {"tipg", "fastapi", "asyncpg"} & set(pins(RUN)) == set()


def test_the_demo_installs_no_tools_of_tests_and_benchmarks():
    tools = {canonicalize_name(Requirement(text).name) for extra in ("test", "bench") for text in EXTRAS[extra]}
    needed_anyway = {"psutil", "sqlglot"}
    assert tools & set(pins(RUN)) <= needed_anyway


@each_lock
def test_every_version_is_exact_and_has_hashes(lock):
    assert [name for name, pin in pins(lock).items() if not all(pin.values()) or "*" in "".join(pin)] == []


@each_lock
def test_no_registry_is_named(lock):
    assert re.findall(r"https?:|index-url|find-links", (REPOSITORY / lock).read_text()) == []
