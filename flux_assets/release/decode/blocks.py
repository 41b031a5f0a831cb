"""Plain bytes cut into blocks of whole CSV records, each with its place; their fields as PostgreSQL reads them."""

from __future__ import annotations

import re
from bisect import bisect_right
from codecs import BOM_UTF8
from collections.abc import Collection, Generator, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, islice, pairwise

import numpy as np
import numpy.typing as npt

from flux_assets.errors import Place, RecordError

LONGEST_RECORD = 16 << 20  # a geometry of half a million points
_Offsets = npt.NDArray[np.int64]
_LONGEST_HEADER = 1 << 20
_MOST_COLUMNS = 1600  # of a table in PostgreSQL
_SHOWN = 200
_SLICE = 1 << 20  # bytes whose quotes are listed at a time
_NEWLINE = 10
_NOWHERE = np.zeros(0, np.int64)
_BEFORE_VALUE, _AFTER_VALUE = (np.isin(np.arange(256), [*signs]) for signs in (b',\n"', b',\r\n"'))
_LINE_ENDS = "Lines end in a newline, or in a carriage return and a newline; quote a value that holds one."
_AS_COPY = "Double the quotes inside a value and close every quoted value, as COPY … WITH (FORMAT csv) writes it."
_ODD_QUOTE = "a quote is neither at the start nor at the end of a value."
# Possessive: going back over the quotes of a long value would keep a note of each.
_FIELD = re.compile(rb'"((?:[^"]++|"")*+)"|([^",\r\n]*+)')


class _MalformedError(ValueError):
    """Text that is not a CSV record; `start` is where the field begins and `column` its index."""

    def __init__(self, problem: str, start: int, column: int) -> None:
        self.start, self.column = start, column
        super().__init__(problem)


@dataclass(frozen=True, kw_only=True)
class Block:
    """Whole records of a file: `line` (the header is in line 1) and `record` (the header is record 0) are the first's.

    Line 0 says that the file has no lines of text. `names` are the header's, `records` counts the records.
    """

    file: str
    names: tuple[str, ...]
    data: bytes
    line: int
    record: int
    records: int

    @staticmethod
    def fields(record: bytes, most: int) -> list[bytes | None]:
        """Return the first `most` values, None for NULL, of the record with which `record` begins.

        NULL is nothing between the commas, not even quotes. Raises ValueError for quotes that CSV readers would take
        differently.
        """
        return [value for _, value in islice(_walked(record), most)]

    @staticmethod
    def cut(pieces: Iterator[bytes], file: str) -> Generator[Block, None, None]:
        """Cut `pieces` of a file's text into blocks, the first of which has no records: it tells the header.

        Raises RecordError for a header that cannot be read, a record longer than LONGEST_RECORD, a quote that never
        closes, and text that readers would take differently or PostgreSQL not at all.
        """
        header, more = _take_header(pieces, file)
        yield header
        cutter = _Cutter(header)
        for piece, following in pairwise(filter(None, chain([more], pieces, [b"\n"]))):
            yield from cutter.cut(piece, following[0])
        yield from cutter.rest()

    @property
    def shape(self) -> object:
        """What parts of a file have in common: the names in their order."""
        return self.names

    @property
    def nbytes(self) -> int:
        return len(self.data)

    def text(self) -> Block:
        """Return the records as text, which they are."""
        return self

    @cached_property
    def _bounds(self) -> list[int]:
        """Where the records begin: after every newline outside quotes; and the end."""
        starts = np.concatenate([*_outside_quotes(self.data, b"\n")]) + 1
        return [0, *starts[starts < len(self.data)].tolist(), len(self.data)]

    @property
    def has_blank_record(self) -> bool:
        """Whether one of the records is an empty line."""
        first = np.frombuffer(self.data, np.uint8)[self._bounds[:-1]]
        return bool(((first == _NEWLINE) | (first == ord("\r"))).any())

    def count_fields(self) -> int:
        """Return the number of fields, of a block of one record."""
        return 1 + sum(commas.size for commas in _outside_quotes(self.data, b","))

    def part(self, low: int, high: int) -> Block:
        """Return the records from `low` to before `high`."""
        start, data = self._bounds[low], self.data[self._bounds[low] : self._bounds[high]]
        return replace(self, data=data, line=self._line_at(start), record=self.record + low, records=high - low)

    def _line_at(self, position: int) -> int:
        return self.line and self.line + self.data.count(b"\n", 0, position)

    def without(self, left_out: Collection[int]) -> Block:
        """Return all other records; the place is that of the first record."""
        kept = [index for index in range(self.records) if index not in left_out]
        data = b"".join(self.data[self._bounds[index] : self._bounds[index + 1]] for index in kept)
        return replace(self, data=data, records=len(kept))

    def error_of(
        self, index: int, problem: str, remedy: str = "", *, column: str | None = None, value: str | None = None
    ) -> RecordError:
        """Return the error of a record: at `column` with its value where it has one, else as a whole, with `value`."""
        start = self._bounds[index]
        starts = [start + at for at, _ in islice(_walked(self.data[start:]), len(self.names))] if column else []
        if column in self.names[: len(starts)]:
            return self.error_at(starts[self.names.index(column)], problem, remedy)
        place = Place(file=self.file, line=self._line_at(start) or None, record=self.record + index, value=value)
        return RecordError(place, problem, remedy)

    def error_at(self, position: int, problem: str, remedy: str) -> RecordError:
        """Return the error of the field that holds the byte at `position`, with line, record, column and value."""
        index = bisect_right(self._bounds, position, hi=len(self._bounds) - 1) - 1
        start = self._bounds[index]
        column, begin, value = _field_at(self.data[start:], position - start, len(self.names))
        place = Place(
            file=self.file,
            line=self._line_at(start + begin) or None,
            record=self.record + index,
            column=self.names[column] if column < len(self.names) else None,
            value=value,
        )
        return RecordError(place, problem, remedy)


