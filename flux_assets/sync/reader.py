"""The source's side of a sync, on a second thread: it signs in and reads while PostgreSQL is asked.

The source is read to its end before the target's transaction begins, so that a source that stalls half-way costs the
target nothing; what was read is kept until it is known whether it changed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager, ExitStack
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import datetime
from tempfile import TemporaryFile, gettempdir
from threading import Event, Thread
from time import monotonic
from typing import IO

import xxhash
from pgpq import ArrowToPostgresBinaryEncoder

from flux_assets.errors import FluxError, SyncError, WarehouseError
from flux_assets.ledger.runs import StepTimer
from flux_assets.postgis.liveness import Stop
from flux_assets.snowflake.rows import Rows
from flux_assets.snowflake.source import Source
from flux_assets.spec import DynamicTable

_IN_MEMORY_BYTES = 32 << 20
_CHUNK_BYTES = 1 << 18
# Encoding holds Python's lock; the thread that asks PostgreSQL meanwhile shall not wait for a whole batch.
_ROWS_AT_ONCE = 8192
# How long reading may take in all, a little less than a sync: what comes slowly for ever is given up by this process.
_LONGEST_SECONDS = 540.0
# How soon a request to stop is seen while the source lets us wait.
_POLL_SECONDS = 0.2

OpenSource = Callable[[], AbstractContextManager[Source]]
# Names the tables that have to be read, from the change tokens of all of them and the digests of their mappings.
_Choose = Callable[[Mapping[str, str], Mapping[str, str]], Collection[str]]
_Keys = Collection[tuple[object, ...]]
_Chunks = Iterator[bytes]


class _Spool:
    """Chunks in the order given. The first of them stay as they came: a copy takes as long as encoding did."""

    def __init__(self) -> None:
        self._kept: list[bytes] = []
        self._room = _IN_MEMORY_BYTES
        self._file: IO[bytes] | None = None

    def write(self, chunk: bytes) -> None:
        if self._file is None and len(chunk) <= self._room:
            self._kept.append(chunk)
            self._room -= len(chunk)
            return
        try:
            if self._file is None:
                self._file = TemporaryFile(buffering=0)  # noqa: SIM115 - it is closed with the spool
            self._file.write(chunk)
        except OSError as error:
            raise SyncError(
                f"What was read of the source cannot be kept in {gettempdir()}: {error.strerror}.",
                "Make room there, or let TMPDIR name another folder.",
            ) from error

    def chunks(self) -> _Chunks:
        yield from self._kept
        if self._file is not None:
            self._file.seek(0)
            while chunk := self._file.read(_CHUNK_BYTES):
                yield chunk

    def close(self) -> None:
        self._kept.clear()
        if self._file is not None:
            self._file.close()


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Rows as of one instant. `fingerprint` is their XXH3 (128 bits) in the order read, `bytes` what was sent."""

    rows: int
    bytes: int
    fingerprint: str
    newest_change: datetime | None
    spool: _Spool

    @staticmethod
    def take(rows: Rows) -> Snapshot:
        """Read the rows to their end; raises what reading them raises. Whoever takes a snapshot closes it."""
        # Not cryptographic, under a tenth of SHA-256's time: who could forge a change away is who writes the source.
        digest, spool = xxhash.xxh3_128(), _Spool()
        try:
            for chunk in _encoded(rows):
                digest.update(chunk)
                spool.write(chunk)
        except BaseException:
            spool.close()
            raise
        return Snapshot(
            rows=rows.rows,
            bytes=rows.bytes,
            fingerprint=digest.hexdigest(),
            newest_change=rows.newest_change,
            spool=spool,
        )

    def chunks(self) -> _Chunks:
        """Yield the rows as a binary COPY stream, from its start."""
        return self.spool.chunks()

    def close(self) -> None:
        """Free memory and file."""
        self.spool.close()


def _encoded(rows: Rows) -> _Chunks:
    encoder = ArrowToPostgresBinaryEncoder(rows.schema)
    yield encoder.write_header()
    for batch in rows:
        for start in range(0, batch.num_rows, _ROWS_AT_ONCE):
            yield encoder.write_batch(batch.slice(start, _ROWS_AT_ONCE))
    yield encoder.finish()


@dataclass(kw_only=True)
class TableRead:
    """A table's rows as read, the mapping's digest, the columns that its source lacks; or why it could not be read."""

    snapshot: Snapshot | None = None
    mapping: str | None = None
    missing: tuple[str, ...] = ()
    error: FluxError | None = None
    clock: StepTimer = field(default_factory=StepTimer)


@dataclass(frozen=True, kw_only=True)
class _SourceRead:
    """The tables that had to be read, as of one instant; and of all tables, change tokens and the digests of mappings.

    The instant is by the source's clock; by the target's, and of before the tokens, where no table had to be read.
    """

    instant: datetime
    tokens: Mapping[str, str]
    mappings: Mapping[str, str]
    taken: Mapping[str, TableRead]


