"""Another tool on the same rows: geopandas.

Here: what a user of geopandas would write. Not here: tools that are not in PyPI.
"""

from __future__ import annotations

from functools import partial

from bench import ours
from bench.ground import Ground, first_rows, path_of
from bench.results import Section
from bench.timing import Side, alternated, ratios, seconds
from flux_assets.postgis.connect import Target
from flux_assets.release.release import Release
from flux_assets.spec import StaticTable

ROWS = 300_000
OURS, GEOPANDAS = "ours, all audits", "geopandas.to_postgis"


def measure(ground: Ground, table: StaticTable, release: Release, pairs: int) -> Section:
    """The first rows of a layer, read and written by geopandas, against a load of ours of the same file."""
    part = first_rows(release, table, ROWS, "peers")
    new, other = ground.fresh_database("bench_ours"), ground.fresh_database("bench_geopandas")
    ours.load(table, part, new)
    sides = [
        Side(name=GEOPANDAS, run=partial(_geopandas, table, part, other), ready=ground.settle),
        Side(name=OURS, run=partial(_ours, table, part, new), ready=ground.settle),
    ]
    runs = alternated(sides, pairs, ground)
    return Section(
        title=f"Peers: {ROWS:,} rows of {table.name} at most, {pairs} rounds in turn",
        columns=["way", "seconds", "geopandas / it"],
        rows=[[name, seconds(found).text(), ratios(runs[GEOPANDAS], found).text()] for name, found in runs.items()],
        notes=["geopandas: pandas.read_csv with every id as text, from_wkb, to_postgis, then key, GiST, ANALYZE"],
        values={name: [vars(run) for run in found] for name, found in runs.items()},
    )


def _ours(table: StaticTable, release: Release, target: Target) -> dict[str, float]:
    return ours.load(table, release, target).seconds


def _geopandas(table: StaticTable, release: Release, target: Target) -> None:
    import geopandas
    import pandas as pd
    import psycopg
    import sqlalchemy as sa

    engine = sa.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(target.conninfo))
    frame = pd.read_csv(path_of(release, table), dtype=dict.fromkeys(table.key, str))
    (spatial,) = (column.name for column in table.spatial_columns)
    shapes = geopandas.GeoSeries.from_wkb(frame[spatial], crs=4326)
    layer = geopandas.GeoDataFrame(frame.drop(columns=spatial), geometry=shapes.rename(spatial))
    layer.to_postgis(table.name, engine, if_exists="replace")
    with engine.begin() as session:
        session.execute(sa.text(f"ALTER TABLE {table.name} ADD PRIMARY KEY ({', '.join(table.key)})"))
        session.execute(sa.text(f"ANALYZE {table.name}"))
    engine.dispose()
