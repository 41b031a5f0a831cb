"""The largest layer from files of several formats, beside ogr2ogr with COPY of the same files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from time import perf_counter

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import shapely
from psycopg import sql

from bench import layers
from bench.ground import LAYER, WORK, Ground, made_once, plain_layer, run
from bench.memory import probe
from bench.runs import Run, Section, Side, Work, alternated, goal, quotients, section
from flux_assets.postgis.session import Target
from flux_assets.release.decode.stream import LayerStream
from flux_assets.release.release import Release
from flux_assets.release.writing import entries_of, write_manifest

_CSV, _PARQUET = ".csv.gz", ".parquet"
_OF_GDAL = {".gpkg": "GPKG", ".fgb": "FlatGeobuf"}


def formats(ground: Ground) -> Section:
    """Load the layer again and again from a file of each format, without its index on geographies."""
    releases = {_CSV: ground.city(), _PARQUET: _written(ground, _PARQUET)}
    releases |= {suffix: _written(ground, suffix) for suffix in _OF_GDAL}
    ours = {suffix: ground.fresh_database(f"bench_ours{suffix}") for suffix in releases}
    works: dict[str, Work] = {f"ours, {suffix}": _loading(releases[suffix], ours[suffix]) for suffix in releases}
    for suffix in _OF_GDAL:
        theirs = ground.fresh_database(f"bench_ogr{suffix}")
        works[f"ogr2ogr, {suffix}"] = partial(_by_ogr2ogr, Path(releases[suffix].address) / _name(suffix), theirs)
    for work in works.values():
        work()
    runs = alternated(
        ground, {name: Side(run=work, ready=ground.settle) for name, work in works.items()}, ground.wanted.few
    )
    csv, parquet = f"ours, {_CSV}", f"ours, {_PARQUET}"
    by_client = quotients(runs.of(parquet, _client), runs.of(csv, _client))
    goals = [
        goal("GeoParquet / CSV, CPU seconds of the client", "≤ 0.6x", by_client),
        goal("GeoParquet / CSV, end to end", "≤ 1x", runs.ratio(parquet, csv)),
        *(
            goal(
                f"ours / ogr2ogr with COPY, {suffix}, end to end",
                "≤ 1x",
                runs.ratio(f"ours, {suffix}", f"ogr2ogr, {suffix}"),
            )
            for suffix in _OF_GDAL
        ),
    ]
    grown = {
        suffix: probe(ground, ours[suffix], "plain", str(releases[suffix].address))["growth"] for suffix in releases
    }
    notes = [
        f"ogr2ogr: -lco SPATIAL_INDEX=NONE with PG_USE_COPY, then the layer's key and index, ANALYZE; {version}"
        for version in run(["ogr2ogr", "--version"], {})[0].splitlines()
    ]
    notes += [f"CPU s of the client: {', '.join(f'{name} {runs.of(name, _client):.1f}' for name in works)}"]
    notes += [f"memory growth, MB: {', '.join(f'{suffix} {size / 1e6:.0f}' for suffix, size in grown.items())}"]
    notes += [runs.by_step(name) for name in works]
    return section(f"Formats, {LAYER.name}", runs, csv, goals=goals, notes=notes)


def _client(run: Run) -> float:
    return run.client_cpu


def _name(suffix: str) -> str:
    return f"{LAYER.name}{suffix}"


def _loading(release: Release, target: Target) -> Work:
    return lambda: layers.load(plain_layer(), release, target).seconds


def _by_ogr2ogr(path: Path, target: Target) -> dict[str, float]:
    """Load a file by ogr2ogr into a table with the same key and index as ours; return the seconds of both steps."""
    begun = perf_counter()
    how = ["-overwrite", "-nln", LAYER.name, "-lco", "SPATIAL_INDEX=NONE", "-lco", "GEOMETRY_NAME=geom"]
    run(["ogr2ogr", "-f", "PostgreSQL", "PG:", str(path), *how], layers.environment_of(target) | {"PG_USE_COPY": "YES"})
    copied = perf_counter()
    with psycopg.connect(target.conninfo, autocommit=True) as session:
        key = sql.SQL(", ").join(map(sql.Identifier, LAYER.key))
        session.execute(sql.SQL("ALTER TABLE {} ADD UNIQUE ({})").format(sql.Identifier(LAYER.name), key))
        for statement in (*layers.create_indexes(plain_layer()), f"ANALYZE {LAYER.name}"):
            session.execute(statement.encode())
    return {"ogr2ogr": copied - begun, "indexes": perf_counter() - copied}


def _written(ground: Ground, suffix: str) -> Release:
    """A release with the layer in a file of another format, as GDAL or pyarrow writes it."""

    def write(folder: Path) -> None:
        put(folder)
        write_manifest(folder, entries_of(folder, [LAYER], WORK, {}, ground.say), [LAYER])

    def put(folder: Path) -> None:
        stream = LayerStream(layers.path_of(ground.city(), LAYER), LAYER.file_name, LAYER)
        folder.mkdir()
        path, (spatial,) = folder / _name(suffix), (column.name for column in LAYER.spatial_columns)
        rows = pa.Table.from_batches(_without_srid(stream, spatial), stream.schema)
        if suffix == _PARQUET:
            columns = {spatial: {"encoding": "WKB", "geometry_types": ["Polygon"]}}
            facts = json.dumps({"version": "1.1.0", "primary_column": spatial, "columns": columns})
            with pq.ParquetWriter(path, stream.schema.with_metadata({"geo": facts})) as file:
                file.write_table(rows, row_group_size=100_000)
            return
        known = {"geometry_name": str(spatial), "geometry_type": "Polygon", "crs": "EPSG:4326"}
        pyogrio.write_arrow(rows, path, driver=_OF_GDAL[suffix], **known)

    return made_once(f"{Path(ground.city().address).name}-as{suffix}", write)


def _without_srid(stream: LayerStream, spatial: str) -> Iterator[pa.RecordBatch]:
    for batch in stream:
        shapes = shapely.from_wkb(batch[spatial].to_numpy(zero_copy_only=False))
        wkb = pa.array(shapely.to_wkb(shapes, include_srid=False), pa.binary())
        yield batch.set_column(batch.schema.get_field_index(spatial), batch.schema.field(spatial), wkb)
