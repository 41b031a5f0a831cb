"""fakesnow sends a NULL time as 1970-01-01, and looks up the calendar for each time, which is slow.

A time is a count of units since 1970, so dividing is enough. Upstream: `timestamp_to_sf_struct` of
https://github.com/tekumara/fakesnow/blob/v0.12.1/fakesnow/arrow.py.
"""

from __future__ import annotations

from typing import Any

_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_UTC = 1440  # minutes, as Snowflake counts zones: from the day before


def patch() -> None:
    """Convert times by `times_as_structs`, in the process of fakesnow's server."""
    import fakesnow.arrow

    its_module: Any = fakesnow.arrow
    its_module.timestamp_to_sf_struct = times_as_structs


def times_as_structs(times: Any) -> Any:
    """Return Arrow timestamps, without a zone or in UTC, as Snowflake sends them: seconds, nanoseconds, zone."""
    import numpy as np
    import pyarrow as pa

    whole = times.combine_chunks() if isinstance(times, pa.ChunkedArray) else times
    units = _UNITS[whole.type.unit]
    seconds, rest = np.divmod(whole.cast(pa.int64()).fill_null(0).to_numpy(), units)
    parts = {"epoch": pa.array(seconds), "fraction": pa.array((rest * (10**9 // units)).astype(np.int32))}
    if whole.type.tz:
        parts["timezone"] = pa.array(np.full(len(whole), _UTC, np.int32))
    fields = [pa.field(name, part.type, nullable=False) for name, part in parts.items()]
    return pa.StructArray.from_arrays([*parts.values()], fields=fields, mask=whole.is_null())
