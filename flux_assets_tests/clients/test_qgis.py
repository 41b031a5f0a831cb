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

from flux_assets.tables import declarations, views
from flux_assets_tests.clients.moving import FAULTS, POLES, Moving, Reader, follow

pytestmark = pytest.mark.clients

PYTHON = os.environ.get("QGIS_PYTHON", "/usr/bin/python3")  # Debian's, which python3-qgis is for


class Qgis:
    """One QGIS, which is asked one question after the other."""

    def __init__(self, process: subprocess.Popen, address: dict[str, str]) -> None:
        self._process, self._address, self._lock = process, address, Lock()

    def browse(self) -> list[dict[str, str]]:
        """What it lists."""
        return self._asked({})

    def look(self, *layers: dict[str, str]) -> list[dict]:
        """What it makes of each of the layers."""
        return self._asked({"layers": layers})

    def _asked(self, question: dict) -> list[dict]:
        with self._lock:
            self._process.stdin.write(json.dumps({"address": self._address} | question) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())


@pytest.fixture
def qgis(cluster, database, tmp_path) -> Iterator[Qgis]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "PYTHON"))}
    environment = plain | {"QT_QPA_PLATFORM": "offscreen", "HOME": str(tmp_path), "PGOPTIONS": "-c role=flux_reader"}
    command = [PYTHON, Path(__file__).with_name("qgis_client.py")]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Qgis(process, conninfo_to_dict(cluster.tcp_url(database)))
        finally:
            process.stdin.close()
            process.wait(60)


def test_every_layer_that_is_listed_is_opened_counted_read_and_drawn(city, qgis: Qgis, sql):
    listed = {(each["table"], each["geometry"]): each["key"] for each in qgis.browse()}
    assert all(
        listed[table.name, column.name] == table.key[0] for table in declarations() for column in table.spatial_columns
    )
    assert {view.name for view in views()} <= {table for table, _ in listed}
    for table, geometry in sorted(listed):
        if not geometry:
            continue
        # A layer of mixed kinds is as many layers in QGIS; MultiPolygons are polygons there.
        for dimension, rows in sql(f"SELECT ST_Dimension({geometry}::geometry), count(*) FROM {table} GROUP BY 1"):
            kind, key = ("POINT", "LINESTRING", "POLYGON")[dimension], listed[table, geometry]
            [answer] = qgis.look({"table": table, "geometry": geometry, "key": key, "kind": kind, "column": key})
            assert "error" not in answer, (table, answer)
            assert (answer["counted"], answer["read"]) == (rows, rows), table
            assert answer["colours"] > 1, table


def test_layers_through_ten_publishes_and_syncs(moving: Moving, qgis: Qgis):
    drawn = set()

    def read(table: str, key: str, column: str, factor: int) -> tuple[int, set[int]]:
        asked = {"table": table, "geometry": "geom", "key": key, "kind": "POINT", "column": column}
        [answer] = qgis.look(asked)
        drawn.add(answer["colours"] > 1)
        assert answer["counted"] == answer["read"]
        return answer["read"], {round(value * factor) for value in answer["values"]}

    follow(
        moving,
        Reader(lambda: read("poles", "id", "score", 100), POLES),
        Reader(lambda: read("faults", "fault_id", "homes", 1), FAULTS),
    )
    assert drawn == {True}
