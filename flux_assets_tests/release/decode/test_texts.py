"""The decoder and PostgreSQL's COPY take the same texts of each type and make the same values of them.

TEXTS_TRIED sets how many texts of each type are tried, for a longer run than the suite has time for.
"""

import gzip
import os
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest
from geoalchemy2 import Geometry
from psycopg import sql as psql
from sqlalchemy import BigInteger, Column, Date, DateTime, Double, Integer, MetaData, Numeric, String, Table

from flux_assets.errors import RecordError
from flux_assets.layers.context import LoadOptions
from flux_assets.layers.load import load_layer
from flux_assets.postgis import copying
from flux_assets.postgis.copying import texts_of
from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.session import Target
from flux_assets.release.decode.blocks import Block
from flux_assets.release.decode.columns import ReadColumn, SuspectError
from flux_assets.release.decode.parse import Parser
from flux_assets.release.decode.sieve import Quarantine
from flux_assets.release.decode.stream import LayerStream
from flux_assets.release.release import Release
from flux_assets.sample.cluster import Cluster
from flux_assets.spec import StaticTable, type_ddl
from flux_assets.tables import static_tables
from flux_assets_tests.conftest import fresh_database
from flux_assets_tests.release_files import compressed, copied, ewkb, read

MANY = int(os.environ.get("TEXTS_TRIED", "400"))
TYPES = {
    "integer": Integer,
    "bigint": BigInteger,
    "double": Double,
    "numeric": Numeric(8, 2),
    "date": Date,
    "timestamp": DateTime,
    "timestamptz": DateTime(timezone=True),
    "varchar": String(5),
}
LISTED = {
    "integer": "0 -0 +0 5 +5 -5 007 +007 2147483647 2147483648 -2147483648 -2147483649 0x1F 0xFFFFFFFF 0o17 0b1 1_000"
    " 1. 1.0 1e3 --5 +-5 + - 五 ٣",
    "bigint": "0xffffffffffffffff 9223372036854775807 9223372036854775808 -9223372036854775808 +9007199254740993 1e3",
    "double": "1e-400 -1e-400 1e-320 4.9e-324 2.5e-324 2.4e-324 0e-999 0e999 1e400 -1e400 1e308 1.8e308 nan NaN -nan"
    " +nan nan(12) nan() inf +inf -inf infinity Infinity infinit +1.5 1. .5 . e5 1e 1e+ 0x1p3 0x1F 0x 1d5 1f 1_0 1,5"
    f" 0.{'0' * 330}1 {'1' * 310} {'9' * 60}e-40",
    "numeric": "1.005 -1.005 1.004 0.005 999999.99 999999.994 999999.995 1000000 12345678 1e2 1e5 1e6 +1 .5 5. . NaN"
    " nan Infinity 0x10 1_000 1e-1000 0e1000 1e1000 1e-21030 1e-2 1e-3 1e+2 1e+-2 1E+-0 --1",
    "date": "0000-01-01 0001-01-01 2024-1-1 20240101 01/02/2024 31/12/2024 2024.366 J2451187 9999-12-31 10000-01-01"
    " 5874897-12-31 2024-02-30 2023-02-29 Jan-08-1999 08-Jan-99 99-Jan-08 1999-W01 epoch infinity -infinity allballs"
    " 2024-01-01T00:00 now today Tomorrow YESTERDAY 240101 2024-001",
    "timestamp": "0000-01-01 2024-01-01T12 2024-01-01T12:30 2024-01-01T12:30Z 2024-01-01T123000 2024-01-01T1230"
    " 2024-01-01T12:30:60 2024-01-01T24:00:00 2024-01-01T24:00:01 2024-01-01T12:30:00.1234567 2024-01-01T12:30:00."
    " 20240101T123000 epoch infinity now 294276-12-31T23:59:59 294277-01-01 2024-01-01T12:30:00+05",
    "timestamptz": "2024-01-01 2024-01-01T12+05 2024-01-01T12:30+5 2024-01-01T12:30+0530 2024-01-01T12:30-00:30:15"
    " 2024-01-01T12:30+15:59 2024-01-01T12:30+16:00 2024-01-01T12:30:00PST 2024-01-01T12:30:00z infinity",
    "varchar": "abcde abcdef ééééé",
}
SPACED = {
    "integer": [" 5", "5\t", "\n5", "5\v", "- 5", "5 5", "", " "],
    "double": [" 1.5 ", "\t1\n", "- 1", ""],
    "numeric": [" 1.5 ", "\t1\n", ""],
    "date": ["January 8, 1999", "8 Jan 1999", "0044-03-15 BC", " 2024-01-01", "2024-01-01\t", "2024 1 1"],
    "timestamp": [
        "0000-01-01 00:00:00", "2024-01-01 12", "2024-01-01 12:", "2024-01-01 12 PM", "2024-01-01 3:04 PM", "12:30",
        "2024-01-01 12:30 BC", "2024-01-01 allballs", "2024-01-01  12:30", " 2024-01-01 12:30 ", "2024-01-01 1230",
        "today 12:30", "2024-01-01 12:30:00 America/Chicago", "Mon Jan 01 12:30:00 2024", "2024-01-01 12:61",
    ],
    "timestamptz": [
        "2024-07-01 12:30 America/Chicago", "2024-01-01 12:30:00 CST", "2024-01-01 12:30 +05", "2024-01-01 12:30 XYZ",
        "2024-01-01 12:30 Europe/Nowhere", "2024-01-01 12+05", "0000-01-01 00:00:00Z", "0001-01-01 00:00:00 BC",
    ],
    "varchar": ["abc  ", "abcde   ", "abcde  x", "     ", "      ", "éé    ", "abcde\u00a0", "abcde\t"],
}  # fmt: skip
SIGNS = {
    "integer": "0123456789+-xX_ ab.e",
    "bigint": "0123456789+-xX_ .e",
    "double": "0123456789+-.eE naifx",
    "numeric": "0123456789+-.eE na",
    "date": "0123456789-/ .JanBC",
    "timestamp": "0123456789-: T.ZPM+",
    "timestamptz": "0123456789-: T.Z+",
    "varchar": "ab é  ",
}
# Values that COPY takes and a layer does not: times of the moment of loading, and what cannot be drawn.
MOVING = ("now", "today", "tomorrow", "yesterday")
UNBOUNDED = ("infinity", "NaN", "294")


