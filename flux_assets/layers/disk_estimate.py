"""How much disk a load will need, before its first byte.

Here: the estimate and the refusal. Not here: what the server does when its disk is full all the same (faults.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import psycopg

from flux_assets.errors import LayerError
from flux_assets.layers import versions
from flux_assets.postgis.names import Layer
from flux_assets.words import megabytes

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
        return ", ".join(f"{name} {megabytes(size)}" for name, size in parts.items())


def estimate(connection: psycopg.Connection, layer: Layer, csv_bytes: int) -> Need:
    """The disk a load of that much CSV will take, with what the layer's versions hold now."""
    kept = sum(version.bytes or 0 for version in versions.versions(connection, layer))
    return need_of(csv_bytes, kept)


def need_of_copy(connection: psycopg.Connection, layer: Layer, size: int) -> Need:
    """The disk that another copy of a version of so many bytes, indexes included, will take."""
    kept = sum(version.bytes or 0 for version in versions.versions(connection, layer))
    return Need(stage=size, indexes=0, wal=size, kept=kept)


def need_of(csv_bytes: int, kept: int) -> Need:
    """The disk a load of that much CSV will take beside `kept` bytes of earlier versions."""
    return Need(round(csv_bytes * _HEAP), round(csv_bytes * _INDEXES), round(csv_bytes * _WAL), kept)


def refuse_above(layer: Layer, need: Need, limit_bytes: int | None) -> None:
    """Raise LayerError when the need is above the configured limit."""
    if limit_bytes is not None and need.total > limit_bytes:
        raise LayerError(
            f"{layer.title} needs about {megabytes(need.total)} of disk ({need}), more than FLUX_DISK_LIMIT"
            f" = {megabytes(limit_bytes)}.",
            "Raise FLUX_DISK_LIMIT, lower FLUX_KEEP_VERSIONS, or make room.",
        )
