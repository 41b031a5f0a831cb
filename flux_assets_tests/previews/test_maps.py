"""Pictures of made-up layers, drawn from real tables: small, not blank, and of the layer's own colour."""

import io
from collections import Counter

import numpy as np
import pytest
from geoalchemy2 import Geography, Geometry
from matplotlib.figure import Figure
from PIL import Image
from sqlalchemy import Column, Double, Integer, MetaData, Table

from flux_assets.previews.maps import as_markdown, draw
from flux_assets.previews.panel import png
from flux_assets.spec import StaticTable
from flux_assets.spec.facts import Position

MOST_BYTES = 20_000


def layer(*columns: Column, positions: tuple[Position, ...] = (), draw: str = "#1060d0") -> StaticTable:
    key = Column("id", Integer, primary_key=True, autoincrement=False, comment="Number.")
    table = Table("shapes", MetaData(), key, *columns, comment="Made up.")
    return StaticTable(table=table, positions=positions, release_rows=1, draw=draw)


def geometry(kind: str) -> StaticTable:
    return layer(Column("geom", Geometry(kind, srid=4326, spatial_index=False), comment="Shape."))


def degrees(*names: str) -> list[Column]:
    return [Column(name, Double, comment="Degrees.") for name in names]


def colors(picture: bytes) -> Counter:
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    return Counter({color: count for count, color in image.getcolors(1 << 20)})


def blueness(picture: bytes) -> int:
    """How many pixels are bluer than red, as the layer's colour is and paper is not."""
    return sum(count for (red, _, blue), count in colors(picture).items() if blue > red + 40)


POINTS = "SELECT i, ST_Point(10 + i % 60 * 0.001, 50 + i / 60 * 0.001, 4326){cast} FROM generate_series(1, {rows}) i"
SQUARES = (
    "SELECT i, ST_Expand(ST_Point(10 + i % 60 * 0.01, 50 + i / 60 * 0.01, 4326), {size})"
    " FROM generate_series(1, {rows}) i"
)
LINES = (
    "SELECT i, ST_MakeLine(ST_Point(10 + i % 60 * 0.01, 50, 4326), ST_Point(10.3, 50 + i * 0.001, 4326))"
    " FROM generate_series(1, {rows}) i"
)


@pytest.mark.parametrize(
    ("table", "query", "panels"),
    [
        (geometry("POINT"), POINTS.format(cast="", rows=500), 1),
        (geometry("POLYGON"), SQUARES.format(size=0.004, rows=500), 1),
        (geometry("POLYGON"), SQUARES.format(size=0.0001, rows=6000), 2),
        (geometry("LINESTRING"), LINES.format(rows=300), 1),
        (geometry("GEOMETRY"), f"{SQUARES.format(size=0.02, rows=60)} UNION ALL {POINTS.format(cast='', rows=60)}", 1),
        (layer(Column("geom", Geography("POINT", srid=4326, spatial_index=False), comment="Place.")),
         POINTS.format(cast="::geography", rows=275), 1),
    ],
    ids=["points", "areas", "areas too small to see", "lines", "several kinds", "geography"],
)  # fmt: skip
def test_geometry_is_drawn(table, query, panels, target, sql):
    sql(f"CREATE TABLE shapes AS {query.replace('i,', 'i AS id,', 1).replace(' FROM', ' AS geom FROM', 1)}")
    rows = sql("SELECT count(*) FROM shapes")[0][0]
    picture = draw(table, target, rows)
    assert len(picture) <= MOST_BYTES
    assert blueness(picture) > 200
    width, height = Image.open(io.BytesIO(picture)).size
    assert width == panels * height


def test_a_position_is_drawn_where_there_is_no_geometry(target, sql):
    table = layer(*degrees("x", "y"), positions=(Position(longitude="x", latitude="y"),))
    sql("CREATE TABLE shapes AS SELECT i AS id, 10 + i * 0.01 AS x, 50 + i * 0.01 AS y FROM generate_series(1, 50) i")
    assert blueness(draw(table, target, 50)) > 50


def test_two_positions_are_drawn_as_the_line_between_them(target, sql):
    table = layer(
        *degrees("x1", "y1", "x2", "y2"),
        positions=(Position(longitude="x1", latitude="y1"), Position(longitude="x2", latitude="y2")),
    )
    sql("CREATE TABLE shapes AS SELECT 1 AS id, 10.0 AS x1, 50.0 AS y1, 11.0 AS x2, 51.0 AS y2")
    diagonal = blueness(draw(table, target, 1))
    assert diagonal > 150


