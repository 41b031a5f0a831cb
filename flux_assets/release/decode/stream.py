"""A release file as a stream of audited Arrow batches: gunzipped, cut, parsed and judged, in threads of its own."""

from __future__ import annotations

import ctypes
import hashlib
import io
import zlib
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import suppress
from functools import cache
from gzip import BadGzipFile
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, TypeVar, cast

import numpy as np
import pyarrow as pa
from isal import isal_zlib

from flux_assets.errors import ManifestError, Place, RecordError, ReleaseError
from flux_assets.release.decode.blocks import Block
from flux_assets.release.decode.columns import AskServer, ReadColumn, SuspectError
from flux_assets.release.decode.faults import fault_in
from flux_assets.release.decode.parse import Judged, LayerFacts, Parser, Reader, Records
from flux_assets.release.files import opened
from flux_assets.release.stopping import Ahead, check_stop
from flux_assets.spec import StaticTable

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Sieve = Callable[[Reader[Any], Records], Judged]
"""Returns the acceptable rows of a block; what it does not take out of the others raises RecordError."""

_DamageError = cast("type[Exception]", isal_zlib.error)
_AHEAD = 4
_WEIGHT = 8 << 20  # bytes ahead: four blocks as they usually are, or one that holds a long record
_READ = 1 << 18
_MEMBER_READ = 1 << 14
_SAMPLE = 4 << 20
_MAGIC = b"\x1f\x8b"
_AGAIN = "Fetch or write the file again; `gzip -t` tells whether a copy is whole."
_M_MMAP_THRESHOLD = -3  # malloc.h
_LARGE_BYTES = 4 << 20  # above the blocks of a usual file, whose memory is used again at once


_R = TypeVar("_R", bound=Records)


class LayerSource(Protocol[_R]):
    """A file as records, read as often as asked; `gz_bytes` and `csv_bytes` count those of the file and of its rows."""

    @property
    def gz_bytes(self) -> int: ...
    @property
    def csv_bytes(self) -> int: ...

    def blocks(self) -> Generator[_R, None, None]:
        """Yield no records, which tell what the header does, and then all."""

    def reader(self, header: _R, columns: tuple[ReadColumn, ...], ask: AskServer | None) -> Reader[_R]:
        """Return what makes declared rows of the records that follow `header`."""


class LayerStream:
    """The rows of one release file, once. It is gzip CSV unless a `source` reads it.

    Iterating yields record batches of some thousand rows, columns in the declaration's order, geometry as EWKB; memory
    stays within some hundred MB on any file. `name` is what messages call the file. With `sha256`, the bytes that were
    read must have it. `ask` is asked about texts that only a server reads as COPY does; without it they are refused.

    Raises, while iterated, RecordError for the first record that is not acceptable (with line, column and value) and
    ReleaseError for a file that is not whole gzip, after the batches before it. With a `sieve`, it decides about such
    records. Leaving the loop early, or closing the iterator, ends the threads. `facts` is complete once the loop has
    ended by itself.
    """

    def __init__(  # noqa: PLR0913 - a file, and the bounds and helpers of reading it
        self,
        path: Path,
        name: str,
        table: StaticTable,
        *,
        block_bytes: int = 1 << 20,
        sha256: str | None = None,
        sieve: Sieve | None = None,
        ask: AskServer | None = None,
        source: LayerSource[Any] | None = None,
    ) -> None:
        self._source: LayerSource[Any] = source or GunzippedFile(path, name, piece=block_bytes, sha256=sha256)
        self._sieve = sieve or LeftOut()
        self._ask = ask
        self._name = name
        self._columns = ReadColumn.all_of(table)
        self.facts = LayerFacts()

    @property
    def schema(self) -> pa.Schema:
        """The schema of every batch."""
        return pa.schema([column.field for column in self._columns])

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        _return_large_memory()
        with Ahead(
            self._batches(), f"parse {self._name}", _AHEAD, weigh=lambda batch: batch.nbytes, weight=_WEIGHT
        ) as batches:
            yield from batches
        self.facts.gz_bytes, self.facts.csv_bytes = self._source.gz_bytes, self._source.csv_bytes

    def count(self) -> int:
        """Read the file to its end and return its number of records, whose values are not judged.

        Raises RecordError for a header that is not the table's, and otherwise what iterating raises of the file.
        """
        blocks = self._source.blocks()
        self._source.reader(next(blocks), self._columns, self._ask)
        return sum(block.records for block in blocks)

    def describe_record(self, place: Place, problem: str, remedy: str) -> RecordError:
        """Return the error of a record that another reader, such as COPY, found by its number (1 is the first row).

        Reads the file up to there. With a column, its value is shown; without such a record, neither line nor value.
        """
        record = place.record or 0
        for block in cast("Iterator[Records]", self._source.blocks()):
            check_stop()
            if block.record <= record < block.record + block.records:
                return block.error_of(record - block.record, problem, remedy, column=place.column)
        return RecordError(place, problem, remedy)

    def _batches(self) -> Generator[pa.RecordBatch, None, None]:
        cutting = self._source.blocks()
        with Ahead(cutting, f"read {self._name}", _AHEAD, weigh=lambda block: block.nbytes, weight=_WEIGHT) as cuts:
            parser = self._source.reader(next(cuts), self._columns, self._ask)
            for block in cuts:
                batch, facts = self._sieve(parser, block)
                self.facts.add(facts)
                if batch.num_rows:
                    yield batch


