"""The ways of loading layers that are compared: ours, the one before, and the least that a load can cost."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from time import perf_counter
from unittest.mock import patch

import psycopg
import pyarrow as pa
from pgpq import ArrowToPostgresBinaryEncoder
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from bench.ground import run
from bench.releases import path_of
from flux_assets.checks import audits
from flux_assets.layers.context import LoadOptions
from flux_assets.layers.load import LoadResult, load_layer
from flux_assets.postgis.session import Target
from flux_assets.release.decode.stream import LayerStream
from flux_assets.release.release import Release
from flux_assets.sample import binaries
from flux_assets.spec import Declaration, StaticTable

AT_ONCE = 2


def quiet(_: str) -> None:
    """A log that nobody reads."""


def load(
    table: StaticTable, release: Release, target: Target, *, force: bool = True, log: Callable[[str], None] = quiet
) -> LoadResult:
    """Load one layer by our way, into wherever it was published before."""
    return load_layer(table, release, target, LoadOptions(force=force, accept_fewer_rows=True), log)


def load_all(
    tables: Sequence[StaticTable], release: Release, target: Callable[[StaticTable], Target], *, force: bool = False
) -> dict[str, tuple[float, LoadResult]]:
    """Load layers by our way as the executor does: two at once, the longest first. Return the seconds of each too."""

    def timed(table: StaticTable) -> tuple[float, LoadResult]:
        begun = perf_counter()
        found = load(table, release, target(table), force=force)
        return perf_counter() - begun, found

    longest_first = sorted(tables, key=lambda table: -table.release_rows)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return {table.name: each for table, each in zip(longest_first, pool.map(timed, longest_first), strict=True)}


@contextmanager
def without_audits() -> Iterator[None]:
    """While the block runs, loads judge nothing but what decoding judges on its way."""
    with patch.object(audits, "run_audits", lambda *_, **__: ()):
        yield


def load_published(tables: Iterable[StaticTable], release: Release, target: Target) -> None:
    """Load layers as it was done before, one after the other; nothing is counted, nothing checked."""
    said = conninfo_to_dict(target.conninfo)
    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "dbname": "PGDATABASE"}
    environment = {variable: str(said[name]) for name, variable in names.items()}
    psql = [binaries.find().program("psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1"]
    for table in tables:
        run([*psql, "-c", f"DROP TABLE IF EXISTS {table.name} CASCADE", "-c", create_table(table)], environment)
        columns = ", ".join(table.column_names)
        copy = f"\\copy {table.name} ({columns}) FROM STDIN WITH (FORMAT csv, HEADER)"
        pipe = f"gunzip -c {shlex.quote(str(path_of(release, table)))} | {shlex.join([*psql, '-c', copy])}"
        run(["bash", "-o", "pipefail", "-c", pipe], environment)
        after = [*create_indexes(table), f"ANALYZE {table.name}"]
        run([*psql, *(argument for statement in after for argument in ("-c", statement))], environment)


def create_table(table: Declaration) -> str:
    """The table with its key and unique constraints, as the old schema had it."""
    return str(CreateTable(table.table).compile(dialect=postgresql.dialect()))


def create_indexes(table: Declaration) -> list[str]:
    """The other indexes, GiST first."""
    return [str(CreateIndex(index).compile(dialect=postgresql.dialect())) for index in table.indexes]


def encoded(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> list[bytes]:
    """Rows as binary COPY wants them."""
    encoder = ArrowToPostgresBinaryEncoder(schema)
    return [encoder.write_header(), *map(encoder.write_batch, batches), encoder.finish()]


def encoded_layer(table: StaticTable, release: Release) -> list[bytes]:
    """The rows of a layer's file, encoded."""
    stream = LayerStream(path_of(release, table), table.file_name, table)
    return encoded(stream.schema, stream)


def copy(session: psycopg.Connection, into: str, pieces: Iterable[bytes], *options: str) -> None:
    """COPY encoded rows into a table and its columns."""
    copy_in = f"COPY {into} FROM STDIN ({', '.join(['FORMAT binary', *options])})"
    with session.cursor().copy(copy_in.encode()) as copying:
        for piece in pieces:
            copying.write(piece)


def load_floor(table: StaticTable, pieces: Iterable[bytes], target: Target) -> None:
    """COPY encoded rows into a table without a key, build one index, collect statistics."""
    create = create_table(table).split("PRIMARY KEY")[0].rstrip().rstrip(",") + ")"
    with psycopg.connect(target.conninfo, autocommit=True) as session:
        session.execute(f"DROP TABLE IF EXISTS {table.name}".encode())
        with session.transaction():
            session.execute(create.encode())
            copy(session, f"{table.name} ({', '.join(table.column_names)})", pieces, "FREEZE")
        session.execute(create_indexes(table)[0].encode())
        session.execute(f"ANALYZE {table.name}".encode())
