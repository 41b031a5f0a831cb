"""Work orders as Arrow batches in the declared types, without any source.

Here: rows made a batch at a time, so that a million of them need no memory of their own; 1 % of them differ after each
`change`. Not here: the same in the stand-in's tables (sync_ends.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bench.sync_ours import schema

BATCH_ROWS = 65_536
_START = np.datetime64("2099-01-04T08:00:00", "us")


@dataclass
class Made:
    """A source's rows. After a change one in a thousand is gone, one is new and eight have another status and crew."""

    rows: int
    _changes: int = 0

    def change(self) -> None:
        self._changes += 1

    def batches(self) -> Iterator[pa.RecordBatch]:
        """In the order of the key."""
        first = self._changes * (self.rows // 1000)
        for start in range(first, first + self.rows, BATCH_ROWS):
            yield self._batch(np.arange(start, min(start + BATCH_ROWS, first + self.rows)))

    def _batch(self, numbers: np.ndarray) -> pa.RecordBatch:
        begun = _START + (numbers * 61 % 1_000_000).astype("timedelta64[s]")
        # As many changes ago as a row's turn came last.
        turn = numbers * 7 % 125
        moved = self._changes - (self._changes - turn) % 125
        columns = {
            "work_order_id": _numbered("WO-", numbers, 10),
            "work_order_type": _chosen(numbers, ["INSPECTION", "REPAIR", "REPLACEMENT"]),
            "priority": _chosen(numbers, ["HIGH", "LOW", "MEDIUM", "MEDIUM"]),
            "status": _chosen(numbers + np.maximum(moved, 0), ["OPEN", "ASSIGNED", "SCHEDULED", "IN_PROGRESS"]),
            "assigned_crew": _numbered("CREW ", np.maximum(moved, 0)),
            "circuit_id": _numbered("CKT-", numbers % 500),
            "substation_id": _numbered("SUB-", numbers % 60),
            "transformer_id": _numbered("TRF-", numbers * 37 % 100_000),
            "description": _numbered("Look at what the patrol noted at pole and replace what is worn ", numbers * 7919),
            "scheduled_start": pa.array(begun),
            "scheduled_end": pa.array(begun + np.timedelta64(4, "h")),
            "latitude": pa.array(29.5 + numbers * 7919 % 1_000_003 / 1_000_003),
            "longitude": pa.array(-95.8 + numbers * 104_729 % 1_000_003 / 1_000_003),
        }
        wanted = schema()
        empty = {field.name: pa.nulls(len(numbers), field.type) for field in wanted if field.name not in columns}
        return pa.record_batch([{**columns, **empty}[name] for name in wanted.names], schema=wanted)


def _numbered(prefix: str, numbers: np.ndarray, width: int = 0) -> pa.Array:
    digits = pc.utf8_lpad(pc.cast(pa.array(numbers), pa.string()), width, "0")
    return pc.binary_join_element_wise(prefix, digits, "")


def _chosen(numbers: np.ndarray, values: list[str]) -> pa.Array:
    return pa.array(values).take(pa.array(numbers % len(values)))