@pytest.fixture(scope="module")
def place(cluster: Cluster) -> Iterator[Target]:
    with fresh_database(cluster) as name:
        yield Target(conninfo=cluster.conninfo(name))


def texts_like(kind: str, chance: random.Random) -> list[str]:
    """The listed texts, and others that one or two changes make of them."""
    listed = [*LISTED[kind].split(" "), *SPACED.get(kind, [])]
    made = []
    for _ in range(MANY):
        text = [*chance.choice(listed)]
        for _ in range(chance.choice([1, 1, 2, 3])):
            at = chance.randrange(len(text) + 1)
            text[at : at + chance.choice([0, 1, 1])] = chance.choice([[], [chance.choice(SIGNS[kind])]])
        made.append("".join(text))
    return [*dict.fromkeys([*listed, *made])]


def table_of(kind: object) -> StaticTable:
    columns = [Column("n", Integer, comment="Number."), Column("v", kind, comment="Value.")]
    return StaticTable(table=Table("t", MetaData(), *columns, comment="Texts."), release_rows=1)


@contextmanager
def tables(place: Target, table: StaticTable) -> Iterator[psycopg.Connection]:
    """Two empty tables in a session as a load has: what COPY reads, and what the decoder reads."""
    with place.session("test") as session:
        for name in ("by_copy", "by_us"):
            kind = psql.SQL(type_ddl(table.columns[1]))
            session.execute(psql.SQL("CREATE TEMP TABLE {} (n int, v {})").format(psql.Identifier(name), kind))
        yield session


