"""The stream of a layer's file: every type as declared, nothing guessed, flat memory, threads that end."""

import datetime as dt
import gzip
import hashlib
import random
import threading
import zlib
from decimal import Decimal

import numpy as np
import psutil
import pyarrow as pa
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Column, Integer, String, Text

from flux_assets.errors import ManifestError, RecordError, ReleaseError
from flux_assets.release.decode.stream import LayerStream
from flux_assets_tests.release_files import (
    AREA,
    FILE,
    SITES,
    compressed,
    csv_text,
    ewkb,
    narrow,
    read,
    site,
    site_file,
)

WORDS = narrow(
    Column("word", Text, comment="Text."),
    Column("other", String(3), comment="Short text."),
    Column("number", Integer, comment="Count."),
)


def test_delivers_every_type_as_declared(tmp_path):
    full = site(
        label='Zürich, "HB"\nGleis 3',
        number="-7",
        big="9007199254740993",
        ratio="0.1",
        amount="-123456.70",
        seen="2024-02-29 23:59:59.000001",
        day="1850-01-31",
        longitude="9.5",
        latitude="-48.25",
        spot=ewkb("POINT(9.5 -48.25)"),
        path=ewkb("LINESTRING(1 2,3 4,5 6)"),
        shape=ewkb("MULTIPOINT(1 2,3 4)"),
    )
    table, facts = read(site_file(tmp_path, full))
    assert table.schema == LayerStream(tmp_path / FILE, FILE, SITES).schema
    row = table.to_pylist()[0]
    assert row == full | {
        "number": -7,
        "big": 9007199254740993,
        "ratio": 0.1,
        "amount": Decimal("-123456.70"),
        "seen": dt.datetime(2024, 2, 29, 23, 59, 59, 1),
        "day": dt.date(1850, 1, 31),
        "longitude": 9.5,
        "latitude": -48.25,
        **{name: bytes.fromhex(full[name]) for name in ("spot", "path", "area", "shape")},
    }
    assert facts.rows == 1


def test_types_come_from_the_declaration_alone(tmp_path):
    """Ids keep leading zeros, and words that other readers take for NULL or numbers stay words."""
    words = ["007", "NA", "NULL", "None", "nan", "true", "1e5", "", " x ", "\\N", "\\.", "#N/A", "2024-01-01"]
    table, _ = read(compressed(tmp_path, csv_text(["word"], [{"word": word} for word in words])), _only("word"))
    assert table["word"].to_pylist() == words


def test_null_is_nothing_and_the_empty_string_a_pair_of_quotes(tmp_path):
    table, facts = read(compressed(tmp_path, 'word,other,number\n,"",\n"",,5\n'), WORDS)
    assert table.to_pylist() == [
        {"word": None, "other": "", "number": None},
        {"word": "", "other": None, "number": 5},
    ]
    assert facts.nulls == {"word": 1, "other": 1, "number": 1}


def test_an_empty_line_is_a_null_where_there_is_one_column(tmp_path):
    assert read(compressed(tmp_path, 'word\n\na\n""\n\n'), _only("word"))[0]["word"].to_pylist() == [
        None,
        "a",
        "",
        None,
    ]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("ended", [True, False])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_byte_order_mark(tmp_path, newline, ended, mark):
    text = csv_text(["number", '"word"', "other"], [{"number": "1", "other": "x\ny"}], newline)
    path = compressed(tmp_path, mark + (text if ended else text.removesuffix(newline)))
    assert read(path, WORDS)[0].to_pylist() == [{"word": None, "other": "x\ny", "number": 1}]


def test_null_after_a_quoted_value_at_the_end_of_a_file_without_a_newline(tmp_path):
    table, _ = read(compressed(tmp_path, 'number,word,other\n1,"a",b\n2,"c",'), WORDS)
    assert table["other"].to_pylist() == ["b", None]


def test_a_refused_first_block_of_many_is_told_and_does_not_hang(tmp_path):
    """Arrow opens with the first block; it must not wait then for a read that nobody answers."""
    text = "number,word,other\nx,,\n" + "1,,\n" * 5000
    with pytest.raises(RecordError, match="line 2, column number"):
        read(compressed(tmp_path, text), WORDS, block_bytes=64)


