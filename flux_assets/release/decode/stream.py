"""A release file as a stream of audited Arrow batches: gunzipped, cut, parsed and judged, each in a thread."""

from __future__ import annotations

import ctypes
import hashlib
import io
import zlib
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import suppress
from functools import cache
from gzip import BadGzipFile
from io import IOBase
from itertools import chain
from pathlib import Path
from threading import Lock, Semaphore
from typing import Any, BinaryIO, cast

import pyarrow as pa
from isal import isal_zlib

from flux_assets.errors import ManifestError, Place, RecordError, ReleaseError
from flux_assets.release.decode.blocks import Block, blocks
from flux_assets.release.decode.columns import AskServer, SuspectError, read_columns
from flux_assets.release.decode.faults import described
from flux_assets.release.decode.parse import LayerFacts, Parser, delivered_schema
from flux_assets.release.decode.sieve import Sieve, Strict
from flux_assets.release.files import opened
from flux_assets.release.stopping import Ahead, check_stop
from flux_assets.spec import StaticTable

_DamageError = cast("type[Exception]", isal_zlib.error)
_READ = 1 << 18
_MEMBER_READ = 1 << 14
_SAMPLE = 4 << 20
_MAGIC = b"\x1f\x8b"
_AGAIN = "Fetch or write the file again; `gzip -t` tells whether a copy is whole."


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
        self.gz_bytes = 0
        self.csv_bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        """Yield pieces of about `piece` bytes, never more than twice that.

        Raises ReleaseError, naming the file and the byte, when it cannot be opened, is empty, is not gzip, is
        truncated or damaged, or has something else after its end; ManifestError when it is not the file of `sha256`.
        """
        try:
            with opened(self._path, self._name) as file:
                packed = _PackedFile(file, digested=self._sha256 is not None, most=self._most)
                yield from self._pieces(file, packed)
        except OSError as error:
            raise ReleaseError(f"{self._name}: cannot be read: {error.strerror or error}.", _AGAIN) from error

    def _pieces(self, file: BinaryIO, packed: _PackedFile) -> Iterator[bytes]:
        self._check_magic(file)
        # The buffer joins the plain bytes of small members into whole pieces.
        with io.BufferedReader(
            cast("io.RawIOBase", isal_zlib._GzipReader(cast("BinaryIO", packed), _READ)), self._piece
        ) as reader:
            while plain := self._read(reader, file, packed):
                check_stop()
                self.gz_bytes = packed.total
                self.csv_bytes += len(plain)
                yield plain
        self.gz_bytes = packed.total
        if self._sha256 not in {None, packed.sha256}:
            raise ManifestError(
                f"{self._name}: sha256 is {packed.sha256}, expected {self._sha256}.",
                "The file changed while it was read, or is another one; run again.",
            )

    def _read(self, reader: io.BufferedReader[Any], file: BinaryIO, packed: _PackedFile) -> bytes:
        try:
            return reader.read(self._piece)
        except (EOFError, BadGzipFile, zlib.error, _DamageError) as error:
            raise self._fault(error, file, packed) from error

    def _fault(self, error: Exception, file: BinaryIO, packed: _PackedFile) -> ReleaseError:
        ended = isinstance(error, EOFError)
        if (ended or str(error).startswith("Not a gzipped file")) and self._most is None:
            end = _end_of_members(file)
            if file.read(len(_MAGIC)) != _MAGIC:
                return self._broken(f"ends at byte {end} and something else follows")
        if ended:
            return self._broken(f"is truncated: it stops at byte {packed.total}, before its end")
        return self._broken(f"is damaged, somewhere after byte {packed.total - packed.newest} ({error})")

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

    def _broken(self, how: str) -> ReleaseError:
        return ReleaseError(f"{self._name}: the gzip data {how}.", _AGAIN)


def expanded_bytes(path: Path) -> int:
    """Return about how many plain bytes the file holds, judged by its first megabytes; 0 when that is unknown.

    For estimates only: the size that gzip itself notes counts modulo 4 GB, and for the last member alone.
    """
    sample = GunzippedFile(path, path.name, most=_SAMPLE)
    with suppress(ReleaseError):  # the end of the sample, where the file is larger
        for _ in sample:
            check_stop()
    return int(sample.csv_bytes / sample.gz_bytes * path.stat().st_size) if sample.gz_bytes else 0


class _PackedFile(io.RawIOBase):
    """The compressed bytes of a file, up to `most` of them, counted and digested as they are read.

    `total` counts the bytes read so far, `newest` those of the last read.
    """

    def __init__(self, file: BinaryIO, *, digested: bool, most: int | None) -> None:
        self._file, self._most = file, most
        self._digest = hashlib.sha256() if digested else None
        self.total = self.newest = 0

    @property
    def sha256(self) -> str | None:
        """The digest (hex) of all that was read, where it was asked for."""
        return self._digest.hexdigest() if self._digest else None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - whatever takes bytes
        check_stop()
        view = memoryview(buffer)[: None if self._most is None else self._most - self.total]
        size = cast("io.FileIO", self._file).readinto(view)
        if size:
            self.total += size
            self.newest = size
            if self._digest is not None:
                self._digest.update(view[:size])
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


_AHEAD = 4
_WEIGHT = 8 << 20  # bytes ahead: four blocks as they usually are, or one that holds a long record


