"""A process that syncs made-up work orders and says how much it grew: `python -m bench.sync_memory_probe ROWS CHANGES`.

FLUX_BENCH_TARGET holds the conninfo. Everything that a sync imports is imported before the size is taken.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from bench import sync_ours
from bench.memory_probe import status
from bench.sync_orders import Made
from flux_assets.postgis.connect import Target


def main() -> None:
    made = Made(int(sys.argv[1]), int(sys.argv[2]))
    target = Target(conninfo=os.environ["FLUX_BENCH_TARGET"])
    for _ in made.batches():  # what making the rows costs is no growth of the sync
        pass
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak that importing reached
    found = sync_ours.sync_fed(made.batches, target)
    written = found.inserted + found.updated + found.deleted
    print(json.dumps({"before": before, "peak": status("VmHWM"), "rows": found.rows, "written": written}))


if __name__ == "__main__":
    main()
