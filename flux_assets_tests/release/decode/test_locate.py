"""Every kind of bad input: the error names file, line, record, column and value, and says what to do."""

import struct

import pytest
from sqlalchemy import Column, Text

from flux_assets.errors import Place, RecordError
from flux_assets.release.decode.stream import LayerStream
from flux_assets_tests.release_files import (
    AREA,
    FILE,
    SITES,
    compressed,
    csv_text,
    ewkb,
    narrow,
    polygon,
    read,
    site,
    site_file,
)

NAN, INFINITY = float("nan"), float("inf")
BOX = [(9, 48), (10, 48), (10, 49), (9, 48)]
EWKB = "Write hexadecimal EWKB of"


def moved(x, y):
    """The outline, closed, with another corner."""
    return polygon((9, 48), (x, y), (10, 49), (9, 48))


BAD_VALUES = [
    ("site_id", None, "it is NULL, which the column does not allow", "Give every row a value."),
    ("code", None, "it is NULL, which the column does not allow", "Give every row a value."),
    ("code", "toolong", "it has 7 characters, varchar(5) takes 5", "Shorten it"),
    ("code", "ééééé\u00e9", "it has 6 characters, varchar(5) takes 5", "Shorten it"),
    ("number", "abc", "it is not a whole number, as integer needs", "for NULL"),
    ("number", "1.0", "it is not a whole number", "for NULL"),
    ("number", "", "it is not a whole number", "without quotes"),
    ("number", "2147483648", "it is out of range for integer (-2147483648 to 2147483647)", "wider type"),
    ("big", "9223372036854775808", "it is out of range for bigint", "wider type"),
    ("big", "1e3", "it is not a whole number, as bigint needs", "for NULL"),
    ("ratio", "1,5", "it is not a number, as double precision needs", "for NULL"),
    ("ratio", "1e400", "it is out of range for double precision", "Correct the value"),
    ("amount", "ten", "it is not a number, as numeric(8, 2) needs", "for NULL"),
    ("amount", "1000000.00", "it is out of range for numeric(8, 2)", "widen"),
    ("amount", "1.005", "it has more decimals than numeric(8, 2) keeps", "Round it to 2 decimals"),
    ("amount", "NaN", "it is not a number", "for NULL"),
    ("seen", "now", "only PostgreSQL knows what 'now' means", "Write YYYY-MM-DD HH:MM:SS"),
    ("seen", "infinity", "only PostgreSQL knows what 'infinity' means", "Write YYYY-MM-DD HH:MM:SS"),
    ("seen", "2024-01-01 25:00:00", "there is no such time", "Write YYYY-MM-DD HH:MM:SS"),
    ("seen", "2024-01-01 00:00:00+02", "it is not written as timestamp without time zone is", "Write YYYY-MM-DD"),
    ("seen", "01/02/2024", "it is not written as timestamp", "Write YYYY-MM-DD HH:MM:SS"),
    ("day", "today", "only PostgreSQL knows what 'today' means", "Write YYYY-MM-DD, or"),
    ("day", "2023-02-29", "there is no such day", "Write YYYY-MM-DD, or"),
    ("day", "2024-1-2", "it is not written as date is", "Write YYYY-MM-DD, or"),
    ("longitude", "180.5", "it is out of range for a longitude (±180 degrees)", "EPSG:4326"),
    ("longitude", "1118889.97", "it looks like metres of a projection", "EPSG:4326"),
    ("longitude", "NaN", "it is not a finite number", "EPSG:4326"),
    ("latitude", "-95.4", "longitude and latitude look swapped", "EPSG:4326"),
    ("latitude", "Infinity", "it is not a finite number", "EPSG:4326"),
    ("latitude", "6106854.8", "it looks like metres of a projection", "EPSG:4326"),
    ("area", "", "it is an empty string, not a geometry", "not even quotes"),
    ("area", ewkb(AREA)[:-1], "it is not hexadecimal: it has 161 digits, an odd number", EWKB),
    ("area", "G" + ewkb(AREA)[1:], "it is not hexadecimal: character 1 is 'G'", EWKB),
    ("area", AREA, "it is not hexadecimal: character 1 is 'P'", EWKB),
    ("area", ewkb(AREA)[:-2], "its EWKB is truncated", EWKB),
    ("area", ewkb(AREA)[:26], "its EWKB is truncated", EWKB),
    ("area", ewkb(AREA) + "00", "its EWKB is over-long: 1 bytes follow its end", EWKB),
    ("area", "0103000020E610000000000000" + ewkb(AREA)[26:], "its EWKB is over-long", EWKB),
    ("area", "0103000020E6100000FFFFFFFF" + "00" * 68, "its EWKB is truncated: 4294967295 parts", EWKB),
    ("area", "05" + ewkb(AREA)[2:], "it is not EWKB: the byte order mark is 05", EWKB),
    ("area", polygon(*BOX, kind=99), "it is not EWKB: there is no geometry type 99", EWKB),
    ("area", ewkb("POINT(9 48)"), "it is a POINT, the column takes POLYGON", "ST_Dump"),
    (
        "area",
        ewkb("MULTIPOLYGON(((9 48,10 48,10 49,9 48)))"),
        "it is a MULTIPOLYGON, the column takes POLYGON",
        "ST_Dump",
    ),
    ("path", ewkb(AREA), "it is a POLYGON, the column takes LINESTRING", "ST_Dump"),
    ("spot", ewkb("LINESTRING(1 2,3 4)"), "it is a LINESTRING, the column takes POINT", "ST_Dump"),
    (
        "area",
        ewkb("POLYGON Z((9 48 1,10 48 1,10 49 1,9 48 1))"),
        "it has a Z coordinate, the column takes none",
        "ST_Force2D",
    ),
    ("spot", "01010000606410000000" + "00" * 24, "SRID is 4196", "ST_Transform"),
    ("spot", struct.pack("<BIIddd", 1, 0x60000001, 4326, 1, 2, 3).hex(), "it has a M coordinate", "ST_Force2D"),
    ("area", ewkb(AREA, srid=None), "it carries no SRID, expected 4326", EWKB),
    ("area", ewkb(AREA, srid=0), "it carries no SRID, expected 4326", EWKB),
    ("area", ewkb(AREA, srid=3857), "its SRID is 3857, expected 4326 (degrees)", "ST_Transform"),
    ("spot", ewkb("POINT(1 2)", srid=4269), "its SRID is 4269, expected 4326 (degrees)", "ST_Transform"),
    ("area", moved(NAN, NAN), "it has a coordinate that is NaN", "NULL"),
    ("area", moved(INFINITY, 48), "it has a coordinate that is not finite, (inf 48)", EWKB),
    ("area", moved(10, -INFINITY), "it has a coordinate that is not finite, (10 -inf)", EWKB),
    (
        "area",
        moved(1118889.9, 6106854.8),
        "(1118889.9 6106854.8), out of range for degrees: it looks like metres",
        "Transf",
    ),
    ("area", moved(48, -95.4), "(48 -95.4), out of range for degrees: longitude and latitude look swapped", "ST_Flip"),
    ("area", moved(190, 48), "(190 48), out of range for degrees of longitude (±180) and latitude (±90)", EWKB),
    (
        "spot",
        ewkb("POINT EMPTY"),
        "it has a coordinate that is NaN, (nan nan), which is also how an empty point",
        "NULL",
    ),
    ("path", ewkb("LINESTRING(1 1,2 91)"), "(2 91), out of range for degrees", "ST_Flip"),
    ("shape", ewkb("MULTIPOINT(1 1,200 1)"), "(200 1), out of range for degrees", EWKB),
    ("shape", ewkb("MULTIPOINT(1 1,200 1)", byte_order=0), "(200 1), out of range for degrees", EWKB),
    ("area", polygon((9, 48), (10, 48), (10, 49), (9.5, 48)), "it has a ring that is not closed", "End the ring"),
    ("area", polygon((9, 48), (10, 48), (9, 48)), "it has a ring of 3 points, and needs at least 4", EWKB),
    ("path", "0102000020E610000001000000" + "00" * 16, "it has a line of a single point", EWKB),
    ("shape", ("0107000020E610000001000000" + "010700000001000000" * 40), "nested more than 32 deep", EWKB),
]