class LayerStream:
    """The rows of one release file, once.

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
    ) -> None:
        self._file = GunzippedFile(path, name, piece=block_bytes, sha256=sha256)
        self._sieve = sieve or Strict()
        self._ask = ask
        self._name = name
        self._columns = read_columns(table)
        self.facts = LayerFacts()

    @property
    def schema(self) -> pa.Schema:
        """The schema of every batch."""
        return delivered_schema(self._columns)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        _return_large_memory()
        with Ahead(
            self._batches(), f"parse {self._name}", _AHEAD, weigh=lambda batch: batch.nbytes, weight=_WEIGHT
        ) as batches:
            yield from batches
        self.facts.gz_bytes, self.facts.csv_bytes = self._file.gz_bytes, self._file.csv_bytes

    def _batches(self) -> Generator[pa.RecordBatch, None, None]:
        cutting = blocks(iter(self._file), self._name)
        with Ahead(cutting, f"gunzip {self._name}", _AHEAD, weigh=lambda block: block.size, weight=_WEIGHT) as cuts:
            first = next(cuts)
            parser = Parser(first.header, self._columns, self._ask)
            if first.records:
                yield from self._audited(_Feed(first, cuts), parser)

    def _audited(self, feed: _Feed, parser: Parser) -> Iterator[pa.RecordBatch]:
        try:
            whole = yield from self._streamed(feed, parser)
            if not whole:
                for block in feed.rest():
                    yield from self._counted(self._sieve.sifted(parser, block))
        finally:
            feed.close()
        if feed.error is not None:
            raise feed.error

    def _streamed(self, feed: _Feed, parser: Parser) -> Generator[pa.RecordBatch, None, bool]:
        """Yield what Arrow reads; return whether it reached the end, and not a block that has to be read exactly."""
        try:
            reader = parser.open(pa.PythonFile(cast("IOBase", feed), mode="r"))
            reader.read_next_batch()  # the greeting
            for raw in reader:
                found = self._sieve.judged(parser, raw, feed.block_of(raw))
                feed.done()
                yield from self._counted(found)
        except (pa.ArrowInvalid, SuspectError):
            feed.detach()
            return False
        finally:
            if not feed.detached:
                feed.close()  # before `reader` is freed, which would wait for a read that never returns
        return True

    def _counted(self, judged: tuple[pa.RecordBatch, LayerFacts]) -> Iterator[pa.RecordBatch]:
        batch, facts = judged
        self.facts.add(facts)
        if batch.num_rows:
            yield batch


class _Feed:
    """A file for Arrow's reader: every read returns the piece of one block, which becomes one batch.

    Arrow reads ahead in another thread, here by a few blocks at most. An error of the cutting must not pass through
    Arrow: it is kept, and the file ends for Arrow.

    The first read returns a greeting, a record of NULLs: Arrow makes a batch of the first read while it opens, and if
    that failed, it would wait for its thread, which waits here for room.
    """

    def __init__(self, first: Block, cuts: Ahead[Block]) -> None:
        self._cuts = cuts
        self._greeting = b"," * (len(first.header.names) - 1) + b"\n"
        self._coming = chain([first], cuts)
        self._given: deque[Block] = deque()
        self._room = Semaphore(_AHEAD)
        self._reading = Lock()
        self.closed = self.detached = False
        self.error: BaseException | None = None

    def read(self, _size: int = -1) -> bytes:
        if greeting := self._greeting:
            self._greeting = b""
            return greeting
        self._room.acquire()
        with self._reading:
            if self.closed or self.error is not None:
                return b""
            try:
                block = next(self._coming, None)
            except BaseException as error:  # noqa: BLE001 - it is raised again, in the thread that reads batches
                self.error = error
                return b""
            if block is None:
                return b""
            self._given.append(block)
            return block.piece

    def block_of(self, raw: pa.RecordBatch) -> Block:
        """Return the block that `raw` was read from. Raises SuspectError when Arrow counted other records in it."""
        if error := self.error_before():
            raise error
        block = self._given[0]
        if raw.num_rows != block.records:
            raise SuspectError
        return block

    def done(self) -> None:
        """Note that the oldest block's batch is sound, so that Arrow may read another."""
        self._given.popleft()
        self._room.release()

    def error_before(self) -> BaseException | None:
        """Return the error of the cutting, once only the last block before it is left.

        Arrow has then taken the beginning of the next record for a record, so that block cannot be judged.
        """
        return self.error if len(self._given) <= 1 else None

    def detach(self) -> None:
        """Give Arrow nothing more; what it is reading at this moment is kept."""
        self.closed = self.detached = True
        self._room.release()
        with self._reading:
            pass

    def rest(self) -> Iterator[Block]:
        """Yield, after `detach`, the blocks without a sound batch and those still to come."""
        yield from self._given
        if self.error is None:
            yield from self._coming

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        self.closed = True
        self._cuts.close()
        self._room.release()


_M_MMAP_THRESHOLD = -3  # malloc.h
_LARGE_BYTES = 4 << 20  # above the blocks of a usual file, whose memory is used again at once


@cache
def _return_large_memory() -> None:
    """Have this process return freed pieces of more than 4 MB to the system; does nothing without glibc.

    glibc gives the first freed large piece back, and from then on keeps pieces of that size in the heaps of threads:
    reading a record of 15 MB took up to 513 MB.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


def describe_record(  # noqa: PLR0913, PLR0917 - the parts of a place
    path: Path, name: str, table: StaticTable, record: int, column: str | None, problem: str, remedy: str
) -> RecordError:
    """Return the error of a record that another reader, for example COPY, found by its number (1 follows the header).

    Reads the file up to there. With `column`, its value is shown; without such a record, neither line nor value.
    """
    column = column if column in table.column_names else None
    for block in blocks(iter(GunzippedFile(path, name)), name):
        check_stop()
        if block.record <= record < block.record + block.records:
            return described(block.text, record - block.record, column, problem, remedy)
    return RecordError(Place(file=name, record=record, column=column), problem, remedy)
