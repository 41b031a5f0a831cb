"""The machine and the programs that the figures belong to.

Here: cores, memory, versions, the date. Not here: the server's settings (ground.py asks it).
"""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version

import psutil


def facts() -> dict[str, str]:
    """What to say beside every figure."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cores": f"{os.cpu_count()}, shared by client and server",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{name: version(name) for name in ("dagster", "psycopg", "pyarrow")},
        "load average before": f"{os.getloadavg()[0]:.2f}",
    }
