"""The UI as `make ui` starts it and `make down` stops it, on a FLUX_HOME of its own with a sample city.

Here: starting, waiting for it, ending all of it. Not here: the browser (browser.py).
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg

from flux_assets.sample.cluster import Cluster
from flux_assets.sample.stand_in.server import StandIn
from flux_assets.settings import REPOSITORY

# Below the folder whose leftovers of killed sessions `make down` stops.
OWN = REPOSITORY / ".flux" / "tests" / str(os.getpid())
PATIENCE = 180  # seconds to start, and to stop


@dataclass(frozen=True)
class Place:
    """Where the UI listens, its FLUX_HOME, and the release that it loads."""

    address: str
    home: Path

    @property
    def release(self) -> Path:
        return self.home / "release"

    @property
    def environment(self) -> dict[str, str]:
        """Nobody's settings but those of this place."""
        own = {
            "FLUX_HOME": str(self.home), "FLUX_ENV_FILE": "", "FLUX_RELEASE": str(self.release),
            "DAGSTER_HOME": str(REPOSITORY), "DAGSTER_DISABLE_TELEMETRY": "1", "PYTHONWARNINGS": "ignore",
            "UI_PORT": self.address.rpartition(":")[2],
        }  # fmt: skip
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("FLUX_", "PG", "SNOWFLAKE_"))}
        return kept | own

    @property
    def process(self) -> int:
        """The process that `make ui` became; it leads the group of all that was started with it."""
        return int((self.home / "ui.pid").read_text())

    def run(self, program: str, *arguments: str | Path) -> None:
        """Run a program of the environment to its end."""
        command = [Path(sys.executable).parent / program, *arguments]
        subprocess.run(command, env=self.environment, cwd=self.home, check=True, stdout=subprocess.DEVNULL)

    def sql(self, query: str) -> list[tuple]:
        with psycopg.connect(Cluster(self.home).conninfo()) as connection:
            return connection.execute(query).fetchall()


@contextmanager
def opened(*, scale: float, within: Path = OWN) -> Iterator[Place]:
    """Webserver, daemon and simulation over a release of the sample city; all of it is gone afterwards."""
    place = Place(f"http://127.0.0.1:{_free_port()}", within)
    place.home.mkdir(parents=True, exist_ok=True)
    place.run("flux-assets", "sample", "--scale", str(scale), "--out", place.release)
    log = place.home / "ui.log"
    with log.open("w") as output:
        started = subprocess.Popen(
            [REPOSITORY / "scripts" / "ui.sh"], env=place.environment, stdin=subprocess.DEVNULL, stdout=output,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        _wait(place, started, log)
        yield place
    finally:
        _stop(place, started)


def _wait(place: Place, started: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if started.poll() is not None:
            raise RuntimeError(f"the UI ended by itself:\n{log.read_text()[-3000:]}")
        with suppress(OSError), urllib.request.urlopen(f"{place.address}/server_info", timeout=5):
            return
        time.sleep(0.2)
    raise RuntimeError(f"the UI did not answer within {PATIENCE} s:\n{log.read_text()[-3000:]}")


def _stop(place: Place, started: subprocess.Popen) -> None:
    try:
        subprocess.run([REPOSITORY / "scripts" / "down.sh"], env=place.environment, check=True, timeout=PATIENCE)
        started.wait(timeout=PATIENCE)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        StandIn(place.home).stop()
        Cluster(place.home).remove()
        shutil.rmtree(place.home, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
