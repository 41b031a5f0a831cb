"""A release file as a stream of audited Arrow batches: gunzipped, cut, parsed and judged, each in a thread."""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import suppress
from functools import cache
from io import IOBase
from itertools import chain
from pathlib import Path
from threading import Lock, Semaphore
from typing import cast

import pyarrow as pa

from flux_assets.release.decode.ahead import Ahead
from flux_assets.release.decode.audit import LayerFacts, delivered_schema
from flux_assets.release.decode.blocks import Block, blocks
from flux_assets.release.decode.columns import read_columns
from flux_assets.release.decode.geometry import SuspectError
from flux_assets.release.decode.gunzip import GunzippedFile
from flux_assets.release.decode.parse import Parser
from flux_assets.release.decode.sieve import Sieve, Strict
from flux_assets.release.decode.texts import AskServer
from flux_assets.spec import StaticTable

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