def test_columns_stand_in_any_order(tmp_path):
    names = random.Random(3).sample(SITES.column_names, len(SITES.column_names))
    path = compressed(tmp_path, csv_text(names, [site(label="x", number="4")]))
    row = read(path)[0]
    assert tuple(row.column_names) == SITES.column_names
    assert row.to_pylist()[0]["number"] == 4


def test_header_alone_is_no_rows(tmp_path):
    for text in ("word,other,number\n", "word,other,number", "word,other,number\r\n"):
        table, facts = read(compressed(tmp_path, text), WORDS)
        assert (table.num_rows, facts.rows, facts.csv_bytes) == (0, 0, len(text))


def test_facts_say_what_the_file_holds(tmp_path):
    rows = [
        site(1, spot=ewkb("POINT(-5 60)"), shape=ewkb("LINESTRING(1 1,2 2)")),
        site(2, spot=ewkb("POINT(7 -30)"), shape=ewkb("MULTIPOLYGON(((0 0,1 0,1 1,0 0)))"), area=None),
        site(3, shape=ewkb("POLYGON EMPTY"), label="x"),
    ]
    path = site_file(tmp_path, *rows)
    _, facts = read(path)
    assert facts.rows == 3
    assert (facts.gz_bytes, facts.csv_bytes) == (path.stat().st_size, len(gzip.decompress(path.read_bytes())))
    assert facts.nulls["area"] == 1
    assert facts.nulls["label"] == 2
    assert facts.shapes["spot"].extent == (-5, -30, 7, 60)
    assert facts.shapes["shape"].kinds == {2: 1, 6: 1, 3: 1}
    assert facts.shapes["shape"].empty == 1
    assert facts.shapes["path"].extent is None
    assert facts.extent == (-5, -30, 10, 60)


def _only(column):
    return narrow(Column(column, Text, comment="Text."))


