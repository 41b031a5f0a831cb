"""Layers in parts: one version of all, its digest that of theirs; a part missing, doubled or foreign is refused."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import pytest

from flux_assets.errors import FluxError, ManifestError, RecordError
from flux_assets.postgis.session import Target
from flux_assets_tests.conftest import Sql
from flux_assets_tests.made_layers import Loader, ReleaseFolder, csv_field, made_up, rows
from flux_assets_tests.release.formats.made_files import TOWERS, frame, written

POLES = made_up()
NAMES = ["part-0001.csv.gz", "part-0002.csv.gz", "part-0003.csv.gz"]


@pytest.fixture
def loader(target: Target, tmp_path: Path) -> Loader:
    return Loader(target, ReleaseFolder(tmp_path / "v1"))


def deliver(loader: Loader, names: list[str] = NAMES, *, manifest: bool = False, **changed: object) -> list[Path]:
    """Ten rows a part; one value of the second part may be another."""
    folder = loader.source.folder / POLES.name
    folder.mkdir(parents=True, exist_ok=True)
    paths, entries = [folder / name for name in names], []
    for index, path in enumerate(paths):
        content = rows(10, start=10 * index)
        if index == 1:
            content[4] |= changed
        lines = [",".join(csv_field(row.get(name)) for name in POLES.column_names) for row in content]
        raw = gzip.compress("\n".join([",".join(POLES.column_names), *lines, ""]).encode(), mtime=0)
        path.write_bytes(raw)
        sha256 = hashlib.sha256(raw).hexdigest()
        file = f"{POLES.name}/{path.name}"
        entries.append({"table": POLES.name, "file": file, "rows": 10, "bytes": len(raw), "sha256": sha256})
    if manifest:
        (loader.source.folder / "manifest.json").write_text(json.dumps({"files": entries[::-1]}))
    return paths


@pytest.mark.parametrize("manifest", [False, True])
def test_parts_are_one_version_with_the_digest_of_all(loader: Loader, sql: Sql, manifest: bool) -> None:
    paths = deliver(loader, manifest=manifest)
    result = loader.load(POLES)
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    assert (result.rows, result.gz_bytes) == (30, sum(path.stat().st_size for path in paths))
    assert result.sha256 == hashlib.sha256("\n".join(digests).encode()).hexdigest()
    assert sql("SELECT count(*), min(code), max(code) FROM poles") == [(30, 0, 29)]
    assert loader.load(POLES).outcome == "unchanged"
    deliver(loader, name="another", manifest=manifest)
    assert loader.load(POLES).outcome == "published"


def test_parts_of_parquet_as_spark_names_them(loader: Loader) -> None:
    folder = loader.source.folder / "towers"
    for number in range(2):
        part = frame(5).assign(id=[f"{number}{index}" for index in range(5)])
        written(folder, ".parquet", part).rename(folder / f"part-0000{number}-3f2a-c000.snappy.parquet")
    (folder / "_SUCCESS").write_text("")
    assert loader.load(TOWERS).rows == 10


def test_a_bad_record_is_named_with_its_part(loader: Loader, sql: Sql) -> None:
    deliver(loader, score="much")
    with pytest.raises(RecordError) as refused:
        loader.load(POLES)
    place = refused.value.place
    assert (place.file, place.line, place.record, place.column) == ("poles/part-0002.csv.gz", 6, 15, "score")
    assert loader.load(POLES, quarantine=1).rows == 29
    assert sql("SELECT file, record FROM postgres_sync.quarantine") == [("poles/part-0002.csv.gz", 15)]


WRONG = {
    "a gap": (["part-0001.csv.gz", "part-0003.csv.gz"], r"poles/ lacks parts between those it has: 2\."),
    "no first": (["part-0002.csv.gz", "part-0003.csv.gz"], r"lacks parts between those it has: 1\."),
    "doubled": ([*NAMES, "part-2.csv.gz"], r"has a part of the same number twice: 2\."),
    "foreign": ([*NAMES, "notes.csv.gz"], r"files that are not its parts: notes\.csv\.gz\."),
    "two formats": ([*NAMES, "part-0004.parquet"], r"parts of several formats: \.csv\.gz, \.parquet\."),
}


@pytest.mark.parametrize("fault", WRONG)
def test_parts_that_are_not_right_are_refused_before_staging(loader: Loader, fault: str) -> None:
    names, word = WRONG[fault]
    deliver(loader, names)
    with pytest.raises(FluxError, match=word):
        loader.load(POLES)


def test_the_manifest_says_which_parts_there_are(loader: Loader) -> None:
    paths = deliver(loader, manifest=True)
    extra = paths[0].with_name("part-0009.csv.gz")
    extra.write_bytes(paths[0].read_bytes())
    with pytest.raises(FluxError, match=r"files that are not its parts: part-0009\.csv\.gz"):
        loader.load(POLES)
    extra.unlink()
    kept = paths[1].read_bytes()
    paths[1].unlink()
    with pytest.raises(ManifestError, match=r"There is no .*part-0002\.csv\.gz, a part of poles\."):
        loader.load(POLES)
    paths[1].write_bytes(kept[:-1] + b"x")
    with pytest.raises(ManifestError, match=r"part-0002\.csv\.gz.*sha256"):
        loader.load(POLES)


def test_parts_with_other_columns_are_refused(loader: Loader) -> None:
    paths = deliver(loader)
    text = gzip.decompress(paths[2].read_bytes()).decode()
    paths[2].write_bytes(gzip.compress(text.replace("id,code", "code,id", 1).encode()))
    with pytest.raises(RecordError, match=r"part-0003\.csv\.gz: its columns are not those of the first part"):
        loader.load(POLES)


def test_one_file_and_parts_are_two(loader: Loader) -> None:
    deliver(loader)
    loader.source.write(POLES, rows(3))
    with pytest.raises(FluxError, match=r"more than one file of poles: poles\.csv\.gz, poles/\."):
        loader.load(POLES)
