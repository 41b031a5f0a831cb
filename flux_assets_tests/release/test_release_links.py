"""Links in a release folder: those within it are followed, those out of it refused without telling where they lead."""

import gzip
import json
import os
from pathlib import Path

import pytest

from flux_assets.errors import ManifestError, ReleaseError
from flux_assets.release.decode.stream import LayerStream
from flux_assets.release.files import opened
from flux_assets.release.release import Release
from flux_assets_tests.release_files import FILE, SITES, site, site_file

SECRET = "s3cret"


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "releases" / "v1"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def outside(tmp_path):
    """A file that the loader may read and a release has no business with."""
    folder = tmp_path / f"{SECRET}-place"
    folder.mkdir()
    path = folder / f"{SECRET}.gz"
    path.write_bytes(gzip.compress(f"{SECRET}\n".encode()))
    return path


def release(folder, tmp_path):
    return Release(str(folder), None, tmp_path / "cache")


def asks(folder, tmp_path):
    some = release(folder, tmp_path)
    return (some.resolve, some.glance)


def refused(folder, tmp_path, name=FILE) -> None:
    for ask in asks(folder, tmp_path):
        with pytest.raises(ReleaseError, match=rf"{folder}/{name} is a symbolic link that leads out of the") as caught:
            ask(name, "sites")
        assert SECRET not in str(caught.value)
        assert caught.value.remedy


def test_a_link_out_of_the_folder_is_refused(folder, outside, tmp_path):
    (folder / FILE).symlink_to(outside)
    refused(folder, tmp_path)


def test_so_is_a_relative_one(folder, outside, tmp_path):
    (folder / FILE).symlink_to(f"../../{outside.parent.name}/{outside.name}")
    refused(folder, tmp_path)


def test_so_is_one_to_nothing(folder, tmp_path):
    """Whether there is something at the other end is not told either."""
    (folder / FILE).symlink_to(tmp_path / SECRET)
    refused(folder, tmp_path)


def test_so_is_one_to_a_folder_beside_it_whose_name_begins_alike(folder, outside, tmp_path):
    beside = folder.with_name("v1-other")
    beside.mkdir()
    (folder / FILE).symlink_to(outside.rename(beside / FILE))
    refused(folder, tmp_path)


def test_so_is_a_file_in_a_linked_folder(folder, outside, tmp_path):
    (folder / "layers").symlink_to(outside.parent)
    (folder / "manifest.json").write_text(f'{{"files": [{{"table": "sites", "file": "layers/{SECRET}.gz"}}]}}')
    for ask in asks(folder, tmp_path):
        with pytest.raises(ReleaseError, match="is a symbolic link that leads out of the release folder"):
            ask(FILE, "sites")


def test_so_is_the_manifest(folder, outside, tmp_path):
    (folder / "manifest.json").symlink_to(outside)
    with pytest.raises(ReleaseError, match=rf"{folder}/manifest.json is a symbolic link that leads out") as caught:
        release(folder, tmp_path).manifest()
    assert SECRET not in str(caught.value)


def test_a_link_within_the_folder_is_followed(folder, tmp_path):
    (folder / "files").mkdir()
    path = site_file(folder / "files", site())
    (folder / FILE).symlink_to(f"files/{FILE}")
    some = release(folder, tmp_path)
    file = some.resolve(FILE, "sites")
    for found in (some.fetch(file), *some.at_hand(file)):
        assert found == path
        assert sum(len(batch) for batch in LayerStream(found, FILE, SITES, sha256=file.sha256)) == 1


def test_the_folder_itself_may_be_a_link(folder, tmp_path):
    path = site_file(folder, site())
    current = folder.with_name("current")
    current.symlink_to("v1")
    some = release(current, tmp_path)
    assert some.tag == "current"
    file = some.resolve(FILE, "sites")
    assert file.address == str(current / FILE)
    assert some.fetch(file) == path


def test_a_link_that_leads_to_itself_is_no_file(folder, tmp_path):
    (folder / FILE).symlink_to(FILE)
    for ask in asks(folder, tmp_path):
        with pytest.raises(ReleaseError, match=f"{folder}/{FILE} is a symbolic link that leads to itself"):
            ask(FILE, "sites")


@pytest.mark.parametrize("put", [Path.mkdir, os.mkfifo])
def test_what_is_no_file_is_called_so_and_not_waited_for(folder, tmp_path, put):
    put(folder / FILE)
    for ask in asks(folder, tmp_path):
        with pytest.raises(ReleaseError, match=f"{folder}/{FILE} is not a regular file. Put the file itself there"):
            ask(FILE, "sites")


@pytest.mark.parametrize("put", ["link", "folder", "pipe"])
def test_what_is_put_in_a_files_place_after_it_was_found_is_not_read(folder, outside, tmp_path, put):
    (folder / "files").mkdir()
    site_file(folder / "files", site())
    (folder / "manifest.json").write_text(f'{{"files": [{{"table": "sites", "file": "files/{FILE}"}}]}}')
    some = release(folder, tmp_path)
    (path,) = some.at_hand(some.resolve(FILE, "sites"))
    if put == "folder":
        path.parent.rename(folder / "moved")
        path.parent.symlink_to(outside.parent)
        outside.rename(outside.with_name(FILE))
    else:
        path.unlink()
        path.symlink_to(outside) if put == "link" else os.mkfifo(path)
    with pytest.raises(ReleaseError) as caught:
        list(LayerStream(path, FILE, SITES))
    assert SECRET not in str(caught.value)
    with pytest.raises((OSError, ReleaseError)):
        opened(path, FILE)


@pytest.mark.parametrize("name", ["../t.gz", "/etc/passwd", "a/../../t", "..", "\ud800.gz", "x" * 5000 + "/.."])
def test_a_name_in_the_manifest_stays_in_the_folder(folder, tmp_path, name):
    (folder / "manifest.json").write_text(json.dumps({"files": [{"table": "sites", "file": name}]}))
    with pytest.raises(ManifestError, match="does not name a file within the release") as caught:
        release(folder, tmp_path).resolve(FILE, "sites")
    assert len(str(caught.value)) < 1000


def test_a_name_that_is_too_long_is_no_file(folder, tmp_path):
    (folder / "manifest.json").write_text(f'{{"files": [{{"table": "sites", "file": "{"x" * 300}"}}]}}')
    for ask in asks(folder, tmp_path):
        with pytest.raises(ReleaseError):
            ask(FILE, "sites")


def test_a_remembered_digest_is_of_a_file_of_the_release(folder, outside, tmp_path):
    path: Path = site_file(folder, site())
    some = release(folder, tmp_path)
    os.utime(path, (1e9, 1e9))
    some.resolve(FILE, "sites")
    path.unlink()
    path.symlink_to(outside)
    refused(folder, tmp_path)
