"""QGIS, without a display: it opens, counts, reads and draws every layer, also all through publishes and syncs."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from threading import Lock

import pytest
from psycopg.conninfo import conninfo_to_dict

from flux_assets.spec import geometry_kind
from flux_assets.tables import layers
from flux_assets_tests.clients.moving import FAULTS, POLES, Moving, Reader, follow

pytestmark = pytest.mark.clients

PYTHON = "/usr/bin/python3"  # Debian's, which python3-qgis is for


class Qgis:
    """One QGIS, which is asked one question after the other."""

    def __init__(self, process: subprocess.Popen, address: dict[str, str]) -> None:
        self._process, self._address, self._lock = process, address, Lock()

    def look(self, *layers: dict[str, str]) -> dict[str, dict]:
        with self._lock:
            self._process.stdin.write(json.dumps({"address": self._address, "layers": layers}) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())


@pytest.fixture
def qgis(cluster, database, tmp_path) -> Iterator[Qgis]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "PYTHON"))}
    environment = plain | {"QT_QPA_PLATFORM": "offscreen", "HOME": str(tmp_path)}
    command = [PYTHON, Path(__file__).with_name("qgis_client.py")]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Qgis(process, conninfo_to_dict(cluster.tcp_url(database)))
        finally:
            process.stdin.close()
            process.wait(60)


def layer(table: str, key: str, kind: str, column: str) -> dict[str, str]:
    return {"table": table, "key": key, "kind": kind, "column": column}


def test_every_layer_is_opened_counted_read_and_drawn(city, qgis: Qgis, sql):
    asked = [
        layer(table.name, table.key[0], geometry_kind(table.table.c.geom), table.key[0])
        for table in layers()
        if table.spatial_columns
    ]
    found = qgis.look(*asked)
    for name, answer in found.items():
        kind = next(each["kind"] for each in asked if each["table"] == name)
        [(rows,)] = sql(f"SELECT count(*) FROM {name}")
        assert "error" not in answer, (name, answer)
        # A layer of mixed kinds is as many layers in QGIS; of one kind it reads those.
        if kind != "GEOMETRY":
            assert (answer["counted"], answer["read"]) == (rows, rows), name
            assert answer["colours"] > 1, name


def test_layers_through_ten_publishes_and_syncs(moving: Moving, qgis: Qgis):
    drawn = set()

    def read(table: str, key: str, column: str, factor: int) -> tuple[int, set[int]]:
        answer = qgis.look(layer(table, key, "POINT", column))[table]
        drawn.add(answer["colours"] > 1)
        assert answer["counted"] == answer["read"]
        return answer["read"], {round(value * factor) for value in answer["values"]}

    follow(
        moving,
        Reader(lambda: read("poles", "id", "score", 100), POLES),
        Reader(lambda: read("faults", "fault_id", "homes", 1), FAULTS),
    )
    assert drawn == {True}