@pytest.mark.parametrize(("column", "value", "problem", "remedy"), BAD_VALUES)
def test_a_bad_value_is_named_with_its_place(tmp_path, column, value, problem, remedy):
    """Behind rows with quoted newlines and NULLs, so that line, record and row differ."""
    good = [site(1, label="two\nlines"), site(2, area=None), site(3, label='"\r\n"')]
    path = site_file(tmp_path, *good, site(4) | {column: value}, site(5) | {column: value})
    with pytest.raises(RecordError) as caught:
        read(path)
    error = caught.value
    assert (error.place.file, error.place.line, error.place.record, error.place.column) == (FILE, 7, 4, column)
    assert error.place.value == value
    assert problem in error.problem
    assert remedy in error.remedy
    assert str(error).startswith(f"{FILE}, line 7, column {column}")


BAD_TEXT = [
    ("S4,A,x", 7, None, "S4,A,x", "the record has 3 values, the header names 15 columns"),
    ("S4,A,a,b,1" + "," * 12, 7, None, "S4,A,a,b,1,", "the record has 17 values, the header names 15 columns"),
    ("", 7, None, None, "the line is empty"),
    ('S4,A,"never closed,,,', 7, "label", '"never closed', "a quote opens here and never closes"),
    ('S4,A,"two\nlines"' + "," * 11, 7, None, "S4,A,", "the record has 14 values"),
    ('S4,A,"two\nlines",x' + "," * 11, 8, "number", "x", "it is not a whole number"),
    ('S4,A,in"side' + "," * 12, 7, "label", 'in"side', "a quote is neither at the start nor at the end of a value"),
    ('S4,A,"be"hind' + "," * 12, 7, "label", '"be"hind', "a quote is neither at the start nor at the end of a value"),
    ("S4,A,re\rturn" + "," * 12, 7, "label", "re\rturn", "a lone carriage return"),
    ("S4,A,n\0l" + "," * 12, 7, "label", "n\0l", "it holds a NUL byte"),
    (
        b"S4,A,caf\xe9 au lait" + b"," * 12,
        7,
        "label",
        "caf\ufffd",
        "it is not UTF-8 (byte 4 of the value: E9 20 61 75)",
    ),
    (b"S4,A,\xed\xa0\x80" + b"," * 12, 7, "label", "\ufffd", "it is not UTF-8"),
]


