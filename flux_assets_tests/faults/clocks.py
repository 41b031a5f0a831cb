"""This side's clock, put forward or back: what a machine whose time is wrong makes of a run."""

from __future__ import annotations

import datetime as real
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def shifted(by: real.timedelta) -> Iterator[None]:
    """Let every module of the product see a time of day that is off by so much; durations stay right."""
    if not by:
        yield
        return

    class Shifted(real.datetime):
        @classmethod
        def now(cls, tz: real.tzinfo | None = None) -> real.datetime:
            return real.datetime.now(tz) + by

    plain = time.time
    users = [
        module
        for name, module in sys.modules.items()
        if name.startswith("flux_assets.") and getattr(module, "datetime", None) is real.datetime
    ]
    assert users
    for module in users:
        module.datetime = Shifted  # type: ignore[attr-defined]
    time.time = lambda: plain() + by.total_seconds()
    try:
        yield
    finally:
        time.time = plain
        for module in users:
            module.datetime = real.datetime  # type: ignore[attr-defined]
