"""A defect of fakesnow 0.12 mended: a time that is NULL reached the connector as 1970-01-01.

Here: the one function of fakesnow that is replaced. Not here: starting its server (daemon.py). fakesnow is imported by
those who call this, never by importing the module.
"""

from __future__ import annotations

from typing import Any


def mend() -> None:
    """Let NULL times be NULL. Once in the process that runs fakesnow's server; a second time does nothing."""
    import fakesnow.arrow
    import pyarrow as pa

    its_module: Any = fakesnow.arrow
    plain: Any = its_module.timestamp_to_sf_struct
    if getattr(plain, "mended", False):
        return

    def with_nulls(times: Any) -> Any:  # noqa: ANN401 - fakesnow's signature, passed on
        whole = times.combine_chunks() if isinstance(times, pa.ChunkedArray) else times
        struct = plain(whole)
        parts = [part.fill_null(0) for part in struct.flatten()]
        return pa.StructArray.from_arrays(parts, fields=list(struct.type), mask=whole.is_null())

    with_nulls.mended = True  # type: ignore[attr-defined]
    its_module.timestamp_to_sf_struct = with_nulls