@pytest.mark.parametrize(("text", "line", "column", "value", "problem"), BAD_TEXT, ids=lambda part: repr(part)[:30])
@pytest.mark.parametrize("block", [50, 1 << 20])
def test_bad_text_is_named_with_its_place(tmp_path, text, line, column, value, problem, block):
    good = csv_text(SITES.column_names, [site(1, label="two\nlines"), site(2), site(3, label="x\r\ny")])
    more = csv_text(SITES.column_names, [site(5)]).split("\n", 1)[1]
    raw = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(RecordError) as caught:
        read(compressed(tmp_path, good.encode() + raw + b"\n" + more.encode()), block_bytes=block)
    error = caught.value
    assert (error.place.file, error.place.line, error.place.record, error.place.column) == (FILE, line, 4, column)
    assert (error.place.value or "").startswith(value or "")
    assert problem in error.problem
    assert error.remedy


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("", "the file holds nothing, not even a header"),
        ("\n", "the file has no header"),
        ("\ufeff", "the file has no header"),
        ("a,b\n1,2\n", "missing: 'word'; unknown: 'a', 'b'"),
        ("word,word,WORD\n", "unknown: 'WORD'; given twice: 'word'"),
        ("word;\n", "missing: 'word'; unknown: 'word;'"),
        ("word,\n", "unknown: ''"),
        ('"word\n', "the header cannot be read: a quote opens here and never closes"),
        (b"\xff\xfew\0o\0\n\0", "the header cannot be read"),
    ],
    ids=lambda part: repr(part)[:20],
)
def test_a_bad_header_is_line_one(tmp_path, header, said):
    with pytest.raises(RecordError) as caught:
        read(compressed(tmp_path, header), narrow(Column("word", Text, comment="Text.")))
    assert str(caught.value).startswith(f"{FILE}, line 1")
    assert said in caught.value.problem
    assert caught.value.remedy