class LeftOut:
    """Reads a file without the records of these numbers; any other one that is not acceptable raises RecordError."""

    def __init__(self, records: Collection[int] = ()) -> None:
        self._records = np.array(sorted(records), np.int64)

    def __call__(self, parser: Reader[Any], block: Records) -> Judged:
        low, high = np.searchsorted(self._records, [block.record, block.record + block.records])
        left_out = frozenset((self._records[low:high] - block.record).tolist())
        try:
            return parser.decoded(block.without(left_out) if left_out else block)
        except (pa.ArrowInvalid, SuspectError):
            raise fault_in(block, parser, left_out) from None


class GunzippedFile:
    """One pass over the plain bytes of a gzip file, with all its members; their checksums are compared.

    `gz_bytes` and `csv_bytes` count what has been read and given so far. With `sha256`, the compressed bytes that were
    read must have that digest, so that a file that is swapped meanwhile is refused. With `most`, the file is taken to
    end after that many compressed bytes.
    """

    def __init__(
        self, path: Path, name: str, *, piece: int = 1 << 20, sha256: str | None = None, most: int | None = None
    ) -> None:
        self._path, self._name, self._piece, self._sha256, self._most = path, name, piece, sha256, most
        self.gz_bytes = self.csv_bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        """Yield pieces of about `piece` bytes, never more than twice that.

        Raises ReleaseError, naming the file and the byte, when it cannot be opened, is empty, is not gzip, is
        truncated or damaged, or has something else after its end; ManifestError when it is not the file of `sha256`.
        """
        try:
            with opened(self._path, self._name) as file:
                yield from self._pieces(file)
        except OSError as error:
            raise ReleaseError(f"{self._name}: cannot be read: {error.strerror or error}.", _AGAIN) from error

    @classmethod
    def expanded_bytes(cls, path: Path) -> int:
        """Return about how many plain bytes a file holds, judged by its first megabytes; 0 when that is unknown.

        For estimates only: the size that gzip itself notes counts modulo 4 GB, and for the last member alone.
        """
        sample = cls(path, path.name, most=_SAMPLE)
        with suppress(ReleaseError):  # the end of the sample, where the file is larger
            for _ in sample:
                check_stop()
        return int(sample.csv_bytes / sample.gz_bytes * path.stat().st_size) if sample.gz_bytes else 0

    def blocks(self) -> Generator[Block, None, None]:
        """Yield the header and the records that follow it. Raises what iterating does, and RecordError for the text."""
        yield from Block.cut(iter(self), self._name)

    def reader(self, header: Block, columns: tuple[ReadColumn, ...], ask: AskServer | None) -> Reader[Block]:
        """Return what parses the blocks that follow `header`."""
        return Parser(header, columns, ask)

    def _pieces(self, file: BinaryIO) -> Iterator[bytes]:
        self._check_magic(file)
        packed = _PackedFile(file, digested=self._sha256 is not None, most=self._most)
        # isal's reader takes a quarter of gzip's time. The buffer joins the plain bytes of small members.
        unpacking = isal_zlib._GzipReader(cast("BinaryIO", packed), _READ)
        with io.BufferedReader(cast("io.RawIOBase", unpacking), self._piece) as reader:
            while True:
                check_stop()
                try:
                    plain = reader.read(self._piece)
                except (EOFError, BadGzipFile, zlib.error, _DamageError) as error:
                    raise self._fault(error, file, packed) from error
                self.gz_bytes = packed.total
                if not plain:
                    break
                self.csv_bytes += len(plain)
                yield plain
        found = packed.digest.hexdigest()
        if self._sha256 not in {None, found}:
            raise ManifestError(
                f"{self._name}: sha256 is {found}, expected {self._sha256}.",
                "The file changed while it was read, or is another one; run again.",
            )

    def _fault(self, error: Exception, file: BinaryIO, packed: _PackedFile) -> ReleaseError:
        ended = isinstance(error, EOFError)
        how = f"is damaged, somewhere after byte {packed.total - packed.newest} ({error})"
        if ended:
            how = f"is truncated: it stops at byte {packed.total}, before its end"
        if (ended or str(error).startswith("Not a gzipped file")) and self._most is None:
            end = _end_of_members(file)
            if file.read(len(_MAGIC)) != _MAGIC:
                how = f"ends at byte {end} and something else follows"
        return ReleaseError(f"{self._name}: the gzip data {how}.", _AGAIN)

    def _check_magic(self, file: BinaryIO) -> None:
        start = file.read(8)
        file.seek(0)
        if not start:
            raise ReleaseError(f"{self._name}: the file is empty, not even a gzip header.", _AGAIN)
        if not start.startswith(_MAGIC):
            raise ReleaseError(
                f"{self._name}: this is not a gzip file; it begins with {start!r}.",
                "A release holds gzip CSV: compress the file with gzip.",
            )


