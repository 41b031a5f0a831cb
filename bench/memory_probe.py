"""A process that loads one layer and says how much it grew: `python -m bench.memory_probe TABLE FOLDER`.

FLUX_BENCH_TARGET holds the conninfo. Everything that a load imports is imported before the size is taken.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from bench import ours
from bench.ground import opened
from flux_assets.postgis.connect import Target
from flux_assets.tables import static_tables


def main() -> None:
    table = next(table for table in static_tables() if table.name == sys.argv[1])
    release, target = opened(Path(sys.argv[2])), Target(conninfo=os.environ["FLUX_BENCH_TARGET"])
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak that importing reached
    result = ours.load(table, release, target)
    print(json.dumps({"before": before, "peak": status("VmHWM"), "rows": result.rows}))


def status(name: str) -> int:
    """Bytes of a line of /proc/self/status."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