def test_a_table_without_any_place_has_no_picture(target, sql):
    sql("CREATE TABLE shapes (id int)")
    assert draw(layer(*degrees("height")), target, 0) is None


@pytest.mark.parametrize("value", ["NULL", "'SRID=4326;POINT EMPTY'"])
def test_rows_without_a_place_are_left_out(value, target, sql):
    sql("CREATE TABLE shapes (id int, geom geometry(POINT, 4326))")
    sql(f"INSERT INTO shapes VALUES (1, {value})")
    assert draw(geometry("POINT"), target, 1) is None


@pytest.mark.parametrize("kind", ["POLYGON", "MULTIPOLYGON", "GEOMETRYCOLLECTION"])
def test_a_hole_is_left_open(kind, target, sql):
    ring = "ST_Difference(ST_Expand(ST_Point(10, 50, 4326), 0.4), ST_Expand(ST_Point(10, 50, 4326), 0.2))"
    wrapped = {
        "POLYGON": ring,
        "MULTIPOLYGON": f"ST_Multi({ring})",
        "GEOMETRYCOLLECTION": f"ST_ForceCollection({ring})",
    }
    sql(f"CREATE TABLE shapes AS SELECT 1 AS id, {wrapped[kind]} AS geom")
    image = Image.open(io.BytesIO(draw(geometry(kind), target, 1))).convert("RGB")
    assert max(image.getpixel((150, 150))) - min(image.getpixel((150, 150))) < 20
    red, _, blue = image.getpixel((80, 150))
    assert blue > red + 40


def test_a_noisy_layer_stays_small(target, sql):
    sql("SELECT setseed(0.5)")
    sql(
        "CREATE TABLE shapes AS SELECT i AS id, ST_Buffer(ST_Point(10 + random(), 50 + random(), 4326),"
        " 0.05 * random()) AS geom FROM generate_series(1, 4000) i"
    )
    assert len(draw(geometry("POLYGON"), target, 4000)) <= MOST_BYTES


def test_no_picture_is_larger_than_it_may_be():
    noise = Image.merge("RGB", [Image.effect_noise((600, 300), 90) for _ in range(3)])
    figure = Figure(figsize=(6, 3), dpi=100)
    figure.figimage(np.asarray(noise))
    picture = png(figure, ["#fbfaf7", "#c0362c"])
    assert len(picture) <= MOST_BYTES
    assert Image.open(io.BytesIO(picture)).width > 100


def test_strays_do_not_shrink_the_picture(target, sql):
    """One row at 0, 0, as real files have, would otherwise leave everything else in one dot."""
    sql(f"CREATE TABLE shapes AS SELECT id, geom FROM ({POINTS.format(cast='', rows=2000)}) AS t (id, geom)")
    before = blueness(draw(geometry("POINT"), target, 2000))
    sql("INSERT INTO shapes VALUES (0, ST_Point(0, 0, 4326))")
    assert blueness(draw(geometry("POINT"), target, 2001)) > 0.7 * before


def test_the_markdown_carries_the_picture():
    assert as_markdown(geometry("POINT"), b"abc") == "![shapes](data:image/png;base64,YWJj)"


LAKE = (
    "CREATE TABLE lake AS SELECT 1 AS id, ST_Expand(ST_Point(10.03, 50, 4326), 0.02)::geometry(POLYGON, 4326) AS geom"
)


def lake() -> StaticTable:
    columns = [
        Column("id", Integer, primary_key=True, autoincrement=False, comment="Number."),
        Column("geom", Geometry("POLYGON", srid=4326, spatial_index=False), comment="Shape."),
    ]
    table = Table("lake", MetaData(), *columns, comment="Made up.")
    return StaticTable(table=table, release_rows=1, ground="#f0c0c0")


def test_what_is_declared_as_ground_lies_behind_and_is_not_needed(target, sql):
    sql(f"CREATE TABLE shapes AS SELECT id, geom FROM ({POINTS.format(cast='', rows=300)}) AS t (id, geom)")
    alone = draw(geometry("POINT"), target, 300, [lake()])
    assert (0xF0, 0xC0, 0xC0) not in colors(alone)
    sql(LAKE)
    over = draw(geometry("POINT"), target, 300, [lake()])
    assert colors(over)[0xF0, 0xC0, 0xC0] > 1000
    assert blueness(over) > 0.9 * blueness(alone)


def test_a_layer_does_not_lie_behind_itself(target, sql):
    sql(LAKE)
    assert (0xF0, 0xC0, 0xC0) not in colors(draw(lake(), target, 1, [lake()]))
