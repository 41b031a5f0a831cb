"""The rows of one version as the beginning of another: a binary COPY stream out of a table, continued.

Here: the stream. Not here: what it fills (stage.py), and which rows follow (replay.py).
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pyarrow as pa
from psycopg import sql

from flux_assets.layers import staging
from flux_assets.postgis import ddl
from flux_assets.postgis.names import version_table

_PIECE = 1 << 18
# Of PostgreSQL's binary format: an empty stream begins with this many bytes and ends with these two.
_HEADER, _TRAILER = 19, b"\xff\xff"


def continued(session: psycopg.Connection, relation: str, batch: pa.RecordBatch) -> Iterator[bytes]:
    """All rows of a version's table, then those of the batch, whose columns they have, as one stream."""
    held: list[bytes] = []
    size = 0
    for chunk in _out(session, relation, tuple(batch.schema.names)):
        if size >= _PIECE:
            yield b"".join(held)
            held, size = [], 0
        held.append(chunk)
        size += len(chunk)
    yield b"".join(held).removesuffix(_TRAILER)
    yield b"".join(staging.encoded([batch], batch.schema))[_HEADER:]


def _out(session: psycopg.Connection, relation: str, columns: tuple[str, ...]) -> Iterator[bytes]:
    query = sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT (FORMAT binary)").format(
        ddl.names(columns), version_table(relation)
    )
    with session.cursor().copy(query) as copy:
        yield from map(bytes, copy)
