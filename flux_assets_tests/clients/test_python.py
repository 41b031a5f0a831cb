"""SQLAlchemy's reflection and GeoPandas, as the role of map applications."""

from __future__ import annotations

import geopandas
import pytest
import sqlalchemy as sa

from flux_assets.spec import Declaration
from flux_assets.tables import declarations, layers
from flux_assets_tests.clients.moving import FAULTS, POLES, Moving, Reader, follow
from flux_assets_tests.made_layers import made_up

DRIVER = "postgresql+psycopg"


@pytest.fixture
def engine(reader_url):
    engine = sa.create_engine(reader_url(DRIVER))
    yield engine
    engine.dispose()


def shape(table: sa.Table) -> list[tuple[str, str, bool]]:
    """Names and types of the columns as PostgreSQL spells them, and whether they are of the key."""
    dialect = sa.create_engine("postgresql+psycopg://").dialect
    return [
        (column.name, str(column.type.compile(dialect=dialect)).lower(), column.primary_key) for column in table.columns
    ]


def declared_shape(declaration: Declaration) -> list[tuple[str, str, bool]]:
    return [
        (name, kind, key and not declaration.table.name.startswith("topology"))
        for name, kind, key in shape(declaration.table)
    ]


def test_every_table_is_reflected_as_it_is_declared(city, engine):
    reflected = sa.MetaData()
    reflected.reflect(engine)
    assert {table.name for table in declarations()} <= set(reflected.tables)
    for declaration in declarations():
        assert shape(reflected.tables[declaration.name]) == declared_shape(declaration)


def test_every_layer_is_a_frame_of_geopandas(city, engine, sql):
    for table in layers():
        for column in table.spatial_columns:
            frame = geopandas.read_postgis(
                f"SELECT *, {column.name}::geometry AS shape FROM {table.name}", engine, "shape"
            )
            assert len(frame) == sql(f"SELECT count(*) FROM {table.name}")[0][0]
            assert frame.crs.to_epsg() == 4326
            assert frame.geometry.notna().all()


def test_frames_through_ten_publishes_and_syncs(engine, moving: Moving):
    def read(table: str, column: str, factor: int) -> tuple[int, set[int]]:
        frame = geopandas.read_postgis(f"SELECT {column}, geom FROM {table}", engine, "geom")
        return len(frame), {round(value * factor) for value in frame[column]}

    def reflect() -> tuple[int, set[int]]:
        poles = sa.Table("poles", sa.MetaData(), autoload_with=engine)
        assert shape(poles) == shape(made_up().table)
        with engine.connect() as session:
            scores = session.execute(sa.select(poles.c.score)).scalars().all()
        return len(scores), {round(score * 100) for score in scores}

    follow(
        moving,
        Reader(lambda: read("poles", "score", 100), POLES),
        Reader(lambda: read("faults", "homes", 1), FAULTS),
        Reader(reflect, POLES),
    )
