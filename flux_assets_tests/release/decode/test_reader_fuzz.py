"""The reader against other readers, over damaged files: Python's csv, gzip and decimal, shapely.

The seeds are fixed, so that a failure comes again. Files in corpus/ are where the damage begins, and those that once
showed a fault; a new one found with other seeds belongs there.
"""

import gzip
import zlib
from random import Random

import pytest
import shapely

from flux_assets.errors import RecordError, ReleaseError
from flux_assets.release.decode.stream import GunzippedFile
from flux_assets_tests.cases import CORPUS as CORPUS_FOLDER
from flux_assets_tests.mutations import mutated
from flux_assets_tests.reader_oracle import check, takes
from flux_assets_tests.release_files import AREA, FILE, compressed, csv_text, ewkb, read, site, site_file

CORPUS = sorted(CORPUS_FOLDER.glob("*.csv"))
GOOD = [path for path in CORPUS if path.name.startswith("good")]
SEEDS = range(4)
EXAMPLES = 80
SHAPES = {
    "spot": ["POINT(9.5 48.25)"],
    "path": ["LINESTRING(1 2,3 4,5 6)", "LINESTRING EMPTY"],
    "area": [AREA, "POLYGON((0 0,9 0,9 9,0 0),(1 1,2 1,2 2,1 1))", "POLYGON EMPTY"],
    "shape": [
        "MULTIPOINT(1 2,3 4)",
        "MULTILINESTRING((1 2,3 4),(5 6,7 8))",
        "MULTIPOLYGON(((0 0,1 0,1 1,0 0)),((2 2,3 2,3 3,2 2)))",
        "GEOMETRYCOLLECTION(POINT(1 2),LINESTRING(1 2,3 4),GEOMETRYCOLLECTION EMPTY)",
        "POINT(1 2)",
    ],
}


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
@pytest.mark.parametrize("block", [7, 64, 1 << 20])
def test_the_corpus(path, block, tmp_path):
    """Its name says what is to become of a file."""
    assert check(path.read_bytes(), tmp_path, block) == path.name.startswith("good")


@pytest.mark.parametrize("seed", SEEDS)
def test_damaged_text(seed, tmp_path):
    random, taken = Random(seed), 0
    for _ in range(EXAMPLES):
        head, line, rows = random.choice(GOOD if random.random() < 0.8 else CORPUS).read_bytes().partition(b"\n")
        text = mutated(random, head) + line + rows if random.random() < 0.1 else head + line + mutated(random, rows)
        block = random.choice([1, 7, 50, 1000, 1 << 20])
        try:
            taken += check(text, tmp_path, block)
        except Exception as error:
            raise AssertionError(f"{text!r} in blocks of {block}") from error
    assert EXAMPLES // 40 <= taken < EXAMPLES


@pytest.mark.parametrize("seed", SEEDS)
def test_damaged_geometry(seed, tmp_path):
    """What GEOS writes as it was given is taken, what it cannot read or the column does not take is refused."""
    random, decided = Random(seed), {True: 0, False: 0}
    for _ in range(EXAMPLES):
        column = random.choice(list(SHAPES))
        whole = bytes.fromhex(ewkb(random.choice(SHAPES[column]), byte_order=random.choice([0, 1])))
        value = mutated(random, whole, 2) if random.random() < 0.9 else whole
        expected = takes(column, value)
        path = site_file(tmp_path, site(1), site(2, **{column: value.hex()}), site(3))
        found, place = False, (3, column)
        try:
            found = read(path)[0][column][1].as_py() == value
        except RecordError as error:
            place = (error.place.line, error.place.column)
        assert place == (3, column), value.hex()
        assert expected in {found, None}, (column, value.hex())
        decided[found] += 1
    assert min(decided.values()) > EXAMPLES / 20


@pytest.mark.parametrize("seed", SEEDS)
def test_damaged_hexadecimal(seed, tmp_path):
    random = Random(seed)
    for _ in range(EXAMPLES):
        column = random.choice(list(SHAPES))
        value = mutated(random, ewkb(random.choice(SHAPES[column])).encode(), 2)
        text = csv_text(["site_id", "code", column], [{"site_id": "S", "code": "A", column: "VALUE"}]).encode()
        names = b"label,number,big,ratio,amount,seen,day,longitude,latitude,spot,path,area,shape".split(b",")
        rest = [name for name in names if name.decode() != column]
        head, row = text.splitlines()
        text = head + b"," + b",".join(rest) + b"\n" + row.replace(b"VALUE", value) + b"," * len(rest) + b"\n"
        try:
            check(text, tmp_path, random.choice([7, 1 << 20]))
        except Exception as error:
            raise AssertionError(f"{text!r}") from error


@pytest.mark.parametrize("seed", SEEDS)
def test_damaged_gzip(seed, tmp_path):
    random, text = Random(seed), CORPUS[0].read_bytes() * 20
    whole = gzip.compress(text[:2000]) + gzip.compress(text[2000:]) + b"\0" * 8
    for _ in range(EXAMPLES):
        data = mutated(random, whole, 2)
        path = tmp_path / FILE
        path.write_bytes(data)
        try:
            expected = gzip.decompress(data)
        except (OSError, EOFError, zlib.error):
            expected = None
        found, said = None, ""
        try:
            found = b"".join(GunzippedFile(path, FILE))
        except ReleaseError as error:
            said = str(error)
        assert said.startswith(FILE) if found is None else found == expected, data


def test_the_oracle_tells_damage_apart(tmp_path):
    assert takes("spot", bytes.fromhex(ewkb("POINT(1 2)"))) is True
    assert takes("area", bytes.fromhex(ewkb("POINT(1 2)"))) is False
    assert takes("spot", bytes.fromhex(ewkb("POINT(1 2)"))[:-1]) is False
    assert takes("spot", bytes.fromhex(ewkb("POINT(1 200)"))) is False
    assert shapely.from_wkt(AREA).is_valid
    compressed(tmp_path, "")
    assert check(csv_text(["site_id"], []).encode(), tmp_path, 100) is False