class _PackedFile(io.RawIOBase):
    """The compressed bytes of a file, up to `most` of them, counted and, where wanted, digested as they are read.

    `total` counts the bytes read so far, `newest` those of the last read.
    """

    def __init__(self, file: BinaryIO, *, digested: bool, most: int | None) -> None:
        self._file, self._digested, self._most = file, digested, most
        self.digest = hashlib.sha256()
        self.total = self.newest = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        check_stop()
        view = memoryview(buffer)[: None if self._most is None else self._most - self.total]
        size = cast("io.FileIO", self._file).readinto(view)
        if size:
            self.total += size
            self.newest = size
            if self._digested:
                self.digest.update(view[:size])
        return size


def _end_of_members(file: BinaryIO) -> int:
    """Return the byte at which the whole members of `file` end, and leave it there.

    Reads it again, since isal's reader does not tell its place.
    """
    file.seek(0)
    while True:
        while (data := file.read(_MEMBER_READ)) and not data.strip(b"\0"):  # padding between members
            check_stop()
        start = file.seek(-len(data.lstrip(b"\0")), io.SEEK_CUR)
        member = isal_zlib.decompressobj(wbits=31)
        with suppress(_DamageError):
            while not member.eof and (data := file.read(_MEMBER_READ)):
                check_stop()
                member.decompress(data)
        if not member.eof:
            return file.seek(start)
        file.seek(-len(member.unused_data), io.SEEK_CUR)


@cache
def _return_large_memory() -> None:
    """Have this process return freed pieces of more than 4 MB to the system; does nothing without glibc.

    glibc gives the first freed large piece back, and from then on keeps pieces of that size in the heaps of threads:
    reading a record of 15 MB took up to 513 MB.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
