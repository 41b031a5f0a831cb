"""Measure what 500 declared layers cost, or as many as the first argument says: prints the table of docs/scaling.md.

    scripts/isolated.sh .venv/bin/python scripts/measure_many_layers.py [COUNT]

Declarations, release, databases and the Snowflake stand-in are made in a folder of the script's own, and removed.
"""

from __future__ import annotations

import gzip
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_DECLARATION = '''"""A made-up layer."""

from geoalchemy2 import Geometry
from sqlalchemy import Column, Double, Index, MetaData, String, Table

from flux_assets.spec import StaticTable
from flux_assets.spec.facts import AcceptedValues, Position

TABLE = StaticTable(
    table=Table(
        "{name}",
        MetaData(),
        Column("id", String(20), primary_key=True, comment="Identifier."),
        Column("kind", String(20), comment="Kind."),
        Column("latitude", Double, comment="Latitude in degrees (EPSG:4326)."),
        Column("longitude", Double, comment="Longitude in degrees (EPSG:4326)."),
        Column("geom", Geometry("POINT", srid=4326, spatial_index=False), comment="Position."),
        Index("{name}_geom_idx", "geom", postgresql_using="gist"),
        comment="Made-up layer.",
    ),
    accepted=(AcceptedValues(column="kind", values=("A", "B")),),
    positions=(Position(longitude="longitude", latitude="latitude", same_as="geom"),),
    release_rows=20,
)
'''
_IMPORT = "import flux_assets.definitions as made; made.defs.get_repository_def()"
_SENSOR = """
import dagster as dg
from flux_assets.definitions import defs
from flux_assets.orchestration.commands import dagster_instance
made = defs.get_repository_def()
with dagster_instance() as instance, dg.build_sensor_context(instance, repository_def=made) as asked:
    print(defs.get_sensor_def("release_sensor")(asked))
"""


def make_layers(folder: Path, count: int) -> None:
    """Write declarations and a release of layers of twenty points."""
    for number in range(count):
        name = f"made_up_{number:04}"
        (folder / "tables" / f"{name}.py").write_text(_DECLARATION.format(name=name))
        with gzip.open(folder / "release" / f"{name}.csv.gz", "wt") as file:
            file.write("id,kind,latitude,longitude,geom\n")
            for row in range(20):
                x, y = -95 - row / 1000, 29 + row / 1000
                file.write(f"R{row},A,{y},{x},{struct.pack('<BIIdd', 1, 0x20000001, 4326, x, y).hex()}\n")


def measure(what: str, *command: str) -> None:
    """Run a command, and print its time, its processor time and its peak memory."""
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) not in {0, 1}:  # 1: not every table is as it should be
        sys.exit(f"{what} failed")
    seconds, busy = time.monotonic() - began, used.ru_utime + used.ru_stime
    print(f"| {what} | {seconds:.1f} s | {busy:.1f} s | {used.ru_maxrss / 1024:,.0f} MB |", flush=True)


def main() -> None:
    """Measure the project's own layers, then with the made-up ones."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    folder = Path(tempfile.mkdtemp(prefix="many-"))
    program, python = str(Path(sys.executable).with_name("flux-assets")), sys.executable
    try:
        for name in ("tables", "release", "home"):
            (folder / name).mkdir()
        os.environ |= {"FLUX_HOME": str(folder / "home"), "FLUX_RELEASE": str(folder / "release")}
        subprocess.run([program, "sample", "--scale", "0.01", "--out", folder / "release"], check=True)
        make_layers(folder, count)
        print("| | time | processor | memory |\n|---|---|---|---|")
        for more in (0, count):
            os.environ["FLUX_TABLES"] = str(folder / "tables") if more else ""
            for what, *command in (
                ("import", python, "-c", _IMPORT),
                ("`flux-assets load`", program, "load"),
                ("`flux-assets load`, nothing new", program, "load"),
                ("`flux-assets status`", program, "status"),
                ("`flux-assets doctor`", program, "doctor"),
                ("`release_sensor`, nothing new", python, "-c", _SENSOR),
            ):
                measure(f"{what}, {more} made-up layers", *command)
    finally:
        subprocess.run([program, "down"], check=False)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
