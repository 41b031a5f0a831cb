"""One CSV record at a time, exactly as PostgreSQL reads it: its fields, NULL apart from the empty string."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from flux_assets.errors import Place, RecordError

# Possessive: going back over the quotes of a long value would keep a note of each.
_FIELD = re.compile(rb'"((?:[^"]++|"")*+)"|([^",\r\n]*+)')
_SHOWN = 200
_SLICE = 1 << 20  # bytes whose quotes are listed at a time


class MalformedError(ValueError):
    """Text that is not a CSV record; `start` is where the field begins and `column` its index."""

    def __init__(self, problem: str, start: int, column: int) -> None:
        self.start, self.column = start, column
        super().__init__(problem)


@dataclass(frozen=True, slots=True)
class Field:
    """One value as text, None for NULL (nothing between the commas, not even quotes)."""

    value: bytes | None
    start: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """Whole records of a file, and their place in it: line and record number of the first byte."""

    file: str
    names: tuple[str, ...]
    data: bytes
    line: int
    record: int

    def error_at(self, position: int, problem: str, remedy: str) -> RecordError:
        """Return the error of the field that holds the byte at `position`, with line, record, column and value."""
        starts = record_starts(self.data)
        index = int(np.searchsorted(starts, position, side="right")) - 1
        start = int(starts[index])
        column, begin, value = _field_at(self.data[start:], position - start, len(self.names))
        return RecordError(
            Place(
                file=self.file,
                line=self.line + self.data.count(b"\n", 0, start + begin),
                record=self.record + index,
                column=self.names[column] if column < len(self.names) else None,
                value=value,
            ),
            problem,
            remedy,
        )


def fields(record: bytes, most: int) -> list[Field]:
    """Return the first `most` fields of the record that `record` begins with; what follows its line end is ignored.

    Raises MalformedError for quotes that CSV readers would take differently.
    """
    return list(islice(_walked(record), most))


def _walked(record: bytes) -> Iterator[Field]:
    position, index = 0, 0
    while True:
        start = position
        match = _FIELD.match(record, start)
        quoted = match is not None and match[1] is not None
        if match is None or (not quoted and record[start : start + 1] == b'"'):
            raise MalformedError("a quote opens here and never closes", start, index)
        position = match.end()
        after = record[position : position + 1]
        ended = after in (b"", b"\n") or record[position : position + 2] in (b"\r\n", b"\r")
        if after != b"," and not ended:
            raise MalformedError(_ODD_TEXT[quoted, after == b"\r"], start, index)
        yield Field(match[1].replace(b'""', b'"') if quoted else match[2] or None, start)
        if ended:
            return
        position += 1
        index += 1


_ODD_TEXT = {
    (False, False): "a quote is inside an unquoted value",
    (True, False): "text follows the closing quote",
    (False, True): "a carriage return is inside an unquoted value",
    (True, True): "a carriage return follows the closing quote",
}


def as_csv(values: Iterable[bytes | None]) -> bytes:
    """Write these values as a record, without its line end; None is NULL."""
    return b",".join(b"" if value is None else b'"' + value.replace(b'"', b'""') + b'"' for value in values)


def record_starts(data: bytes) -> npt.NDArray[np.int64]:
    """Return the offsets at which the records of `data` begin: after every newline outside quotes."""
    ends = boundaries(data) + 1
    inner = ends[ends < len(data)]
    return np.concatenate([np.zeros(1, np.int64), inner])


def boundaries(data: bytes, *, quoted: bool = False) -> npt.NDArray[np.int64]:
    """Return the offsets of the newlines of `data` outside quotes; `quoted` says that it begins inside them."""
    return np.concatenate([np.zeros(0, np.int64), *_outside(data, b"\n", quoted=quoted)])


def count_fields(record: bytes) -> int:
    """Return the number of fields of a whole record."""
    return 1 + sum(commas.size for commas in _outside(record, b","))


def _outside(data: bytes, sign: bytes, *, quoted: bool = False) -> Iterator[npt.NDArray[np.int64]]:
    """Yield offsets of a byte outside quotes, slice by slice, since a list of all quotes is eight times as large."""
    view = np.frombuffer(data, np.uint8)
    for start in range(0, len(data), _SLICE):
        part = view[start : start + _SLICE]
        quotes, signs = np.flatnonzero(part == 34), np.flatnonzero(part == sign[0])
        yield start + signs[(np.searchsorted(quotes, signs) + quoted) & 1 == 0]
        quoted ^= bool(quotes.size & 1)


def has_blank_record(data: bytes) -> bool:
    """Return whether one of the records is an empty line."""
    first = np.frombuffer(data, np.uint8)[record_starts(data)]
    return bool(((first == 10) | (first == 13)).any())


def _field_at(record: bytes, position: int, most: int) -> tuple[int, int, str | None]:
    """Return index, start and text of the field of `record` that holds the byte at `position`.

    All beyond `most` fields counts as part of the one that follows them.
    """
    found: list[Field] = []
    try:
        for field in islice(_walked(record), most + 1):
            if field.start > position:
                break
            found.append(field)
    except MalformedError as error:
        if error.start <= position:
            return error.column, error.start, record[error.start : error.start + _SHOWN].decode(errors="replace")
    value = found[-1].value
    return len(found) - 1, found[-1].start, None if value is None else value.decode(errors="replace")
