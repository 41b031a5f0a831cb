"""Releases in any format over HTTP and in stores: the same files as in a folder, and the same refusals."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from flux_assets.errors import ManifestError, ReleaseError
from flux_assets.layers.context import LoadOptions
from flux_assets.layers.load import LoadResult, load_layer
from flux_assets.postgis.session import Target
from flux_assets.release.release import Release
from flux_assets_tests.conftest import Sql
from flux_assets_tests.release.formats.made_files import FORMATS, TOWERS, frame, written
from flux_assets_tests.web import Web, serving

PARTS = ("towers/part-00000-a.parquet", "towers/part-00001-a.parquet")


class Place:
    """A release in a folder, and what is there of it behind an address."""

    def __init__(self, folder: Path, address: str, web: Web | None = None) -> None:
        self.folder, self.address, self.web = folder, address, web
        folder.mkdir()

    def publish(self, *, manifest: bool) -> None:
        """Put the folder's files where they are read, with a manifest or without."""
        paths = {str(path.relative_to(self.folder)): path.read_bytes() for path in self.folder.rglob("*.*")}
        if manifest:
            entries = [
                {"table": "towers", "file": name, "bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
                for name, raw in sorted(paths.items())
            ]
            paths["manifest.json"] = json.dumps({"files": entries}).encode()
        if self.web is not None:
            self.web.files = {f"/v1/{name}": raw for name, raw in paths.items()}
            return
        store = fsspec.filesystem("memory")
        for name in store.find("/towers-release"):
            store.rm(name)
        for name, raw in paths.items():
            store.pipe_file(f"/towers-release/v1/{name}", raw)

    def load(self, target: Target, *, force: bool = False) -> LoadResult:
        release = Release(self.address, "v1", self.folder.parent / "cache", pause=0)
        return load_layer(TOWERS, release, target, LoadOptions(force=force), lambda _: None)


@pytest.fixture(params=["http", "store"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "store":
        yield Place(tmp_path / "v1", "memory://towers-release/v1")
        return
    with serving() as web:
        yield Place(tmp_path / "v1", f"{web.address}/v1", web)


def parts(folder: Path) -> None:
    for number, name in enumerate(PARTS):
        rows = frame(5).assign(id=[f"{number}{index}" for index in range(5)])
        written(folder / "towers", ".parquet", rows).rename(folder / name)


@pytest.mark.parametrize("manifest", [False, True])
@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_of_any_format_is_found_and_fetched(place: Place, target: Target, suffix: str, manifest: bool) -> None:
    written(place.folder, suffix, frame())
    place.publish(manifest=manifest)
    result = place.load(target)
    assert (result.outcome, result.rows) == ("published", 5)
    assert place.load(target).outcome == "unchanged"


@pytest.mark.parametrize("suffix", [".csv.gz", ".gpkg"])
def test_two_files_of_a_layer_are_refused(place: Place, target: Target, suffix: str) -> None:
    written(place.folder, ".parquet", frame())
    (place.folder / f"towers{suffix}").write_bytes(b"anything")
    place.publish(manifest=False)
    with pytest.raises(ReleaseError, match=r"more than one file of towers: towers\..*, towers\..*Keep one of them"):
        place.load(target)
    place.publish(manifest=True)
    with pytest.raises(ManifestError, match=r"table .?towers.? is listed twice"):
        place.load(target)


def test_parts_of_parquet(place: Place, target: Target, sql: Sql) -> None:
    parts(place.folder)
    place.publish(manifest=True)
    assert place.load(target).rows == 10
    assert sql("SELECT array_agg(id ORDER BY id) = array_agg(id ORDER BY ctid) FROM towers") == [(True,)]
    for spoiled, word in (("another file", "sha256|bytes is"), (None, r"There is no .*part-00001-a\.parquet")):
        name = f"/v1/{PARTS[1]}"
        if place.web is None:
            store = fsspec.filesystem("memory")
            store.pipe_file(f"/towers-release{name}", b"x") if spoiled else store.rm(f"/towers-release{name}")
        elif spoiled:
            place.web.files[name] = b"x"
        else:
            del place.web.files[name]
        shutil.rmtree(place.folder.parent / "cache")
        with pytest.raises(ReleaseError, match=word):
            place.load(target, force=True)


def test_parts_without_a_manifest_are_found_where_the_store_lists_them(place: Place, target: Target) -> None:
    parts(place.folder)
    place.publish(manifest=False)
    if place.web is None:
        assert place.load(target).rows == 10
        (place.folder / PARTS[0]).unlink()
        place.publish(manifest=False)
        (place.folder / "towers.csv.gz").write_bytes(b"")
        place.publish(manifest=False)
        with pytest.raises(ReleaseError, match=r"more than one file of towers: towers\.csv\.gz, towers/"):
            place.load(target)
    else:
        with pytest.raises(ReleaseError, match=r"There is no .*towers\.csv\.gz"):
            place.load(target)