def taken_by_copy(session: psycopg.Connection, lines: Sequence[str]) -> None:
    """COPY every line that it takes: all at once, and where that fails, by halves."""
    if not lines:
        return
    try:
        with session.transaction(), session.cursor().copy("COPY by_copy FROM STDIN (FORMAT csv)") as copy:
            copy.write("".join(lines))
    except (psycopg.errors.DataError, psycopg.errors.InternalError_):
        if len(lines) > 1:
            taken_by_copy(session, lines[: len(lines) // 2])
            taken_by_copy(session, lines[len(lines) // 2 :])


def taken_by_us(
    place: Target, session: psycopg.Connection, table: StaticTable, text: str, folder: Path
) -> dict[int, str]:
    """COPY what the decoder takes; returns why it does not take the others, by the number of the record."""
    path, sieve = compressed(folder, text), Quarantine(1_000_000)
    with texts_of(place, "test", Stop()) as ask:
        stream = LayerStream(path, path.name, table, sieve=sieve, ask=ask, block_bytes=4000)
        with session.cursor().copy("COPY by_us FROM STDIN (FORMAT binary)") as copy:
            for chunk in copying.encoded(stream, stream.schema):
                copy.write(chunk)
    return {refused.record - 1: error.reason for refused, error in sieve.taken()}


def line_of(n: int, text: str) -> str:
    """A record, always with quotes."""
    return f'{n},"{text}"\n' if copied(text) == text else f"{n},{copied(text)}\n"


def differences(place: Target, table: StaticTable, texts: Sequence[str], folder: Path) -> list[tuple]:
    """Texts that one of the two takes alone, or takes otherwise: the text, COPY's value, ours, why we refuse it."""
    lines = [line_of(n, text) for n, text in enumerate(texts)]
    with tables(place, table) as session:
        taken_by_copy(session, lines)
        reasons = taken_by_us(place, session, table, "n,v\n" + "".join(lines), folder)
        rows = session.execute(
            "SELECT coalesce(c.n, u.n), c.v::text, u.v::text FROM by_copy c FULL JOIN by_us u ON c.n = u.n"
            " WHERE c.n IS NULL OR u.n IS NULL OR c.v::text IS DISTINCT FROM u.v::text ORDER BY 1"
        ).fetchall()
    return [(texts[n], theirs, ours, reasons.get(n, "")) for n, theirs, ours in rows]


@pytest.mark.parametrize("kind", TYPES)
def test_every_text_is_what_copy_makes_of_it(place: Target, tmp_path: Path, kind: str) -> None:
    table = table_of(TYPES[kind])
    found = differences(place, table, texts_like(kind, random.Random(13)), tmp_path)
    assert [each for each in found if not declared(*each)] == []


def read_by_arrow(table: StaticTable, lines: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The rows that Arrow reads and nothing raises doubts about, each from a text of its own."""
    block = Block(file="t", names=("n", "v"), data=b"", line=2, record=1, records=1)
    parser = Parser(block, ReadColumn.all_of(table))
    for line in lines:
        with suppress(pa.ArrowInvalid, SuspectError):
            yield parser.read_alike(replace(block, data=line.encode()))[0]


@pytest.mark.parametrize("kind", TYPES)
def test_what_arrow_reads_without_a_doubt_is_what_copy_makes_of_it(place: Target, kind: str) -> None:
    """No other text of the batch, which is odd, has all of them read another way."""
    table = table_of(TYPES[kind])
    texts = texts_like(kind, random.Random(14))
    lines = [line_of(n, text) for n, text in enumerate(texts)]
    with tables(place, table) as session:
        taken_by_copy(session, lines)
        batches = pa.Table.from_batches(read_by_arrow(table, lines))
        with session.cursor().copy("COPY by_us FROM STDIN (FORMAT binary)") as copy:
            for chunk in copying.encoded(batches.to_batches(), batches.schema):
                copy.write(chunk)
        found = session.execute(
            "SELECT u.n, c.v::text, u.v::text FROM by_us u LEFT JOIN by_copy c USING (n)"
            " WHERE c.n IS NULL OR c.v::text IS DISTINCT FROM u.v::text"
        ).fetchall()
    assert batches.num_rows
    assert [(texts[n], theirs, ours) for n, theirs, ours in found] == []


def declared(text: str, theirs: str | None, ours: str | None, reason: str) -> bool:
    """Whether it is one of the values that COPY takes and a layer does not, and is refused as that."""
    if ours is not None or theirs is None:
        return False
    if any(word in text.lower() for word in MOVING):
        return "a different time at every load" in reason
    return "infinity" in theirs or theirs == "NaN" or theirs.startswith("294")


AUDITED = (
    "SRID",
    "cannot draw",
    "the least",
    "not closed",
    "degrees",
    "NaN",
    "not finite",
    "over-long",
    "coordinate, the column",
    "nested more than",
)
SHAPES = [
    "POINT(-95.4 29.7)", "LINESTRING(1 2,3 4)", "POLYGON((9 48,10 48,10 49,9 48))", "MULTIPOINT(1 2,3 4)",
    "MULTIPOLYGON(((9 48,10 48,10 49,9 48)))", "GEOMETRYCOLLECTION(POINT(1 2),LINESTRING(1 2,3 4))", "POLYGON EMPTY",
    "POINT Z(1 2 3)",
]  # fmt: skip
GEOMETRIES = [
    "CIRCULARSTRING(0 0,1 1,2 0)", "CURVEPOLYGON(CIRCULARSTRING(0 0,1 1,2 0,1 -1,0 0))", "TIN(((0 0,1 0,1 1,0 0)))",
    "point(1 2)", "POINT(1 2", "POINT(1,2)", "POINT(200 2)", "POINTM(1 2 3)", "POLYGON((0 0,1 0,0 0))",
    "LINESTRING(1 2)", '{"type":"Point","coordinates":[1,2]}', '{"type":"Point"}', "Infinity", "", " ",
    "0", "01", "00", "zz",
]  # fmt: skip


def shapes_like(chance: random.Random) -> list[str]:
    hexes = [ewkb(shape, byte_order=order) for shape in SHAPES for order in (0, 1)]
    hexes += [ewkb(SHAPES[0], srid=None), ewkb(SHAPES[2], srid=3857), hexes[1].lower(), f"SRID=4326;{hexes[1]}"]
    worded = [f"{srid}{text}" for text in [*SHAPES, *GEOMETRIES] for srid in ("", "SRID=4326;", "SRID=3857;")]
    made = []
    for _ in range(MANY):
        text = [*chance.choice([*hexes, *worded])]
        for _ in range(chance.choice([1, 2])):
            at = chance.randrange(len(text) + 1)
            text[at : at + chance.choice([0, 1, 2])] = chance.choices(
                "0123456789ABCDEFabcdef(), ;.-EZ", k=chance.choice([0, 1, 2])
            )
        made.append("".join(text))
    return [*dict.fromkeys([*hexes, *worded, *made])]


@pytest.mark.parametrize("kind", ["GEOMETRY", "POLYGON"])
def test_every_geometry_is_what_copy_makes_of_it(place: Target, tmp_path: Path, kind: str) -> None:
    """Hexadecimal EWKB, EWKT, GeoJSON; but with their SRID, in degrees, and of the column's dimensions."""
    table = table_of(Geometry(kind, srid=4326, spatial_index=False))
    found = differences(place, table, shapes_like(random.Random(13)), tmp_path)
    assert [each for each in found if each[2] is not None or not any(word in each[3] for word in AUDITED)] == []
    assert found


def loaded(place: Target, folder: Path, name: str, text: str) -> int:
    """Load a declared layer from this text; returns its rows."""
    (table,) = (table for table in static_tables() if table.name == name)
    path = folder / f"{name}.csv.gz"
    path.write_bytes(gzip.compress(text.encode()))
    return load_layer(table, Release(str(folder), "odd", folder), place, LoadOptions(), print).rows


HOUSE = ewkb("POLYGON((9 48,10 48,10 49,9 48))")
HOUSES = f"building_id,building_name,building_type,height_meters,num_floors,geom\nb0,,house,1.5,1,{HOUSE}\n"
WATERS = f"id,osm_id,name,water_type,acres,geom\n0,1000,,lake,1.00,{HOUSE}\n"


def test_a_sign_and_a_geometry_in_words_are_taken_as_copy_takes_them(place: Target, tmp_path: Path) -> None:
    more = f'b1,,house,+2.5,+5,"SRID=4326;POLYGON((9 48,10 48,10 49,9 48))"\nb2,{"x" * 255}   ,house,0e-9,5,{HOUSE}\n'
    assert loaded(place, tmp_path, "building_footprints", HOUSES + more) == 3
    with place.session("test") as session:
        assert session.execute(
            "SELECT building_id, height_meters, num_floors, length(building_name), ST_AsEWKT(geom)"
            " FROM public.building_footprints ORDER BY 1"
        ).fetchall() == [
            (f"b{n}", height, floors, length, "SRID=4326;POLYGON((9 48,10 48,10 49,9 48))")
            for n, height, floors, length in [(0, 1.5, 1, None), (1, 2.5, 5, None), (2, 0, 5, 255)]
        ]


@pytest.mark.parametrize(
    ("name", "text", "column", "value", "problem"),
    [
        ("building_footprints", f"{HOUSES}b2,,house,1e-400,1,{HOUSE}\n", "height_meters", "1e-400", "too small"),
        ("osm_water", f"{WATERS}2,0xffffffffffffffffff,,lake,1,{HOUSE}\n", "osm_id", "0xff", "not a whole number"),
    ],
)
def test_what_copy_refuses_is_refused(
    place: Target, tmp_path: Path, name: str, text: str, column: str, value: str, problem: str
) -> None:
    with pytest.raises(RecordError, match=f"line 3, column {column}, value '{value}.*{problem}"):
        loaded(place, tmp_path, name, text)


def test_dates_do_not_depend_on_how_a_role_writes_them(cluster: Cluster, tmp_path: Path) -> None:
    """1 February or 2 January: the month comes first, whatever was set for the role."""
    table = table_of(Date)
    with fresh_database(cluster) as name:
        place = Target(conninfo=cluster.conninfo(name))
        with place.session("test") as session:
            session.execute(psql.SQL("ALTER DATABASE {} SET datestyle = 'SQL, DMY'").format(psql.Identifier(name)))
        path = compressed(tmp_path, "n,v\n1,01/02/2024\n")
        with texts_of(place, "test", Stop()) as ask:
            (batch,) = LayerStream(path, path.name, table, ask=ask)
    assert str(batch["v"][0].as_py()) == "2024-01-02"


def test_without_a_server_only_certain_texts_are_taken(tmp_path: Path) -> None:
    path = compressed(tmp_path, "n,v\n+5,2024-01-01 12:30\n")
    assert read(path, table_of(DateTime))[0]["n"].to_pylist() == [5]
    with pytest.raises(RecordError, match=r"column v, value '0000-01-01'.* there is no such time"):
        read(compressed(tmp_path, "n,v\n5,0000-01-01\n"), table_of(DateTime))


@pytest.mark.parametrize("end", ["", "\n", '\r"a\nb",2\n'])
def test_lines_that_end_in_a_carriage_return_alone(tmp_path: Path, end: str) -> None:
    path = compressed(tmp_path, f"n,v\r1,a\r2,b\r{end}")
    with pytest.raises(
        RecordError, match=r"line 1, value 'n,v': its lines end in a lone carriage return \(CR\)"
    ) as said:
        read(path, table_of(String(5)))
    assert "LF" in said.value.remedy


def test_a_large_file_of_lone_carriage_returns(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="its lines end in a lone carriage return"):
        read(compressed(tmp_path, "n,v\r" + "1,a\r" * 600_000), table_of(String(5)))