class _Cutter:
    """The state of the cutting: `held` follows the last cut, at `line` and `record`, and has `lines` newlines."""

    def __init__(self, header: Block) -> None:
        self._header = header
        self._held = bytearray()
        self._line, self._record, self._lines = header.line, header.record, 0
        self._quoted = False
        self._before = _NEWLINE

    def cut(self, piece: bytes, following: int) -> Iterator[Block]:
        """Yield the block that ends in `piece`, if one does; `following` is the byte after the piece."""
        quotes, newlines = _where(piece, b'"'), _where(piece, b"\n")
        self._refuse_odd(piece, quotes, following)
        ends = newlines[_are_outside(newlines, quotes, self._quoted)] if quotes.size or self._quoted else newlines
        self._limit(int(ends[0]) if ends.size else len(piece))
        self._quoted ^= bool(quotes.size & 1)
        self._before = piece[-1]
        if not ends.size:
            self._held += piece
            self._lines += newlines.size
            return
        cut = int(ends[-1]) + 1
        yield self._block(memoryview(piece)[:cut], ends.size)
        lines_after = newlines.size - int(np.searchsorted(newlines, cut))
        self._line += self._lines + newlines.size - lines_after
        self._record += ends.size
        self._held, self._lines = bytearray(piece[cut:]), lines_after

    def rest(self) -> Iterator[Block]:
        """Yield the last record where no newline ends it. Raises RecordError when it ends within quotes."""
        self._refuse_open()
        if self._held:  # without a newline Arrow takes an empty last value for "" where the one before it is quoted
            yield from self.cut(b"\n", _NEWLINE)

    def _refuse_open(self) -> None:
        if self._quoted:
            block = self._block(b"", 1)
            raise block.error_at(block.data.rindex(b'"'), "a quote opens here and never closes.", _AS_COPY)

    def _limit(self, more: int) -> None:
        """Raise RecordError when the held record is too long with `more` bytes of the newest piece."""
        if len(self._held) + more > LONGEST_RECORD:
            self._refuse_open()
            raise self._block(b"", 1).error_at(
                0,
                f"the record is longer than {LONGEST_RECORD >> 20} MB.",
                "Check where its line should end; simplify or divide a geometry that really is that large.",
            )

    def _block(self, piece: bytes | memoryview, records: int) -> Block:
        data = b"".join((self._held, piece))
        return replace(self._header, data=data, line=self._line, record=self._record, records=records)

    def _refuse_odd(self, piece: bytes, quotes: _Offsets, following: int) -> None:
        """Raise RecordError for what PostgreSQL would refuse or CSV readers disagree about."""
        nuls, returns = _where(piece, b"\0"), _where(piece, b"\r")
        if not (quotes.size or nuls.size or returns.size):
            return
        signs = np.frombuffer(b"%c%b%c" % (self._before, piece, following), np.uint8)
        opening, closing = quotes[int(self._quoted) :: 2], quotes[1 - self._quoted :: 2]
        faults = (
            (nuls, "it holds a NUL byte, which PostgreSQL cannot store.", "Remove it."),
            (opening[~_BEFORE_VALUE[signs[opening]]], _ODD_QUOTE, _AS_COPY),
            (closing[~_AFTER_VALUE[signs[closing + 2]]], _ODD_QUOTE, _AS_COPY),
            (
                returns[(signs[returns + 2] != _NEWLINE) & _are_outside(returns, quotes, self._quoted)],
                "a lone carriage return is outside quotes.",
                _LINE_ENDS,
            ),
        )
        found = [(int(where[0]), problem, remedy) for where, problem, remedy in faults if where.size]
        if found:
            position, problem, remedy = min(found)
            raise self._block(piece, 1).error_at(len(self._held) + position, problem, remedy)


def _where(piece: bytes, byte: bytes) -> _Offsets:
    return np.flatnonzero(np.frombuffer(piece, np.uint8) == byte[0]) if byte in piece else _NOWHERE