class SourceSide:
    """Signs in and looks ahead when it is entered, and reads once it is `admitted`, retrying what is retryable.

    Leaving the block ends the thread and gives back what was read. Nobody waits for it: signing out need not hold up
    what is committed, nor a sign-in that hangs a sync that has failed.
    """

    def __init__(self, open_source: OpenSource, tables: Sequence[DynamicTable], stop: Stop, clock: StepTimer) -> None:
        self._open_source = open_source
        self._tables = tables
        self._stop = stop
        self._clock = clock
        self._admitted: Future[datetime] = Future()
        self._choose: Future[_Choose] = Future()
        self._found: Future[tuple[Source, _SourceRead]] = Future()
        self._over = Event()

    def __enter__(self) -> SourceSide:
        Thread(target=copy_context().run, args=(self._run,), name="source of a sync", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._admitted.cancel()
        self._choose.cancel()

    def admit(self, at: datetime) -> None:
        """Let reading begin: the sync holds the lease since `at`, by the target's clock; what is read is no older."""
        self._admitted.set_result(at)

    def choose(self, choose: _Choose) -> None:
        """Let `choose` say which tables are read: what the target holds is known now."""
        self._choose.set_result(choose)

    @property
    def is_done(self) -> bool:
        """Whether `found` would not have to wait."""
        return self._found.done()

    def found(self) -> _SourceRead:
        """Wait for what was read and return it; raise what went wrong for all tables, or that a stop was asked for."""
        deadline = monotonic() + _LONGEST_SECONDS
        while not wait([self._found], timeout=_POLL_SECONDS).done:
            self._stop.check()
            if monotonic() > deadline:
                raise WarehouseError(
                    f"Snowflake has not delivered the rows within {_LONGEST_SECONDS:g} s.",
                    "The next tick tries again. A larger SNOWFLAKE_WAREHOUSE or a smaller window in FLUX_CONFIG makes"
                    " it quicker.",
                )
        return self._found.result()[1]

    def held(self, table: DynamicTable, keys: Sequence[tuple[object, ...]]) -> tuple[_Keys, _Keys]:
        """Return which of these keys the source still holds, whatever their state, and which the rule still takes."""
        source, found = self._found.result()

        def asked() -> tuple[_Keys, _Keys]:
            mapping = source.mapping(table)
            there = source.existing(mapping, keys, found.instant)
            return there, source.existing(mapping, sorted(there), found.instant, only_taken=True)

        return source.retrying(asked)

    def _run(self) -> None:
        with ExitStack() as stack:
            stack.push(self._hand_over)
            with self._clock.timed("connect"):
                source = stack.enter_context(self._open_source())
            source.look_ahead(self._tables)
            self._admitted.result()
            # A source that cannot be read as of an instant has to be read whole again when its session is lost.
            found = source.retrying(lambda: self._read_all(source))
            stack.callback(_free, found.taken)
            self._found.set_result((source, found))
            self._over.wait()

    def _hand_over(self, _: object, error: BaseException | None, __: object) -> bool:
        """Have what ended the thread raised in the one that waits for what was found."""
        if error is not None and not self._found.done():
            self._found.set_exception(error)
        return True

    def _read_all(self, source: Source) -> _SourceRead:
        # Tokens first: what changes between them and the instant is read now, and found to be the same next time.
        tokens = source.tokens(self._tables)
        mappings = source.mappings(self._tables)
        # Where every table is read whatever the target holds, that is not waited for.
        all_read = tokens is None and all(table.read_every is None for table in self._tables)
        chosen = None if all_read else self._choose.result()(tokens or {}, mappings)
        reading = [table for table in self._tables if chosen is None or table.name in chosen]
        believed = source.believed(reading, tokens) if tokens else {}
        # Nobody promises that the source tells its time without a warehouse, so where nothing is read the target does:
        # of before the tokens, which answer for all that had changed by then.
        instant = source.instant(statements=len(reading)) if reading else self._admitted.result()
        taken: dict[str, TableRead] = {}
        try:
            for table in reading:
                self._stop.check()
                taken[table.name] = _taken(source, table, instant)
        except BaseException:
            _free(taken)
            raise
        return _SourceRead(instant=instant, tokens=believed, mappings=mappings, taken=taken)


def _taken(source: Source, table: DynamicTable, instant: datetime) -> TableRead:
    """Read one table. A source that cannot be read fails it alone; a retryable fault is raised."""
    read = TableRead(clock=StepTimer(labels={"table": table.name}))
    try:
        with read.clock.timed("read"):
            mapping = source.mapping(table)
            read.missing = mapping.missing
            read.snapshot = Snapshot.take(source.rows(mapping, instant))
            read.mapping = mapping.digest
    except FluxError as error:
        if error.retryable:
            raise
        read.error = error
    return read


def _free(taken: Mapping[str, TableRead]) -> None:
    for each in taken.values():
        if each.snapshot is not None:
            each.snapshot.close()
