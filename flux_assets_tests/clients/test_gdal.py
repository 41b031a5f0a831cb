"""GDAL's ogrinfo and ogr2ogr, of the system's packages, as the role of map applications."""

from __future__ import annotations

import csv
import io
import json
import subprocess

import pytest

from flux_assets.tables import declarations
from flux_assets_tests.clients.moving import FAULTS, POLES, Moving, Reader, follow

pytestmark = pytest.mark.clients


def run(program: str, *arguments: str) -> str:
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=True)
    assert "ERROR" not in done.stderr, done.stderr
    return done.stdout


def test_tables_that_are_named_are_listed(moving: Moving, reader_url):
    """When it lists by itself, GDAL up to 3.6 leaves partitioned tables out, and asks nobody for rights."""
    address = f"PG:{reader_url('postgresql')}"
    listed = run("ogrinfo", "-ro", address, "-oo", "TABLES=public.poles,public.faults").splitlines()
    assert [line for line in listed if ": " in line and line[0].isdigit()] == [
        "1: poles (Point)", "2: faults (Point)",
    ]  # fmt: skip


def test_every_table_is_exported_whole(city, reader_url, sql):
    for table in declarations():
        written = run("ogr2ogr", "-f", "CSV", "/vsistdout/", f"PG:{reader_url('postgresql')}", table.name)
        [(rows,)] = sql(f"SELECT count(*) FROM {table.name}")
        assert len(list(csv.reader(io.StringIO(written)))) == rows + 1, table.name


def test_tables_are_exported_through_ten_publishes_and_syncs(moving: Moving, reader_url):
    def read(table: str, column: str, factor: int) -> tuple[int, set[int]]:
        written = run(
            "ogr2ogr", "-f", "GeoJSON", "/vsistdout/", f"PG:{reader_url('postgresql')}", table, "-select", column
        )
        features = json.loads(written)["features"]
        return len(features), {round(feature["properties"][column] * factor) for feature in features}

    follow(
        moving,
        Reader(lambda: read("poles", "score", 100), POLES),
        Reader(lambda: read("faults", "homes", 1), FAULTS),
    )
