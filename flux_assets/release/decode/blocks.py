"""Plain bytes cut into blocks of whole CSV records, with the line and record at which each begins."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator
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


LONGEST_RECORD = 16 << 20  # a geometry of half a million points
_Bytes = npt.NDArray[np.uint8]
_Offsets = npt.NDArray[np.int64]
_LONGEST_HEADER = 1 << 20
_MOST_COLUMNS = 1600  # of a table in PostgreSQL
BOM = b"\xef\xbb\xbf"
_NEWLINE = 10
_BEFORE_VALUE = np.frombuffer(b',\n"', np.uint8)
_AFTER_VALUE = np.frombuffer(b',\r\n"', np.uint8)
_NOWHERE = np.zeros(0, np.int64)
_LINE_ENDS = "Lines end in a newline, or in a carriage return and a newline; quote a value that holds one."
_AS_COPY = "Double the quotes inside a value and close every quoted value, as COPY … WITH (FORMAT csv) writes it."


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """The names in the first record, and the line on which the first row begins."""

    file: str
    names: tuple[str, ...]
    next_line: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """Whole records. `held` began in earlier pieces; `piece` is the newest, of which only `piece[:cut]` belongs here.

    `line` (the header is in line 1) and `record` (the header is record 0) are those of the first byte; `records` is
    how many there are; none when the file ends with its header. Pieces are kept as they came: joining them costs a
    copy that only errors need.
    """

    header: Header
    held: bytes
    piece: bytes
    cut: int
    line: int
    record: int
    records: int

    @property
    def data(self) -> bytes:
        return self.held + self.piece[: self.cut]

    @property
    def size(self) -> int:
        """About the bytes of memory it takes."""
        return len(self.held) + len(self.piece)

    @property
    def text(self) -> Text:
        return Text(file=self.header.file, names=self.header.names, data=self.data, line=self.line, record=self.record)


def blocks(pieces: Iterator[bytes], file: str) -> Generator[Block, None, None]:
    """Cut `pieces` of a file's text into blocks, at least one; each knows the header.

    The piece of every block but the last holds the end of a record, so that `piece` after `piece` can be given to a
    reader that cuts at record ends itself. Raises RecordError for a header that cannot be read, a record longer than
    LONGEST_RECORD, a quote that never closes, and text that readers would take differently or PostgreSQL not at all.
    """
    header, previous = _take_header(pieces, file)
    cutter = _Cutter(header)
    for piece in pieces:
        whole = previous.removesuffix(b"\r")  # Arrow would end a record between a carriage return and its newline
        following = previous[len(whole) :] + piece
        if whole and (block := cutter.cut(whole, following[0])):
            yield block
        previous = following
    yield cutter.finish(previous)


@dataclass(frozen=True, slots=True)
class _Scan:
    """The newlines of a piece: how many there are, how many end a record, the first and last such, how many follow."""

    newlines: int
    ends: int
    first: int
    cut: int
    newlines_after: int


class _Cutter:
    """The state of the cutting: `held` follows the last cut, `grown` are pieces in which no record has ended.

    `line` and `record` are those of the first byte of `held`; `lines` counts the newlines in `held` and `grown`.
    """

    def __init__(self, header: Header) -> None:
        self._header = header
        self._held, self._grown = b"", bytearray()
        self._line, self._record, self._lines = header.next_line, 1, 0
        self._quoted = False
        self._before = _NEWLINE

    def cut(self, piece: bytes, following: int) -> Block | None:
        """Return the block that ends in `piece`; `following` is the byte after the piece."""
        scan = self._scanned(piece, following)
        if not scan.ends:
            self._lines += scan.newlines
            self._grown += piece
            self._limit(0)
            return None
        self._limit(scan.first)
        block = self._block(piece, scan.cut, scan.ends)
        self._held, self._grown = piece[scan.cut :], bytearray()
        self._line += self._lines + scan.newlines - scan.newlines_after
        self._record += scan.ends
        self._lines = scan.newlines_after
        return block

    def finish(self, piece: bytes) -> Block:
        """Return the last block: all that is left, whether or not its last record has ended."""
        scan = self._scanned(piece, _NEWLINE)
        self._limit(scan.first if scan.ends else len(piece))
        left = len(piece) - scan.cut if scan.ends else len(self._held) + len(self._grown) + len(piece)
        if left and not self._quoted:
            piece += b"\n"  # without it Arrow takes an empty last value for "" where the one before it is quoted
        block = self._block(piece, len(piece), scan.ends + (left > 0))
        if self._quoted:
            raise self._never_closed(block)
        return block

    def _scanned(self, piece: bytes, following: int) -> _Scan:
        quotes = _where(piece, b'"')
        position, problem, remedy = _ambiguity(piece, quotes, self._quoted, self._before, following)
        if problem:
            text = self._block(piece, len(piece), 1).text
            raise text.error_at(len(text.data) - len(piece) + position, problem, remedy)
        scan = _scan(piece, quotes, self._quoted)
        self._quoted ^= bool(quotes.size & 1)
        self._before = piece[-1] if piece else self._before
        return scan

    def _limit(self, more: int) -> None:
        """Raise RecordError when the held record is too long with `more` bytes of the newest piece."""
        if len(self._held) + len(self._grown) + more <= LONGEST_RECORD:
            return
        block = self._block(b"", 0, 1)
        if self._quoted:
            raise self._never_closed(block)
        raise block.text.error_at(
            0,
            f"the record is longer than {LONGEST_RECORD >> 20} MB.",
            "Check where its line should end; simplify or divide a geometry that really is that large.",
        )

    def _block(self, piece: bytes, cut: int, records: int) -> Block:
        return Block(
            header=self._header,
            held=self._held,
            piece=bytes(self._grown) + piece if self._grown else piece,
            cut=len(self._grown) + cut,
            line=self._line,
            record=self._record,
            records=records,
        )

    def _never_closed(self, block: Block) -> RecordError:
        text = block.text
        return text.error_at(text.data.rindex(b'"'), "a quote opens here and never closes.", _AS_COPY)


def _where(piece: bytes, byte: bytes) -> _Offsets:
    return np.flatnonzero(np.frombuffer(piece, np.uint8) == byte[0]) if byte in piece else _NOWHERE


def _scan(piece: bytes, quotes: _Offsets, quoted: bool) -> _Scan:
    if not quotes.size:
        every = int(np.count_nonzero(np.frombuffer(piece, np.uint8) == _NEWLINE))
        if quoted or not every:
            return _Scan(every, 0, 0, 0, every)
        return _Scan(every, every, piece.find(b"\n"), piece.rfind(b"\n") + 1, 0)
    newlines = _where(piece, b"\n")
    outside: npt.NDArray[np.bool_] = (np.searchsorted(quotes, newlines) + quoted) & 1 == 0
    ends = newlines[outside]
    cut = int(ends[-1]) + 1 if ends.size else 0
    first = int(ends[0]) if ends.size else 0
    return _Scan(newlines.size, ends.size, first, cut, int(np.count_nonzero(newlines >= cut)))


def _ambiguity(piece: bytes, quotes: _Offsets, quoted: bool, before: int, following: int) -> tuple[int, str, str]:
    """Return where, and what, PostgreSQL would refuse or CSV readers disagree about; an empty problem for none."""
    faults = [
        (_where(piece, b"\0"), "it holds a NUL byte, which PostgreSQL cannot store.", "Remove it."),
        (
            _odd_quotes(piece, quotes, quoted, before, following),
            "a quote is neither at the start nor at the end of a value.",
            _AS_COPY,
        ),
        (_odd_returns(piece, quotes, quoted, following), "a lone carriage return is outside quotes.", _LINE_ENDS),
    ]
    return min(
        ((int(where[0]), problem, remedy) for where, problem, remedy in faults if where.size), default=(0, "", "")
    )


def _odd_quotes(piece: bytes, quotes: _Offsets, quoted: bool, before: int, following: int) -> _Offsets:
    """Return the quotes that open elsewhere than at the start of a value, or close elsewhere than at its end."""
    if not quotes.size:
        return quotes
    view = np.frombuffer(piece, np.uint8)
    opening, closing = quotes[int(quoted) :: 2], quotes[1 - quoted :: 2]
    ahead = np.where(opening > 0, view[opening - 1], before)
    behind = np.where(closing + 1 < len(view), view[np.minimum(closing + 1, len(view) - 1)], following)
    return np.sort(np.concatenate([opening[~np.isin(ahead, _BEFORE_VALUE)], closing[~np.isin(behind, _AFTER_VALUE)]]))


def _odd_returns(piece: bytes, quotes: _Offsets, quoted: bool, following: int) -> _Offsets:
    returns = _where(piece, b"\r")
    if not returns.size:
        return returns
    view = np.frombuffer(piece, np.uint8)
    behind = np.where(returns + 1 < len(view), view[np.minimum(returns + 1, len(view) - 1)], following)
    outside: npt.NDArray[np.bool_] = (np.searchsorted(quotes, returns) + quoted) & 1 == 0
    alone: npt.NDArray[np.bool_] = behind != _NEWLINE
    return returns[outside & alone]


def _take_header(pieces: Iterator[bytes], file: str) -> tuple[Header, bytes]:
    """Read the header off `pieces`; also returns what was read beyond it. A byte order mark is dropped.

    Raises RecordError when there is no header, it is too long, or it is not text.
    """
    start, end, quoted = bytearray(), 0, False
    while not end and len(start) <= _LONGEST_HEADER and (piece := next(pieces, b"")):
        ends = boundaries(piece, quoted=quoted)
        quoted ^= bool(piece.count(b'"') & 1)
        end = len(start) + int(ends[0]) + 1 if ends.size else 0
        start += piece
    record = bytes(start[: end or None]).removeprefix(BOM)
    _refuse_returns(file, record)
    if len(record) > _LONGEST_HEADER:
        raise _bad_header(file, start, f"the header is longer than {_LONGEST_HEADER >> 20} MB.")
    if not record.strip(b"\r\n"):
        raise _bad_header(
            file, b"", "the file has no header." if start else "the file holds nothing, not even a header."
        )
    names = _names(file, record)
    return Header(file=file, names=names, next_line=1 + record.count(b"\n")), bytes(start[end:]) if end else b""


def _refuse_returns(file: str, record: bytes) -> None:
    """Raise RecordError where lines end in carriage returns alone: all is header, up to a newline in some value."""
    alone = _odd_returns(record, _where(record, b'"'), False, _NEWLINE)
    if alone.size and (first := record[: int(alone[0])]):
        raise RecordError(
            Place(file=file, line=1, value=first[:1000].decode(errors="replace")),
            "its lines end in a lone carriage return (CR).",
            "End every line in a newline (LF) or in both (CRLF), for example with: tr '\\r' '\\n'.",
        )


def _names(file: str, record: bytes) -> tuple[str, ...]:
    try:
        found = fields(record, _MOST_COLUMNS + 1)
        names = tuple((field.value or b"").decode() for field in found)
    except (MalformedError, UnicodeDecodeError) as error:
        raise _bad_header(file, record, f"the header cannot be read: {error}.") from None
    if len(names) > _MOST_COLUMNS:
        raise _bad_header(
            file, record, f"the header names more than {_MOST_COLUMNS:,} columns, the most that a table can have."
        )
    return names


def _bad_header(file: str, record: bytes | bytearray, problem: str) -> RecordError:
    return RecordError(
        Place(file=file, line=1, value=record[:1000].decode(errors="replace") if record else None),
        problem,
        "The first line names the columns, separated by commas, in UTF-8, as COPY … WITH (FORMAT csv, HEADER) does.",
    )
