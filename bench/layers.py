"""The largest layer loaded again and again: by each way, and beside geopandas."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from time import perf_counter
from unittest.mock import patch

import geopandas
import pandas as pd
import psycopg
import pyarrow as pa
import sqlalchemy as sa
from pgpq import ArrowToPostgresBinaryEncoder
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from bench.ground import LAYER, Ground, first_rows, keys_in_order, run
from bench.runs import Run, Runs, Section, Side, Work, alternated, goal, quotients, section
from flux_assets.layers import indexes
from flux_assets.layers.context import LoadOptions
from flux_assets.layers.load import LoadResult, load_layer
from flux_assets.postgis.relations import create_index
from flux_assets.postgis.session import Target
from flux_assets.release.decode.stream import LayerStream
from flux_assets.release.release import Release
from flux_assets.sample import binaries
from flux_assets.spec import Declaration, StaticTable

AT_ONCE = 2
_VARIABLES = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "dbname": "PGDATABASE"}


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


def load_published(tables: Iterable[StaticTable], release: Release, target: Target) -> None:
    """Load layers as it was done before, one after the other; nothing is counted, nothing checked."""
    environment = environment_of(target)
    psql = [binaries.find().program("psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1"]

    def execute(*statements: str) -> None:
        run([*psql, *(argument for statement in statements for argument in ("-c", statement))], environment)

    for table in tables:
        execute(f"DROP TABLE IF EXISTS {table.name} CASCADE", create_table(table))
        copy_in = f"\\copy {table.name} ({', '.join(table.column_names)}) FROM STDIN WITH (FORMAT csv, HEADER)"
        pipe = f"gunzip -c {shlex.quote(str(path_of(release, table)))} | {shlex.join([*psql, '-c', copy_in])}"
        run(["bash", "-o", "pipefail", "-c", pipe], environment)
        execute(*create_indexes(table), f"ANALYZE {table.name}")


def environment_of(target: Target) -> dict[str, str]:
    """What tells libpq of other programs where to go."""
    said = conninfo_to_dict(target.conninfo)
    return {variable: str(said[name]) for name, variable in _VARIABLES.items()}


def path_of(release: Release, table: StaticTable) -> Path:
    """Where the file of a layer lies."""
    return release.fetch(release.resolve(table.file_name, table.name))


def create_table(table: Declaration) -> str:
    """The table with its key and unique constraints, as the old schema had it."""
    return str(CreateTable(table.table).compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]


def create_indexes(table: Declaration) -> list[str]:
    """The other indexes, those of geographies too."""
    return [create_index(sql.Identifier(table.name), index).as_string() for index in table.indexes]


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
    with session.cursor().copy(f"COPY {into} FROM STDIN ({', '.join(['FORMAT binary', *options])})".encode()) as out:
        for piece in pieces:
            out.write(piece)


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


ALONE = ("stage", "index", "analyze", "publish")
PUBLISHED, OURS, BARE, FLOOR = "published way", "ours, all audits", "ours, audits off", "floor"
GEOPANDAS, PEER_ROWS = "geopandas.to_postgis", 300_000


def buildings(ground: Ground, *, in_order: bool) -> Section:
    """Load the layer by each way into where it has been published already."""
    release, keys = ground.city(), "buildings, ids in no order"
    if in_order:
        release, keys = keys_in_order(release), "buildings, ids in the file's order"
    ground.say("  encoding the rows for the floor, and a first load of each way")
    encoded = encoded_layer(LAYER, release)
    old, new, low = (ground.fresh_database(name) for name in ("bench_published", "bench_ours", "bench_floor"))
    ours = _loaded(release, new)
    without_audits = patch.object(indexes, "audits_of", lambda _: ())
    works: dict[str, Work] = {
        PUBLISHED: partial(load_published, [LAYER], release, old),
        OURS: ours,
        FLOOR: partial(load_floor, LAYER, encoded, low),
        BARE: without_audits(ours),
    }
    runs, claim = _alternated(ground, works), f"{keys}, load + index + publish alone"
    goals = [
        goal(f"{keys}, all audits inside: published / ours", "≥ 1.6x", runs.ratio(PUBLISHED, OURS)),
        goal(f"{claim}: published / ours", "≥ 1.8x", runs.ratio(PUBLISHED, BARE, _alone)),
        goal(f"{claim}: ours / floor", "≤ 1.4x", quotients(runs.of(BARE, _alone), runs.seconds(FLOOR))),
    ]
    alone = f"alone: {' + '.join(ALONE)}, audits off: warning audits take cores from these steps"
    notes = [alone, *map(runs.by_step, (OURS, BARE))]
    return section(f"{keys}, one layer", runs, PUBLISHED, goals=goals, notes=notes)


def peers(ground: Ground) -> Section:
    """The first rows of the layer, read and written by geopandas, against a load of ours of the same file."""
    part = first_rows(ground.city(), PEER_ROWS)
    other = partial(_geopandas, part, ground.fresh_database("bench_geopandas"))
    works: dict[str, Work] = {GEOPANDAS: other, OURS: _loaded(part, ground.fresh_database("bench_ours"))}
    notes = ["geopandas: pandas.read_csv with every id as text, from_wkb, to_postgis, then key, GiST, ANALYZE"]
    title = f"Peers: {PEER_ROWS:,} rows of {LAYER.name} at most"
    return section(title, _alternated(ground, works), GEOPANDAS, notes=notes)


def _alternated(ground: Ground, works: Mapping[str, Work]) -> Runs:
    sides = {name: Side(run=work, ready=ground.settle) for name, work in works.items()}
    return alternated(ground, sides, ground.wanted.pairs)


def _loaded(release: Release, target: Target) -> Callable[[], dict[str, float]]:
    """Load the layer once, and return what loads it again."""

    def again() -> dict[str, float]:
        return load(LAYER, release, target).seconds

    again()
    return again


def _alone(run: Run) -> float:
    """Seconds of load, index and publish in a run of ours."""
    return sum(run.steps[step] for step in ALONE)


def _geopandas(release: Release, target: Target) -> None:
    engine = sa.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(target.conninfo))
    frame = pd.read_csv(path_of(release, LAYER), dtype=dict.fromkeys(LAYER.key, str))
    (spatial,) = (column.name for column in LAYER.spatial_columns)
    shapes = geopandas.GeoSeries.from_wkb(frame[spatial], crs=4326)
    found = geopandas.GeoDataFrame(frame.drop(columns=spatial), geometry=shapes.rename(spatial))
    found.to_postgis(LAYER.name, engine, if_exists="replace")
    with engine.begin() as session:
        session.execute(sa.text(f"ALTER TABLE {LAYER.name} ADD PRIMARY KEY ({', '.join(LAYER.key)})"))
        session.execute(sa.text(f"ANALYZE {LAYER.name}"))
    engine.dispose()
