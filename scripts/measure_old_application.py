"""Measure the old application's queries on the embedded database, of which the median of seven is printed.

`FLUX_HOME=… python -m scripts.measure_old_application`, once layers are loaded and tables synced.
"""

from __future__ import annotations

import statistics
import time

from psycopg import sql

from flux_assets.settings import load_settings
from flux_assets.wiring.target import postgis_target
from flux_assets_tests.clients.old_queries import FRAMES, LISTS, PATH, RADII, WHERE

TIMES = 7


def main() -> None:
    """Print a line a query."""
    with postgis_target(load_settings()).session("measure") as session:
        session.execute(sql.SQL("SET search_path = " + PATH))
        for name, query in (FRAMES | RADII | LISTS).items():
            taken = []
            for _ in range(TIMES):
                begun = time.perf_counter()
                rows = session.execute(sql.SQL(query), WHERE).fetchall()
                taken.append(1000 * (time.perf_counter() - begun))
            print(f"{name:28} {len(rows):>6,} rows {statistics.median(taken):8.1f} ms")


if __name__ == "__main__":
    main()
