"""The map of a dynamic table: each status in its colour, however few rows have it, and larger dots for more."""

import io
from dataclasses import replace

from PIL import Image

from flux_assets.previews.maps import draw_live
from flux_assets.spec.facts import Picture
from flux_assets_tests.synced import FAULTS

MOST_BYTES = 20_000
RED, BLUE = (0xD6, 0x27, 0x28), (0x2A, 0x7F, 0xB8)
PICTURE = Picture(colour_column="state", colours=(("OPEN", "#d62728"), ("CREW", "#2a7fb8")), size_column="homes")
TABLE = replace(FAULTS, picture=PICTURE)
MANY = (
    "INSERT INTO faults (fault_id, state, homes, geom)"
    " SELECT i, 'DONE', 5, ST_Point(10 + i % 40 * 0.01, 50 + i / 40 * 0.01, 4326) FROM generate_series(1, 1000) i"
)


def pixels(picture, colour):
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    return sum(count for count, found in image.getcolors(1 << 20) if found == colour)


def table(sql):
    sql("CREATE TABLE faults (fault_id text, state text, homes int, geom geometry(POINT, 4326))")


def add(sql, name, state, homes, x, y):
    sql("INSERT INTO faults VALUES (%s, %s, %s, ST_Point(%s, %s, 4326))", name, state, homes, x, y)


def test_one_row_among_a_thousand_keeps_its_colour(target, sql):
    table(sql)
    sql(MANY)
    assert pixels(draw_live(TABLE, target), RED) == 0
    add(sql, "a", "OPEN", 900, 10.2, 50.1)
    picture = draw_live(TABLE, target)
    assert pixels(picture, RED) > 30
    assert len(picture) <= MOST_BYTES


def test_more_customers_make_a_larger_dot(target, sql):
    table(sql)
    add(sql, "a", "OPEN", 900, 10.2, 50.1)
    add(sql, "b", "CREW", 9, 10.1, 50.2)
    picture = draw_live(TABLE, target)
    assert pixels(picture, RED) > 3 * pixels(picture, BLUE) > 0


def test_no_rows_with_a_place_and_no_picture_declared(target, sql):
    table(sql)
    sql("INSERT INTO faults VALUES ('a', 'OPEN', 1, NULL)")
    assert draw_live(TABLE, target) is None
    assert draw_live(FAULTS, target) is None
