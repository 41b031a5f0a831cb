"""What happens to single records that are not acceptable: an error, quarantine up to a limit, or left out by number."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import pyarrow as pa

from flux_assets.errors import QuarantineError, RecordError
from flux_assets.release.decode.blocks import Block, Text, record_starts
from flux_assets.release.decode.columns import SuspectError
from flux_assets.release.decode.faults import described, explained, fault_in
from flux_assets.release.decode.parse import LayerFacts, Parser, delivered_schema

_Judged = tuple[pa.RecordBatch, LayerFacts]
Probe = Callable[[pa.RecordBatch], Sequence[tuple[int, str | None, str]]]
"""Tries a batch on its target; returns index, column and reason of each row that is refused there."""


class Sieve(Protocol):
    """Decides which records of a block are accepted."""

    def judged(self, parser: Parser, raw: pa.RecordBatch, block: Block) -> _Judged:
        """Return the acceptable rows of a block that Arrow has read as `raw`."""

    def sifted(self, parser: Parser, block: Block) -> _Judged:
        """Return the acceptable rows of any block, whether or not Arrow refused it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """A record that was not accepted, its place in the file, and why. `names` are the header's."""

    file: str
    line: int
    record: int
    column: str | None
    reason: str
    raw: bytes
    names: tuple[str, ...]

    def __str__(self) -> str:
        column = f", column {self.column}" if self.column else ""
        return f"{self.file}, line {self.line}{column}: {self.reason}"


class Strict:
    """Accepts every record; the first that is not acceptable raises RecordError."""

    def judged(self, parser: Parser, raw: pa.RecordBatch, block: Block) -> _Judged:
        try:
            return parser.judged(raw, block)
        except SuspectError:
            return self.sifted(parser, block)

    def sifted(self, parser: Parser, block: Block) -> _Judged:
        try:
            return parser.decoded(block.text, block.records)
        except (pa.ArrowInvalid, SuspectError) as error:
            raise fault_in(block, parser, str(error)) from None


class Quarantine:
    """Takes refused records out, at most `limit` of them; more raise QuarantineError.

    `taken` hands them over; `count` is their number so far. With a `probe`, what it refuses is taken out too.
    """

    def __init__(self, limit: int, probe: Probe | None = None) -> None:
        self._limit, self._probe = limit, probe
        self._waiting: deque[Refused] = deque()
        self._columns: Counter[str] = Counter()
        self.count = 0

    def judged(self, parser: Parser, raw: pa.RecordBatch, block: Block) -> _Judged:
        try:
            found = parser.judged(raw, block)
        except SuspectError:
            return self.sifted(parser, block)
        return self.sifted(parser, block) if self._probe and self._probe(found[0]) else found

    def sifted(self, parser: Parser, block: Block) -> _Judged:
        records = Records(block.text)
        faults = dict(refused(records, parser))
        while True:
            try:
                batch, facts = _decoded(records, parser, faults)
            except (pa.ArrowInvalid, SuspectError) as error:
                raise fault_in(block, parser, str(error)) from None
            more = self._probe(batch) if self._probe and batch.num_rows else ()
            if not more:
                break
            kept = [index for index in range(len(records)) if index not in faults]
            faults |= {kept[row]: records.error(kept[row], column, reason) for row, column, reason in more}
        for index in sorted(faults):
            self._take(records.part(index, index + 1), faults[index])
        return batch, facts

    def taken(self) -> list[Refused]:
        """Return what was taken out since the last call."""
        return [self._waiting.popleft() for _ in range(len(self._waiting))]

    def _take(self, text: Text, error: RecordError) -> None:
        found = _as_refused(text, error)
        self._columns[found.column or "the record as a whole"] += 1
        self.count += 1
        if self.count > self._limit:
            columns = ", ".join(f"{column} {count:,}" for column, count in self._columns.most_common(5))
            raise QuarantineError(
                f"{text.file}: more than {self._limit:,} records are refused, and no more may go into quarantine"
                f" (so far by column: {columns}). The last of them: {found}",
                "Fix the file and reload, or raise FLUX_QUARANTINE_LIMIT. Those before it are listed in"
                " postgres_sync.quarantine until the next load.",
            )
        self._waiting.append(found)