@pytest.mark.parametrize("text", ["Infinity", "-inf", "NaN"])
def test_infinity_is_a_number_where_no_degrees_are_wanted(tmp_path, text):
    table, _ = read(site_file(tmp_path, site(1, ratio=text), site(2, ratio="1.5")))
    assert str(float(text)) == str(table["ratio"][0].as_py())


def test_the_first_of_several_faults_is_told(tmp_path):
    rows = [site(i) for i in range(1, 3000)]
    rows[2500]["number"] = "late"
    rows[1200]["area"] = "early"
    rows[1200]["shape"] = "too"
    with pytest.raises(RecordError, match="line 1202, column area, value 'early'"):
        read(site_file(tmp_path, *rows))


@pytest.fixture
def many(tmp_path):
    """3000 rows, each of two lines, in many blocks."""
    rows = [site(i, label=f"row\n{i}", big=str(i % 1000)) for i in range(1, 3001)]
    return site_file(tmp_path, *rows)


@pytest.mark.parametrize(("record", "line"), [(1, 2), (2, 4), (1500, 3000), (3000, 6000)])
def test_describes_a_record_that_the_server_refused(many, record, line):
    error = LayerStream(many, FILE, SITES).describe_record(
        Place(file=FILE, record=record, column="big"), "PostgreSQL refuses it.", "Fix it."
    )
    assert (error.place.line, error.place.record, error.place.column) == (line + 1, record, "big")
    assert error.place.value == str(record % 1000)
    assert str(error).endswith(": PostgreSQL refuses it. Fix it.")


def test_describes_a_record_without_a_column(many):
    error = LayerStream(many, FILE, SITES).describe_record(Place(file=FILE, record=7), "It is refused.", "")
    assert (error.place.line, error.place.column, error.place.value) == (14, None, None)
    unknown = Place(file=FILE, record=7, column="ctid")
    assert LayerStream(many, FILE, SITES).describe_record(unknown, "It is refused.", "").place == error.place


def test_a_record_that_is_not_there_keeps_its_number(many):
    error = LayerStream(many, FILE, SITES).describe_record(
        Place(file=FILE, record=9999, column="big"), "It is refused.", ""
    )
    assert str(error) == f"{FILE}, record 9999, column big: It is refused."


def test_describes_the_records_of_a_duplicate_key(many):
    """Each with its line, its value as the file has it, and its identifier."""
    for record, line in ((7, 14), (1007, 2014), (2007, 4014)):
        place = (
            LayerStream(many, FILE, SITES)
            .describe_record(Place(file=FILE, record=record, column="big"), "It is there twice.", "")
            .place
        )
        assert (place.line, place.value) == (line + 1, "7")
        place = (
            LayerStream(many, FILE, SITES)
            .describe_record(Place(file=FILE, record=record, column="site_id"), "It is there.", "")
            .place
        )
        assert (place.line, place.value) == (line, f"S{record}")
