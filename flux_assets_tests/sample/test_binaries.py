"""A server's programs are found wherever they are, and their absence is told with the remedy."""

from pathlib import Path

import pytest

from flux_assets.errors import EmbeddedError
from flux_assets.sample import binaries


def install(root: Path, version: str, *, postgis: bool) -> Path:
    """A folder that looks like an installed server: programs that answer what is asked of them."""
    folder = root / version / "bin"
    folder.mkdir(parents=True)
    share = root / version / "share"
    (share / "extension").mkdir(parents=True)
    if postgis:
        (share / "extension" / "postgis.control").write_text("module_pathname = '$libdir/postgis-3'\n")
    for name in ("postgres", "initdb", "pg_ctl"):
        (folder / name).touch()
    config = folder / "pg_config"
    answers = {"--version": f"PostgreSQL {version}", "--sharedir": share, "--bindir": folder}
    cases = "".join(f'{option}) echo "{answer}";;\n' for option, answer in answers.items())
    config.write_text(f'#!/bin/sh\ncase "$1" in\n{cases}esac\n')
    config.chmod(0o755)
    return folder


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which servers lie in `tmp_path`, and nowhere else."""
    monkeypatch.setattr(binaries, "_PATTERNS", (f"{tmp_path}/*/bin",))
    monkeypatch.setenv("PATH", "/nowhere")
    return tmp_path


def test_the_machines_own_server_is_found() -> None:
    found = binaries.find()
    assert found.major >= 15
    assert Path(found.program("initdb")).is_file()


def test_the_newest_with_postgis_is_taken(installed: Path) -> None:
    for version, postgis in (("15.18", True), ("16.4", True), ("17.2 (Debian 17.2-1)", False), ("14.9", True)):
        install(installed, version, postgis=postgis)
    assert binaries.find().major == 16
    assert binaries.find(15).major == 15


def test_pg_config_on_the_path_counts(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = install(installed / "by hand", "18beta1", postgis=True)
    monkeypatch.setenv("PATH", f"{folder}:/bin:/usr/bin")
    assert binaries.find() == binaries.ServerBinaries(folder=folder, major=18, postgis="postgis-3")


@pytest.mark.parametrize(("platform", "remedy"), [("linux", "make setup"), ("darwin", "brew install")])
def test_nothing_installed(installed: Path, monkeypatch: pytest.MonkeyPatch, platform: str, remedy: str) -> None:
    monkeypatch.setattr("sys.platform", platform)
    install(installed, "14.9", postgis=True)
    with pytest.raises(EmbeddedError, match="No PostgreSQL server from version 15 on") as caught:
        binaries.find()
    assert remedy in caught.value.remedy


def test_the_version_that_made_the_cluster_is_gone(installed: Path) -> None:
    install(installed, "17.1", postgis=True)
    with pytest.raises(EmbeddedError, match="made by PostgreSQL 16, which is no longer installed") as caught:
        binaries.find(16)
    assert "postgresql-16-postgis-3" in caught.value.remedy