def _are_outside(signs: _Offsets, quotes: _Offsets, quoted: bool) -> npt.NDArray[np.bool_]:
    """Return which offsets are outside quotes; `quoted` says that the text begins inside them."""
    outside: npt.NDArray[np.bool_] = (np.searchsorted(quotes, signs) + quoted) & 1 == 0
    return outside


def _outside_quotes(data: bytes, sign: bytes, *, quoted: bool = False) -> Iterator[_Offsets]:
    """Yield the offsets of a byte outside quotes, slice by slice: a list of all quotes is eight times as large."""
    yield _NOWHERE
    for start in range(0, len(data), _SLICE):
        part = data[start : start + _SLICE]
        quotes, signs = _where(part, b'"'), _where(part, sign)
        yield start + signs[_are_outside(signs, quotes, quoted)]
        quoted ^= bool(quotes.size & 1)


def _walked(record: bytes) -> Iterator[tuple[int, bytes | None]]:
    """Yield start and value of each field of the record with which `record` begins."""
    position, index = 0, 0
    while True:
        start = position
        match = _FIELD.match(record, start)
        quoted = match is not None and match[1] is not None
        if match is None or (not quoted and record[start : start + 1] == b'"'):
            raise _MalformedError("a quote opens here and never closes", start, index)
        position = match.end()
        after = record[position : position + 1]
        ended = after in (b"", b"\n") or record[position : position + 2] in (b"\r\n", b"\r")
        if after != b"," and not ended:
            what = "a carriage return" if after == b"\r" else "text" if quoted else "a quote"
            where = "follows the closing quote" if quoted else "is inside an unquoted value"
            raise _MalformedError(f"{what} {where}", start, index)
        yield start, match[1].replace(b'""', b'"') if quoted else match[2] or None
        if ended:
            return
        position += 1
        index += 1


def _field_at(record: bytes, position: int, most: int) -> tuple[int, int, str | None]:
    """Return index, start and text of the field of `record` that holds the byte at `position`.

    All beyond `most` fields counts as part of the one that follows them.
    """
    found: list[tuple[int, bytes | None]] = []
    try:
        for start, value in islice(_walked(record), most + 1):
            if start > position:
                break
            found.append((start, value))
    except _MalformedError as error:
        if error.start <= position:
            return error.column, error.start, record[error.start : error.start + _SHOWN].decode(errors="replace")
    start, value = found[-1]
    return len(found) - 1, start, None if value is None else value.decode(errors="replace")


def _take_header(pieces: Iterator[bytes], file: str) -> tuple[Block, bytes]:
    """Read the header off `pieces`; also returns what was read beyond it. A byte order mark is dropped.

    Raises RecordError when there is no header, it is too long, or it is not text.
    """
    text, end, quoted = bytearray(), 0, False
    while not end and len(text) <= _LONGEST_HEADER and (piece := next(pieces, b"")):
        ends = np.concatenate([*_outside_quotes(piece, b"\n", quoted=quoted)])
        quoted ^= bool(piece.count(b'"') & 1)
        end = len(text) + int(ends[0]) + 1 if ends.size else 0
        text += piece
    record = bytes(text[: end or None]).removeprefix(BOM_UTF8)
    _refuse_returns(file, record)
    if len(record) > _LONGEST_HEADER:
        raise _bad_header(file, record, f"the header is longer than {_LONGEST_HEADER >> 20} MB.")
    if not record.strip(b"\r\n"):
        problem = "the file has no header." if text else "the file holds nothing, not even a header."
        raise _bad_header(file, b"", problem)
    try:
        names = tuple((value or b"").decode() for value in Block.fields(record, _MOST_COLUMNS + 1))
    except (_MalformedError, UnicodeDecodeError) as error:
        raise _bad_header(file, record, f"the header cannot be read: {error}.") from None
    if len(names) > _MOST_COLUMNS:
        most = f"the header names more than {_MOST_COLUMNS:,} columns, the most that a table can have."
        raise _bad_header(file, record, most)
    header = Block(file=file, names=names, data=b"", line=1 + record.count(b"\n"), record=1, records=0)
    return header, bytes(text[end:]) if end else b""


def _refuse_returns(file: str, record: bytes) -> None:
    """Raise RecordError where lines end in carriage returns alone: all is header, up to a newline in some value."""
    quotes, returns = _where(record, b'"'), _where(record, b"\r")
    alone = returns[_are_outside(returns, quotes, False)]
    first = next((at for at in alone.tolist() if record[at + 1 : at + 2] not in (b"\n", b"")), 0)
    if first:
        raise RecordError(
            Place(file=file, line=1, value=record[:first][:1000].decode(errors="replace")),
            "its lines end in a lone carriage return (CR).",
            "End every line in a newline (LF) or in both (CRLF), for example with: tr '\\r' '\\n'.",
        )


def _bad_header(file: str, record: bytes, problem: str) -> RecordError:
    return RecordError(
        Place(file=file, line=1, value=record[:1000].decode(errors="replace") if record else None),
        problem,
        "The first line names the columns, separated by commas, in UTF-8, as COPY … WITH (FORMAT csv, HEADER) does.",
    )
