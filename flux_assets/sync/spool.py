"""The source's rows of one table, read once and kept until it is known whether they changed.

The source is read to its end before the target's transaction begins, so that a source that stalls half-way costs the
target nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from tempfile import TemporaryFile, gettempdir
from typing import IO

import xxhash
from pgpq import ArrowToPostgresBinaryEncoder

from flux_assets.errors import SyncError
from flux_assets.snowflake.source import Rows

_Chunk = bytes
_IN_MEMORY_BYTES = 32 << 20
_CHUNK_BYTES = 1 << 18
# Encoding holds Python's lock; the thread that asks PostgreSQL meanwhile shall not wait for a whole batch.
_ROWS_AT_ONCE = 8192


class Spool:
    """Chunks in the order given. The first of them stay as they came: a copy takes as long as encoding did."""

    def __init__(self) -> None:
        self._kept: list[_Chunk] = []
        self._room = _IN_MEMORY_BYTES
        self._file: IO[bytes] | None = None

    def write(self, chunk: _Chunk) -> None:
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

    def chunks(self) -> Iterator[_Chunk]:
        """Yield all of them, from the first."""
        yield from self._kept
        if self._file is not None:
            self._file.seek(0)
            while chunk := self._file.read(_CHUNK_BYTES):
                yield chunk

    def close(self) -> None:
        """Free memory and file."""
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
    spool: Spool

    def chunks(self) -> Iterator[_Chunk]:
        """Yield the rows as a binary COPY stream, from its start."""
        return self.spool.chunks()


def take(rows: Rows) -> Snapshot:
    """Read the rows to their end; raises what reading them raises. Whoever takes a snapshot closes its spool."""
    encoder = ArrowToPostgresBinaryEncoder(rows.schema)
    # Not cryptographic, under a tenth of SHA-256's time: who could forge a change away is who writes the source.
    digest = xxhash.xxh3_128()
    spool = Spool()
    try:
        for chunk in _encoded(encoder, rows):
            digest.update(chunk)
            spool.write(chunk)
    except BaseException:
        spool.close()
        raise
    return Snapshot(
        rows=rows.rows, bytes=rows.bytes, fingerprint=digest.hexdigest(), newest_change=rows.newest_change, spool=spool
    )


def _encoded(encoder: ArrowToPostgresBinaryEncoder, rows: Rows) -> Iterator[_Chunk]:
    yield encoder.write_header()
    for batch in rows:
        for start in range(0, batch.num_rows, _ROWS_AT_ONCE):
            yield encoder.write_batch(batch.slice(start, _ROWS_AT_ONCE))
    yield encoder.finish()
