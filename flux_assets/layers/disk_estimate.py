"""How much disk a load will need, before its first byte.

Here: the estimate and the refusal. Not here: what the server does when its disk is full all the same (faults.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from flux_assets.errors import LayerError
from flux_assets.postgis.names import Layer

# Shares of the CSV's bytes, measured on all ten layers of the sample city (docs/performance.md): hexadecimal
# geometry halves, every row gains a header of about 28 bytes, indexes add a quarter to a half.
_HEAP, _INDEXES, _WAL = 0.9, 0.45, 1.35


@dataclass(frozen=True)
class Need:
    """Bytes a load will write (`stage` heap, `indexes`, `wal`) and bytes that kept versions hold already."""

    stage: int
    indexes: int
    wal: int
    kept: int

    @property
    def total(self) -> int:
        return self.stage + self.indexes + self.wal + self.kept

    def __str__(self) -> str:
        parts = {"stage": self.stage, "indexes": self.indexes, "WAL": self.wal, "kept versions": self.kept}
        return ", ".join(f"{name} {size / 1e6:,.0f} MB" for name, size in parts.items())


def need_of_copy(size: int, kept: int) -> Need:
    """Return the disk that another copy of a version of so many bytes, indexes included, takes beside `kept` bytes."""
    return Need(stage=size, indexes=0, wal=size, kept=kept)


def need_of(csv_bytes: int, kept: int) -> Need:
    """The disk a load of that much CSV will take beside `kept` bytes of earlier versions."""
    return Need(round(csv_bytes * _HEAP), round(csv_bytes * _INDEXES), round(csv_bytes * _WAL), kept)


def refuse_above(layer: Layer, need: Need, limit_bytes: int | None) -> None:
    """Raise LayerError when the need is above the configured limit."""
    if limit_bytes is not None and need.total > limit_bytes:
        raise LayerError(
            f"{layer.title} needs about {need.total / 1e6:,.0f} MB of disk ({need}), more than FLUX_DISK_LIMIT"
            f" = {limit_bytes / 1e6:,.0f} MB.",
            "Raise FLUX_DISK_LIMIT, lower FLUX_KEEP_VERSIONS, or make room.",
        )
