"""The UI of a FLUX_HOME of the tests' own, opened in a real browser.

Here: the tiny release, the UI as `make ui` starts it and `make down` stops it, the browser, and pictures of failures.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from browser import Browser, browser

from flux_assets.embedded.cluster import Cluster
from flux_assets.embedded.stand_in.server import StandIn
from flux_assets.settings import REPOSITORY

# Below the folder whose leftovers of killed sessions `make down` stops.
HOME = REPOSITORY / ".flux" / "tests" / str(os.getpid())
PICTURES = REPOSITORY / ".flux" / "ui-failures"
STARTS_WITHIN = 120


@dataclass(frozen=True)
class Place:
    """Where the UI listens, and where the release lies that it loads."""

    address: str
    release: Path
    home: Path

    def sql(self, query: str) -> list[tuple]:
        with psycopg.connect(Cluster(self.home).conninfo()) as connection:
            return connection.execute(query).fetchall()


@pytest.fixture(scope="session")
def ui() -> Iterator[Place]:
    """Webserver, daemon and simulation, as `scripts/ui.sh` starts them; all of it is gone afterwards."""
    place = Place(f"http://127.0.0.1:{_free_port()}", HOME / "release", HOME)
    HOME.mkdir(parents=True)
    environment = os.environ | {
        "FLUX_HOME": str(HOME), "FLUX_ENV_FILE": "", "FLUX_RELEASE": str(place.release),
        "UI_PORT": place.address.rpartition(":")[2], "DAGSTER_DISABLE_TELEMETRY": "1",
    }  # fmt: skip
    command = [str(Path(sys.executable).parent / "flux-assets"), "sample", "--scale", "0.005", "--out", place.release]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    log = HOME / "ui.log"
    with log.open("w") as output:
        started = subprocess.Popen(
            [REPOSITORY / "scripts" / "ui.sh"], env=environment, stdin=subprocess.DEVNULL, stdout=output,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        _wait_for(place, started, log)
        yield place
    finally:
        _stop(started, environment)


@pytest.fixture
def window(ui: Place, request: pytest.FixtureRequest) -> Iterator[Browser]:
    """A fresh browser; what it showed last is kept when the test fails."""
    with browser(ui.address) as window:
        yield window
        if getattr(request.node, "failed", False):
            file = PICTURES / f"{request.node.name}.png"
            window.picture(file)
            file.with_suffix(".txt").write_text(f"{window.path}\n\n{window.words()}")
            request.node.add_report_section("teardown", "browser", f"What it showed: {file}")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Tells the fixture how its test ended."""
    outcome = yield
    if call.when == "call":
        item.failed = outcome.get_result().failed


def _wait_for(place: Place, started: subprocess.Popen, log: Path) -> None:
    def answers() -> bool:
        assert started.poll() is None, f"the UI ended by itself:\n{log.read_text()[-3000:]}"
        with suppress(OSError), urllib.request.urlopen(f"{place.address}/server_info", timeout=5):
            return True
        return False

    _until(answers, f"the UI did not answer within {STARTS_WITHIN} s; see {log}")


def _stop(started: subprocess.Popen, environment: dict[str, str]) -> None:
    try:
        subprocess.run([REPOSITORY / "scripts" / "down.sh"], env=environment, check=True, timeout=STARTS_WITHIN)
        started.wait(timeout=STARTS_WITHIN)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        StandIn(HOME).stop()
        Cluster(HOME).remove()
        subprocess.run(["rm", "-rf", HOME], check=True)


def _until(done: Callable[[], bool], otherwise: str) -> None:
    end = time.monotonic() + STARTS_WITHIN
    while not done():
        assert time.monotonic() < end, otherwise
        time.sleep(0.2)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
