"""Arrow batches as PostgreSQL's binary COPY stream."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator

import psycopg
import pyarrow as pa
from pgpq import ArrowToPostgresBinaryEncoder
from psycopg import sql

from flux_assets.postgis import relations
from flux_assets.postgis.relations import version_table


def encoded(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Generator[bytes, None, None]:
    """Encode batches as a binary COPY stream, a piece for each. Close it where it may be left early.

    An error that is raised between two pieces keeps this alive, and with it the threads that read the batches: Python
    would wait for them for ever when it ends.
    """
    encoder = ArrowToPostgresBinaryEncoder(schema)
    yield encoder.write_header()
    for batch in batches:
        yield encoder.write_batch(batch)
    yield encoder.finish()


_PIECE = 1 << 18
# Of PostgreSQL's binary format: an empty stream begins with this many bytes and ends with these two.
_HEADER, _TRAILER = 19, b"\xff\xff"


def continued(session: psycopg.Connection, relation: str, batch: pa.RecordBatch) -> Iterator[bytes]:
    """Yield all rows of a version's table, then those of the batch, whose columns they have, as one stream."""
    held: list[bytes] = []
    size = 0
    for chunk in _out(session, relation, tuple(batch.schema.names)):
        if size >= _PIECE:
            yield b"".join(held)
            held, size = [], 0
        held.append(chunk)
        size += len(chunk)
    yield b"".join(held).removesuffix(_TRAILER)
    yield b"".join(encoded([batch], batch.schema))[_HEADER:]


def _out(session: psycopg.Connection, relation: str, columns: tuple[str, ...]) -> Iterator[bytes]:
    query = sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT (FORMAT binary)").format(
        relations.names(columns), version_table(relation)
    )
    with session.cursor().copy(query) as copy:
        yield from map(bytes, copy)
