"""tipg, a tile server as it is, in front of tables that move on: no tile fails, is empty, or mixes versions."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from math import asinh, pi, radians, tan

import pyogrio
import pytest

from flux_assets_tests.clients.moving import FAULTS, POLES, Moving, Reader, follow
from flux_assets_tests.mapped import PATIENCE, get

ZOOM = 8


def tile(longitude: float, latitude: float) -> str:
    """The tile that holds the position."""
    x = (longitude + 180) / 360
    y = (1 - asinh(tan(radians(latitude))) / pi) / 2
    return f"{ZOOM}/{int(x * 2**ZOOM)}/{int(y * 2**ZOOM)}"


HERE = tile(10.01, 50.01)


@pytest.fixture
def tiles(moving: Moving, cluster, database) -> Iterator[str]:
    """The server's address; it reads as the role of map applications."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"DATABASE_URL": f"{cluster.tcp_url(database)}?role=flux_reader"}
    command = [sys.executable, "-m", "uvicorn", "tipg.main:app", "--port", str(port), "--log-level", "warning"]
    with subprocess.Popen(command, env=environment) as server:
        try:
            address = f"http://127.0.0.1:{port}"
            end = time.monotonic() + PATIENCE
            while time.monotonic() < end:
                with suppress(OSError):
                    get(f"{address}/healthz")
                    break
                assert server.poll() is None
                time.sleep(0.05)
            yield address
        finally:
            server.terminate()


def read(address: str, table: str, column: str, factor: int) -> tuple[int, set[int]]:
    """How many features the tile of the table has, and of which versions."""
    body = get(f"{address}/collections/public.{table}/tiles/WebMercatorQuad/{HERE}?properties={column}")
    _, _, _, (versions,) = pyogrio.raw.read(BytesIO(body), columns=[column], read_geometry=False)
    return len(versions), {round(value * factor) for value in versions.tolist()}


def test_tiles_through_ten_publishes_and_syncs(tiles: str, moving: Moving) -> None:
    follow(
        moving,
        Reader(lambda: read(tiles, "poles", "score", 100), POLES),
        Reader(lambda: read(tiles, "poles", "score", 100), POLES),
        Reader(lambda: read(tiles, "faults", "homes", 1), FAULTS),
    )