nasty = st.text(st.sampled_from('ab,"\n\r;é\U0001f333 \\\t.N'), max_size=8) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8
)
rows_of_words = st.lists(
    st.tuples(
        st.none() | nasty,
        st.none() | nasty.map(lambda text: text[:3]),
        st.none() | st.integers(-(2**31), 2**31 - 1),
    ),
    max_size=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(rows=rows_of_words, newline=st.sampled_from(["\n", "\r\n"]), block=st.integers(1, 200))
def test_what_copy_writes_is_read_back_equal(tmp_path, rows, newline, block):
    """Any text, in pieces cut anywhere: inside quotes, between a carriage return and its newline, inside a letter."""
    names = ["word", "other", "number"]
    texts = [dict(zip(names, (*row[:2], row[2] if row[2] is None else str(row[2])), strict=True)) for row in rows]
    path = compressed(tmp_path, csv_text(names, texts, newline))
    table, facts = read(path, WORDS, block_bytes=block)
    assert table.to_pylist() == [dict(zip(names, row, strict=True)) for row in rows]
    assert facts.rows == len(rows)


coordinates = st.tuples(st.floats(-180, 180), st.floats(-90, 90))
rings = st.lists(coordinates, min_size=3, max_size=6).map(lambda ring: [*ring, ring[0]])
polygons = st.lists(rings, min_size=1, max_size=4).map(lambda rings: shapely.Polygon(rings[0], rings[1:]))
lines = st.lists(coordinates, min_size=2, max_size=6).map(shapely.LineString)
points = coordinates.map(shapely.Point)
shapes = st.recursive(
    polygons
    | lines
    | points
    | st.lists(polygons, max_size=3).map(shapely.MultiPolygon)
    | st.lists(lines, max_size=3).map(shapely.MultiLineString)
    | st.lists(points, max_size=3).map(shapely.MultiPoint),
    lambda parts: st.lists(parts, max_size=3).map(shapely.GeometryCollection),
    max_leaves=4,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
@given(drawn=st.lists(st.tuples(st.none() | shapes, st.sampled_from([0, 1])), min_size=1, max_size=8))
def test_geometries_come_back_byte_for_byte_with_their_extent(tmp_path, drawn):
    """Of every type, in either byte order, NULLs between them."""
    texts = [None if shape is None else ewkb(shape, byte_order=order) for shape, order in drawn]
    table, facts = read(site_file(tmp_path, *(site(i, shape=text, area=None) for i, text in enumerate(texts))))
    assert table["shape"].to_pylist() == [None if text is None else bytes.fromhex(text) for text in texts]
    whole = shapely.get_coordinates([shape for shape, _ in drawn if shape is not None])
    found = facts.shapes["shape"]
    assert found.extent == ((*whole.min(axis=0), *whole.max(axis=0)) if len(whole) else None)
    assert found.kinds.total() == sum(text is not None for text in texts)
    assert found.empty == sum(shape is not None and shape.is_empty for shape, _ in drawn)


def test_polygons_of_many_rings(tmp_path):
    """More rings than the arithmetic goes through in step, beside polygons of one and two."""
    hole = shapely.box(0.1, 0.1, 0.2, 0.2).exterior.coords
    made = [shapely.Polygon(shapely.box(0, 0, 1, 1).exterior, [hole] * count) for count in (0, 40, 1, 15, 16, 17, 300)]
    table, facts = read(site_file(tmp_path, *(site(i, area=ewkb(shape)) for i, shape in enumerate(made))))
    assert table["area"].to_pylist() == [bytes.fromhex(ewkb(shape)) for shape in made]
    assert facts.shapes["area"].extent == (0, 0, 1, 1)


@pytest.mark.parametrize("block", [1, 7, 100, 1 << 20])
def test_a_record_of_megabytes(tmp_path, block):
    """A real multipolygon can be larger than any block; what stands beside it comes too."""
    size = 3_000 if block < 100 else 150_000
    angles = np.linspace(0, 2 * np.pi, size)
    ring = np.column_stack([np.cos(angles), np.sin(angles)])
    ring[-1] = ring[0]
    huge = shapely.MultiPolygon([shapely.Polygon(ring)])
    path = site_file(tmp_path, site(1, label="a"), site(2, shape=ewkb(huge)), site(3, label="b"))
    table, _ = read(path, block_bytes=block)
    assert table["label"].to_pylist() == ["a", None, "b"]
    assert table["shape"][1].as_py() == bytes.fromhex(ewkb(huge))


def test_a_record_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("flux_assets.release.decode.blocks.LONGEST_RECORD", 1 << 20)
    path = compressed(tmp_path, "word\nshort\n" + "x" * (3 << 20) + "\n")
    with pytest.raises(RecordError, match=r"line 3, column word, value .*: the record is longer than 1 MB"):
        read(path, _only("word"))


def _hostile(folder, part, times, end=b""):
    packer = zlib.compressobj(1, wbits=31)
    path = folder / FILE
    with path.open("wb") as file:
        file.write(packer.compress(b"word,other,number\n"))
        for _ in range(times):
            file.write(packer.compress(part))
        file.write(packer.compress(end) + packer.flush())
    return path


def _growth(path, table):
    """By how much the process grows, in MB, while the file is read, and the error that ends it."""
    process = psutil.Process()
    before = peak = process.memory_info().rss
    error = None
    try:
        for _ in LayerStream(path, FILE, table):
            peak = max(peak, process.memory_info().rss)
    except ReleaseError as caught:
        error = caught
    return (max(peak, process.memory_info().rss) - before) / 1e6, error


def test_one_endless_line_keeps_memory_bounded(tmp_path):
    """A gigabyte of zeros in one line: refused once it is longer than any record may be."""
    growth, error = _growth(_hostile(tmp_path, b"0" * (1 << 20), 1000), WORDS)
    assert "the record is longer than 16 MB" in str(error)
    assert growth < 400


def test_endless_lines_keep_memory_flat(tmp_path):
    """Millions of small rows, a quoted newline in every second one."""
    growth, error = _growth(_hostile(tmp_path, b'a,"b\n",1\n,,\n' * 100_000, 60), WORDS)
    assert error is None
    assert growth < 150


def test_endless_newlines_are_refused_at_the_first(tmp_path):
    growth, error = _growth(_hostile(tmp_path, b"\n" * (1 << 20), 1000), WORDS)
    assert "line 2: the line is empty" in str(error)
    assert growth < 150


def _threads():
    return sorted(thread.name for thread in threading.enumerate() if FILE in thread.name)


def _long_file(folder, rows=60_000, end=""):
    return compressed(folder, "word,other,number\n" + "".join(f"{i:050d},a,{i}\n" for i in range(rows)) + end)


def _each(stream, use):
    for batch in stream:
        use(batch)


def test_leaving_early_ends_the_threads(tmp_path):
    path = _long_file(tmp_path)
    for _ in range(20):
        batches = iter(LayerStream(path, FILE, WORDS, block_bytes=10_000))
        assert next(batches).num_rows > 0
        assert len(_threads()) == 2
        batches.close()
        assert _threads() == []


def test_an_error_of_the_loop_ends_the_threads(tmp_path):
    path = _long_file(tmp_path)
    with pytest.raises(ZeroDivisionError):
        _each(LayerStream(path, FILE, WORDS, block_bytes=10_000), lambda _batch: 1 / 0)
    assert _threads() == []


@pytest.mark.parametrize("block", [1, 100, 10_000])
def test_a_fault_in_the_first_of_many_blocks_is_told(tmp_path, block):
    """Time and again, for what once hung was a race with Arrow's reading ahead."""
    path = compressed(tmp_path, "word,other,number\nshort\n" + "a,b,1\n" * max(200, 20 * block // 6))
    said = []

    def work():
        for _ in range(30):
            with pytest.raises(RecordError, match="line 2, value 'short': the record has 1 values") as caught:
                read(path, WORDS, block_bytes=block)
            said.append(caught.value)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(120)
    assert len(said) == 30


@pytest.mark.parametrize("block", [1_000, 100_000, 1 << 20])
def test_what_precedes_a_fault_is_given_first(tmp_path, block):
    stream = LayerStream(_long_file(tmp_path, 30_000, end="x,y,z\n"), FILE, WORDS, block_bytes=block)
    rows = []
    with pytest.raises(RecordError, match=f"{FILE}, line 30002, column number, value 'z'"):
        _each(stream, lambda batch: rows.append(batch.num_rows))
    assert 30_000 >= sum(rows) > 30_000 - 2 * block / 50 - 2
    assert _threads() == []


@pytest.mark.parametrize("block", [1_000, 100_000, 1 << 20])
def test_damage_never_makes_a_row_of_half_a_record(tmp_path, block):
    """The file breaks off in the middle of a record that would be a sound row by itself."""
    path = _long_file(tmp_path, 30_000)
    packer = zlib.compressobj(1, wbits=31)
    text = gzip.decompress(path.read_bytes())[:-4]
    path.write_bytes(packer.compress(text) + packer.flush(zlib.Z_FULL_FLUSH))
    seen = []
    with pytest.raises(ReleaseError, match="truncated"):
        _each(LayerStream(path, FILE, WORDS, block_bytes=block), lambda batch: seen.extend(batch["number"].to_pylist()))
    assert seen == list(range(len(seen)))


def test_the_digest_of_what_was_read_is_compared(tmp_path):
    path = site_file(tmp_path, site())
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    assert read(path, sha256=right)[1].rows == 1
    with pytest.raises(ManifestError, match=f"sha256 is {right}, expected"):
        read(path, sha256="f" * 64)


def test_memory_and_batches_do_not_grow_with_the_file(tmp_path):
    rows = [len(batch) for batch in LayerStream(_long_file(tmp_path, 300_000), FILE, WORDS)]
    assert sum(rows) == 300_000
    assert max(rows) < 60_000


def test_batches_are_sound_arrow(tmp_path):
    table, _ = read(site_file(tmp_path, site(1), site(2, area=None), site(3, shape=ewkb(AREA))))
    table.validate(full=True)
    assert table.schema.field("area").type == pa.binary()
    assert not table.schema.field("site_id").nullable
