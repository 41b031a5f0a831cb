"""Finding the programs of a PostgreSQL server that has PostGIS."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flux_assets.errors import EmbeddedError

OLDEST = 15
_PATTERNS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",
)


@dataclass(frozen=True, kw_only=True)
class ServerBinaries:
    """The folder of one server's programs, its major version, and the name of PostGIS's library there."""

    folder: Path
    major: int
    postgis: str

    def program(self, name: str) -> str:
        """Return the path of one program, for example `initdb`."""
        return str(self.folder / name)


def find(major: int | None = None) -> ServerBinaries:
    """Return the newest installed server from version 15 on that has PostGIS, or the one of `major`.

    Raises EmbeddedError, saying what to install.
    """
    found = [server for server in _installed() if major is None or server.major == major]
    if not found:
        raise EmbeddedError(_missing(major), _remedy(major))
    return max(found, key=lambda server: server.major)


def _installed() -> Iterator[ServerBinaries]:
    for folder in _folders():
        version = _version(folder)
        if version is not None and version >= OLDEST and (postgis := _postgis(folder)):
            yield ServerBinaries(folder=folder, major=version, postgis=postgis)


def _folders() -> Iterator[Path]:
    for pattern in _PATTERNS:
        yield from sorted(Path("/").glob(pattern.removeprefix("/")))
    if config := shutil.which("pg_config"):
        yield Path(_output([config, "--bindir"]))


def _version(folder: Path) -> int | None:
    if not all((folder / name).is_file() for name in ("postgres", "initdb", "pg_ctl", "pg_config")):
        return None
    match = re.search(r"\d+", _output([str(folder / "pg_config"), "--version"]))
    return int(match[0]) if match else None


def _postgis(folder: Path) -> str | None:
    control = Path(_output([str(folder / "pg_config"), "--sharedir"]), "extension", "postgis.control")
    text = control.read_text() if control.is_file() else ""
    match = re.search(r"^module_pathname\s*=\s*'\$libdir/(.+)'", text, re.MULTILINE)
    return match[1] if match else None


def _output(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def _missing(major: int | None) -> str:
    if major is None:
        return f"No PostgreSQL server from version {OLDEST} on with PostGIS is installed."
    return f"The embedded cluster was made by PostgreSQL {major}, which is no longer installed with PostGIS."


def _remedy(major: int | None) -> str:
    again = "" if major is None else " Or remove the embedded cluster's folder: it is made again, empty."
    if sys.platform == "darwin":
        formula = "postgresql@17" if major is None else f"postgresql@{major}"
        return f"Run `brew install {formula} postgis`.{again}"
    package = "postgis postgresql-postgis" if major is None else f"postgresql-{major}-postgis-3"
    return f"Run `make setup` as root, or `sudo apt-get install {package}`, or set FLUX_POSTGRES_URL.{again}"
