"""Staging: a version's table made and filled in one transaction, by binary COPY (FREEZE).

Made and filled in one transaction so that FREEZE may be used: readers whose snapshot is older than the version
then see it whole after the swap, instead of empty. Not here: indexes (equal.py) and audits (audit.py).
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing

import psycopg
import pyarrow as pa
from pgpq import ArrowToPostgresBinaryEncoder
from psycopg import sql

from flux_assets.errors import LayerError
from flux_assets.failpoints import reach
from flux_assets.postgis import ddl
from flux_assets.postgis.batch import run
from flux_assets.postgis.connect import Stop
from flux_assets.postgis.names import version_table
from flux_assets.postgis.private import revoking_all

_BEGIN, _COMMIT = sql.SQL("BEGIN"), sql.SQL("COMMIT")


def fill(  # noqa: PLR0913 - what, where, from where, and two bounds
    session: psycopg.Connection,
    relation: str,
    create: Sequence[sql.Composed],
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    *,
    before: Sequence[sql.Composed] = (),
    limit_bytes: int | None,
    stop: Stop,
) -> int:
    """Run `create`, then COPY the batches into the version's table, all or nothing; returns the bytes sent.

    The statements `before` are a transaction of their own. Batches hold the columns of `schema`, geometry as EWKB in
    binary columns. Raises LayerError when more than `limit_bytes` would be written, psycopg errors as the server words
    them.
    """
    with closing(encoded(batches, schema)) as chunks:
        names = tuple(schema.names)
        return fill_from(session, relation, create, chunks, names, before=before, limit_bytes=limit_bytes, stop=stop)


def fill_from(  # noqa: PLR0913 - what, where, from where, and two bounds
    session: psycopg.Connection,
    relation: str,
    create: Sequence[sql.Composed],
    chunks: Iterable[bytes],
    columns: tuple[str, ...],
    *,
    before: Sequence[sql.Composed] = (),
    limit_bytes: int | None,
    stop: Stop,
) -> int:
    """`fill` from a binary COPY stream of these columns."""
    copy_in = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary, FREEZE)").format(
        version_table(relation), ddl.names(columns)
    )
    sent = 0
    first = [_BEGIN, *before, _COMMIT] if before else []
    # Not by `session.transaction`, whose BEGIN would be a round trip: the end of the session rolls back what failed.
    run(session, [*first, _BEGIN, *create, revoking_all(version_table(relation))])
    reach("load.created")
    with session.cursor().copy(copy_in) as copy:
        for chunk in chunks:
            stop.check()
            sent += len(chunk)
            if limit_bytes is not None and sent > limit_bytes:
                raise LayerError(
                    f"Staging {relation} has written {sent:,} bytes, more than the {limit_bytes:,} that"
                    " FLUX_DISK_LIMIT leaves for it.",
                    "Check the release file, or raise FLUX_DISK_LIMIT.",
                )
            copy.write(chunk)
            reach("load.copying")
    reach("load.copied")
    session.execute(_COMMIT)
    return sent


def encoded(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Generator[bytes, None, None]:
    """Batches as a binary COPY stream, a piece for each. Close it where it may be left early.

    An error that is raised between two pieces keeps this alive, and with it the threads that read the batches: Python
    would wait for them for ever when it ends.
    """
    encoder = ArrowToPostgresBinaryEncoder(schema)
    yield encoder.write_header()
    for batch in batches:
        yield encoder.write_batch(batch)
    yield encoder.finish()
