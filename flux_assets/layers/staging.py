"""Staging: a version's table made and filled in one transaction, by binary COPY (FREEZE), and the disk that takes."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import psycopg
import pyarrow as pa
from pgpq import ArrowToPostgresBinaryEncoder
from psycopg import sql

from flux_assets.errors import LayerError
from flux_assets.postgis import relations
from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.relations import Layer, revoking_all, version_table
from flux_assets.postgis.session import run
from flux_assets.steps import reach
from flux_assets.words import megabytes

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
    """Do what `fill` does from a binary COPY stream of these columns."""
    copy_in = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary, FREEZE)").format(
        version_table(relation), relations.names(columns)
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


# Shares of the CSV's bytes, measured on all ten layers of the sample city (docs/performance.md): hexadecimal
# geometry halves, every row gains a header of about 28 bytes, indexes add a quarter to a half.
_HEAP, _INDEXES, _WAL = 0.9, 0.45, 1.35


@dataclass(frozen=True)
class Need:
    """Bytes a load will write (`stage` heap, `indexes`, `wal`) and bytes that kept versions hold already."""

    stage: int
    indexes: int
    wal: int
    kept: int

    @property
    def total(self) -> int:
        return self.stage + self.indexes + self.wal + self.kept

    def __str__(self) -> str:
        parts = {"stage": self.stage, "indexes": self.indexes, "WAL": self.wal, "kept versions": self.kept}
        return ", ".join(f"{name} {megabytes(size)}" for name, size in parts.items())


def need_of_copy(size: int, kept: int) -> Need:
    """Return the disk that another copy of a version of so many bytes, indexes included, takes beside `kept` bytes."""
    return Need(stage=size, indexes=0, wal=size, kept=kept)


def need_of(csv_bytes: int, kept: int) -> Need:
    """Return the disk a load of that much CSV will take beside `kept` bytes of earlier versions."""
    return Need(round(csv_bytes * _HEAP), round(csv_bytes * _INDEXES), round(csv_bytes * _WAL), kept)


def refuse_above(layer: Layer, need: Need, limit_bytes: int | None) -> None:
    """Raise LayerError when the need is above the configured limit."""
    if limit_bytes is not None and need.total > limit_bytes:
        raise LayerError(
            f"{layer.title} needs about {megabytes(need.total)} of disk ({need}), more than FLUX_DISK_LIMIT"
            f" = {megabytes(limit_bytes)}.",
            "Raise FLUX_DISK_LIMIT, lower FLUX_KEEP_VERSIONS, or make room.",
        )
