"""Quarantine: records that are not acceptable are taken out of a file, up to a limit, and kept with the reason."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pyarrow as pa

from flux_assets.errors import QuarantineError, RecordError
from flux_assets.release.decode.blocks import Block
from flux_assets.release.decode.columns import SuspectError
from flux_assets.release.decode.faults import fault_in, refused
from flux_assets.release.decode.parse import Judged, Reader, Records

Probe = Callable[[pa.RecordBatch], Sequence[tuple[int, str | None, str]]]
"""Tries a batch on its target; returns index, column and reason of each row that is refused there."""


class Quarantine:
    """Takes refused records out, at most `limit` of them; more raise QuarantineError.

    `taken` hands them over; `count` is their number so far. With a `probe`, what it refuses is taken out too.
    """

    def __init__(self, limit: int, probe: Probe | None = None) -> None:
        self._limit, self._probe = limit, probe
        self._waiting: deque[tuple[Block, RecordError]] = deque()
        self._columns: Counter[str] = Counter()
        self.count = 0

    def __call__(self, parser: Reader[Any], block: Records) -> Judged:
        """Return the acceptable rows of a block."""
        with suppress(pa.ArrowInvalid, SuspectError):
            judged = parser.decoded(block)
            if self._probe is None or not self._probe(judged[0]):
                return judged
        faults = dict(refused(block, parser))
        while True:
            try:
                batch, facts = parser.decoded(block.without(faults))
            except (pa.ArrowInvalid, SuspectError):
                raise fault_in(block, parser, faults) from None
            more = self._probe(batch) if self._probe and batch.num_rows else ()
            if not more:
                break
            kept = [index for index in range(block.records) if index not in faults]
            faults |= {kept[row]: block.error_of(kept[row], reason, column=column) for row, column, reason in more}
        for index in sorted(faults):
            self._take(block.part(index, index + 1).text(), faults[index])
        return batch, facts

    def taken(self) -> list[tuple[Block, RecordError]]:
        """Return the records taken out since the last call, each with its error."""
        return [self._waiting.popleft() for _ in range(len(self._waiting))]  # another thread may be adding to them

    def _take(self, record: Block, error: RecordError) -> None:
        self._columns[error.place.column or "the record as a whole"] += 1
        self.count += 1
        if self.count > self._limit:
            columns = ", ".join(f"{column} {count:,}" for column, count in self._columns.most_common(5))
            raise QuarantineError(
                f"{record.file}: more than {self._limit:,} records are refused, and no more may go into quarantine"
                f" (so far by column: {columns}). The last of them: {_described(record, error)}",
                "Fix the file and reload, or raise FLUX_QUARANTINE_LIMIT. Those before it are listed in"
                " postgres_sync.quarantine until the next load.",
            )
        self._waiting.append((record, error))


def _described(record: Block, error: RecordError) -> str:
    place = replace(error.place, line=error.place.line or record.line or None, value=None)
    return f"{place}: {error.reason}"
