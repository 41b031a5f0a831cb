"""Every way a release file can be wrong: one clear error, nothing lost, a FAILED ledger row, and the next run works.

What exactly is said of each is tested with the reader (test_decode.py, test_source.py); here it goes through the load.
"""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from flux_assets.errors import ManifestError, RecordError, ReleaseError
from flux_assets.postgis.session import Target
from flux_assets_tests.conftest import Sql
from flux_assets_tests.made_layers import Loader, ReleaseFolder, made_up, point, rows

HEADER = ",".join(made_up().column_names)


@pytest.fixture
def loader(target: Target, tmp_path: Path) -> Loader:
    loader = Loader(target, ReleaseFolder(tmp_path / "v1"))
    loader.load(made_up(), rows(40))
    return loader


def refused(loader: Loader, sql: Sql, kind: type[ReleaseError], said: str) -> None:
    with pytest.raises(kind, match=said):
        loader.load(made_up())
    assert sql("SELECT count(*), min(id), max(id) FROM poles") == [(40, "000000", "000039")]
    ((status, message),) = sql(
        "SELECT status, error_message FROM postgres_sync.sync_status ORDER BY sync_id DESC LIMIT 1"
    )
    assert status == "FAILED"
    assert message
    assert sql(
        "SELECT count(*) FROM pg_class WHERE relnamespace = 'flux_versions'::regnamespace AND relkind = 'r'"
    ) == [(1,)]
    (loader.source.folder / "manifest.json").unlink(missing_ok=True)
    again = Loader(loader.target, ReleaseFolder(loader.source.folder.parent / "v2"))
    assert again.load(made_up(), rows(41)).outcome == "published"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"code": "many"}, r"poles.csv.gz, line 9, column code, value 'many': "),
        ({"code": 2**31}, r"line 9, column code, value '2147483648': "),
        ({"name": "x" * 51}, r"line 9, column name, value 'x+': "),
        ({"id": None}, r"line 9, column id"),
        ({"geom": "01XY"}, r"line 9, column geom, value '01XY': "),
        ({"geom": point(1, 2)[:-2]}, r"line 9, column geom"),
        ({"geom": point(1, 2, srid=3857)}, r"line 9, column geom.*3857"),
        ({"geom": point(500_000, 5_000_000)}, r"line 9, column geom"),
        ({"geom": point(float("inf"), 2)}, r"line 9, column geom"),
        ({"longitude": "NaN"}, r"line 9, column longitude, value 'NaN': "),
        ({"latitude": "95"}, r"line 9, column latitude, value '95': "),
        ({"name": "a\x00b"}, r"line 9, column name"),
        (
            {"geom": "0102000020E610000002000000000000000000000000000000000000000000000000000040000000000000F03F"},
            r"line 9, column geom.*LINESTRING",
        ),
    ],
    ids=[
        *("text", "too great", "too long", "no key", "no hex", "short EWKB", "SRID", "metres", "infinite", "NaN"),
        *("beyond", "NUL", "line"),
    ],
)
def test_a_bad_value(loader: Loader, sql: Sql, values: dict[str, object], said: str) -> None:
    content = rows(41)
    content[7] |= values
    loader.source.write(made_up(), content)
    refused(loader, sql, RecordError, said)


@pytest.mark.parametrize(
    ("damage", "kind", "said"),
    [
        (lambda raw: raw[:-20], ReleaseError, "poles.csv.gz.*truncated"),
        (lambda raw: raw[:200] + b"damage" + raw[206:], ReleaseError, "poles.csv.gz"),
        (gzip.decompress, ReleaseError, "poles.csv.gz.*not gzip|poles.csv.gz.*gzip"),
        (lambda raw: b"", ReleaseError, "poles.csv.gz.*empty"),
        (lambda raw: gzip.compress(b""), ReleaseError, "poles.csv.gz.*empty|poles.csv.gz.*header"),
        (
            lambda raw: gzip.compress(gzip.decompress(raw).replace(b"code", b"kode", 1)),
            RecordError,
            "poles.csv.gz, line 1.*code.*kode|poles.csv.gz, line 1.*kode.*code",
        ),
        (lambda raw: gzip.compress(gzip.decompress(raw) + b"too,few\n"), RecordError, "line 43"),
        (lambda raw: gzip.compress(gzip.decompress(raw).replace(b"Pole 7", b"Pole \xff")), RecordError, "line 9.*name"),
    ],
    ids=["truncated", "damaged", "not gzip", "no byte", "nothing in it", "column", "fields", "UTF-8"],
)
def test_a_bad_file(
    loader: Loader, sql: Sql, damage: Callable[[bytes], bytes], kind: type[ReleaseError], said: str
) -> None:
    path = loader.source.write(made_up(), rows(41))
    loader.source.write_raw(made_up(), damage(path.read_bytes()))
    refused(loader, sql, kind, said)


def test_a_file_that_is_not_there(loader: Loader, sql: Sql) -> None:
    (loader.source.folder / made_up().file_name).unlink()
    refused(loader, sql, ReleaseError, "poles.csv.gz")


@pytest.mark.parametrize("fact", [{"sha256": "0" * 64}, {"bytes": 17}])
def test_a_file_that_is_not_what_the_manifest_says(loader: Loader, sql: Sql, fact: dict[str, object]) -> None:
    loader.source.write(made_up(), rows(41))
    loader.source.promise(made_up(), **fact)
    refused(loader, sql, ManifestError, f"poles.csv.gz(.|\n)*{next(iter(fact.values()))}")


@pytest.mark.parametrize("damage", [lambda raw: raw[:-9] + b"?" + raw[-8:], lambda raw: bytes(len(raw))])
def test_a_file_of_the_promised_size_is_refused_as_another_one(
    loader: Loader, sql: Sql, damage: Callable[[bytes], bytes]
) -> None:
    """Whatever else is wrong with it: its digest is only known once it has been read."""
    path = loader.source.write(made_up(), rows(41))
    loader.source.promise(made_up())
    loader.source.write_raw(made_up(), damage(path.read_bytes()))
    refused(loader, sql, ManifestError, "poles.csv.gz: sha256 is [0-9a-f]{64}, the manifest says")


def test_sql_in_a_name_is_only_text(loader: Loader, sql: Sql) -> None:
    loader.load(made_up(), [rows(1)[0] | {"name": "'); DROP TABLE poles; --"}, *rows(40, start=1)])
    assert sql("SELECT name FROM poles WHERE code = 0") == [("'); DROP TABLE poles; --",)]
