"""The source's rows of one table, read once, kept on this side until it is known whether they are news.

Here: encoding batches as a binary COPY stream, its fingerprint, and where it waits: in memory, from 32 MB on in a
temporary file. The source is read to its end before the target's transaction begins, so that a source that stalls
half-way costs the target nothing. Not here: reading (warehouse/) and writing (postgis/).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from tempfile import SpooledTemporaryFile
from typing import IO

from pgpq import ArrowToPostgresBinaryEncoder

from flux_assets.warehouse.rows import Rows

Chunk = bytes
Spool = IO[bytes]
_IN_MEMORY_BYTES = 32 << 20
_CHUNK_BYTES = 1 << 18


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Rows as of one instant. `fingerprint` is a SHA-256 over them in the order read, `bytes` what the source sent."""

    rows: int
    bytes: int
    fingerprint: str
    newest_change: datetime | None
    spool: Spool

    def chunks(self) -> Iterator[Chunk]:
        """The rows as a binary COPY stream, from its start."""
        self.spool.seek(0)
        while chunk := self.spool.read(_CHUNK_BYTES):
            yield chunk


def take(rows: Rows) -> Snapshot:
    """Read the rows to their end; raises what reading them raises. Whoever takes a snapshot closes its spool."""
    encoder = ArrowToPostgresBinaryEncoder(rows.schema)
    digest = hashlib.sha256()
    spool = SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115 - it outlives this function
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


def _encoded(encoder: ArrowToPostgresBinaryEncoder, rows: Rows) -> Iterator[Chunk]:
    yield encoder.write_header()
    for batch in rows:
        yield encoder.write_batch(batch)
    yield encoder.finish()