class LeftOut:
    """Reads a file without the records of these numbers; any other one that is not acceptable raises RecordError."""

    def __init__(self, records: Collection[int]) -> None:
        self._records = np.array(sorted(records), np.int64)

    def judged(self, parser: Parser, raw: pa.RecordBatch, block: Block) -> _Judged:
        if not self._within(block):
            try:
                return parser.judged(raw, block)
            except SuspectError:
                pass
        return self.sifted(parser, block)

    def sifted(self, parser: Parser, block: Block) -> _Judged:
        records, left_out = Records(block.text), self._within(block)
        try:
            return _decoded(records, parser, left_out)
        except (pa.ArrowInvalid, SuspectError):
            faults = (error for index, error in refused(records, parser) if index not in left_out)
            raise next(faults, None) or fault_in(block, parser, "") from None

    def _within(self, block: Block) -> frozenset[int]:
        low, high = np.searchsorted(self._records, [block.record, block.record + block.records])
        return frozenset((self._records[low:high] - block.record).tolist())


class Records:
    """The records of a text, each with its place in the file."""

    def __init__(self, text: Text) -> None:
        self._text = text
        self._bounds = [*record_starts(text.data).tolist(), len(text.data)]
        self._newlines = np.flatnonzero(np.frombuffer(text.data, np.uint8) == 10)

    def __len__(self) -> int:
        return len(self._bounds) - 1

    def part(self, low: int, high: int) -> Text:
        """Return the records from `low` to before `high`."""
        start = self._bounds[low]
        line = self._text.line + int(np.searchsorted(self._newlines, start))
        data = self._text.data[start : self._bounds[high]]
        return replace(self._text, data=data, line=line, record=self._text.record + low)

    def without(self, left_out: Collection[int]) -> tuple[Text, int]:
        """Return all other records and their number; the line is that of the first record."""
        kept = [index for index in range(len(self)) if index not in left_out]
        data = b"".join(self._text.data[self._bounds[index] : self._bounds[index + 1]] for index in kept)
        return replace(self._text, data=data), len(kept)

    def error(self, index: int, column: str | None, reason: str) -> RecordError:
        """Return the error of one record that another reader refuses, at a column where it named one."""
        text = self.part(index, index + 1)
        return described(text, 0, column, reason, "")


def refused(
    records: Records, parser: Parser, low: int = 0, high: int | None = None
) -> Iterator[tuple[int, RecordError]]:
    """Yield index and error of every record that `parser` refuses, found by halving what is refused together."""
    high = len(records) if high is None else high
    part = records.part(low, high)
    try:
        parser.decoded(part, high - low)
    except (pa.ArrowInvalid, SuspectError) as error:
        reason = str(error) or "a value is not acceptable"
    else:
        return
    if high - low == 1:
        yield low, explained(part, 0, len(part.data), parser, reason)
        return
    middle = (low + high) // 2
    yield from refused(records, parser, low, middle)
    yield from refused(records, parser, middle, high)


def _as_refused(text: Text, error: RecordError) -> Refused:
    """Return what is kept of a refused record, which is all of `text`."""
    return Refused(
        file=text.file,
        line=text.line if error.place.line is None else error.place.line,
        record=text.record,
        column=error.place.column,
        reason=error.problem.removeprefix(f"{error.place}: "),
        raw=text.data.removesuffix(b"\n").removesuffix(b"\r"),
        names=text.names,
    )


def _decoded(records: Records, parser: Parser, left_out: Collection[int]) -> _Judged:
    text, count = records.without(left_out)
    if count:
        return parser.decoded(text, count)
    return pa.RecordBatch.from_pylist([], schema=delivered_schema(parser.columns)), LayerFacts()
