"""`make map` over some database: started as its script starts it, asked over HTTP, stopped as by Ctrl-C."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from flux_assets.settings import REPOSITORY

PATIENCE = 120


@contextmanager
def served(environment: Mapping[str, str]) -> Iterator[str]:
    """The map's address, for as long as the block lasts; it has to end well."""
    address = f"http://127.0.0.1:{_free_port()}"
    started = subprocess.Popen(
        [REPOSITORY / "scripts" / "map.sh"],
        env={**environment, "MAP_PORT": address.rpartition(":")[2]},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        _wait(address, started)
        yield address
        os.killpg(started.pid, signal.SIGINT)
        printed, _ = started.communicate(timeout=PATIENCE)
        assert "Traceback" not in printed, printed
    finally:
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.communicate()


def get(address: str) -> bytes:
    """What is answered; HTTPError for a refusal."""
    with urllib.request.urlopen(address, timeout=PATIENCE) as answer:
        return answer.read()


def _wait(address: str, started: subprocess.Popen) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if started.poll() is not None:
            raise RuntimeError(f"the map ended by itself:\n{started.communicate()[0][-3000:]}")
        with suppress(OSError):
            get(f"{address}/tables")
            return
        time.sleep(0.1)
    raise RuntimeError("the map did not answer")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
