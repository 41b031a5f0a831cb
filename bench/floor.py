"""The least that a load can cost here: rows that are encoded already, one index, ANALYZE.

Here: writing a layer's rows to a file in COPY's binary format, and loading that file. No key, no checks.
"""

from __future__ import annotations

from pathlib import Path

import psycopg
from pgpq import ArrowToPostgresBinaryEncoder

from bench import published
from bench.ground import WORK, path_of
from flux_assets.postgis.connect import Target
from flux_assets.release.decode.stream import LayerStream
from flux_assets.release.release import Release
from flux_assets.spec import StaticTable

_PIECE = 1 << 20


def encoded(table: StaticTable, release: Release) -> Path:
    """The layer's rows as COPY wants them."""
    path = WORK / f"{table.name}.binary"
    stream = LayerStream(path_of(release, table), table.file_name, table)
    encoder = ArrowToPostgresBinaryEncoder(stream.schema)
    with path.open("wb") as file:
        file.write(encoder.write_header())
        file.writelines(encoder.write_batch(batch) for batch in stream)
        file.write(encoder.finish())
    return path


def load(table: StaticTable, path: Path, target: Target) -> None:
    """COPY the encoded rows into a table without a key, index it, collect statistics."""
    gist = published.create_indexes(table)[0]
    create = published.create_table(table).split("PRIMARY KEY")[0].rstrip().rstrip(",") + ")"
    with psycopg.connect(target.conninfo, autocommit=True) as session:
        session.execute(f"DROP TABLE IF EXISTS {table.name}".encode())
        with session.transaction():
            session.execute(create.encode())
            columns = ", ".join(table.column_names)
            copy_in = f"COPY {table.name} ({columns}) FROM STDIN (FORMAT binary, FREEZE)"
            with path.open("rb") as file, session.cursor().copy(copy_in.encode()) as copy:
                while piece := file.read(_PIECE):
                    copy.write(piece)
        session.execute(gist.encode())
        session.execute(f"ANALYZE {table.name}".encode())
