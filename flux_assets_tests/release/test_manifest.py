"""manifest.json: what is read of it, and what is refused, with its place."""

import json
from collections.abc import Mapping

import pytest

from flux_assets.errors import ManifestError
from flux_assets.release.release import FileEntry, Release

SHA = "a" * 64


@pytest.fixture
def read(tmp_path):
    """The manifest of a release, given its bytes."""

    def read(content: bytes) -> Mapping[str, FileEntry]:
        (tmp_path / "manifest.json").write_bytes(content)
        manifest = Release(str(tmp_path), None, tmp_path / "cache").manifest()
        assert manifest is not None
        return manifest

    return read


@pytest.fixture
def parse(read):
    return lambda *files: read(json.dumps({"files": list(files)}).encode())


def test_reads_entries_and_ignores_unknown_keys(read):
    entry = {"table": "t", "file": "t.csv.gz", "rows": 3, "bytes": 9, "sha256": SHA.upper(), "made": "today"}
    manifest = read(json.dumps({"files": [entry], "more": [1]}).encode())
    assert manifest["t"] == FileEntry(table="t", file="t.csv.gz", rows=3, bytes=9, sha256=SHA)
    assert manifest.get("u") is None


def test_what_is_not_said_is_unknown(parse):
    assert parse({"table": "t", "file": "t.csv.gz"})["t"] == FileEntry(table="t", file="t.csv.gz")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{}", b'{"files": {}}', b'"files"', b"\xff", b"[" * 100_000],
    ids=lambda c: repr(c[:9]),
)
def test_refuses_what_is_no_manifest(read, content):
    with pytest.raises(ManifestError, match=r"/manifest.json: (this is not JSON|it is not an object with)"):
        read(content)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (7, "files[1] is not an object"),
        ({"file": "t.csv.gz"}, "files[1].table is None"),
        ({"table": "t"}, "files[1].file is None"),
        ({"table": "", "file": "t"}, "files[1].table is ''"),
        ({"table": "t", "file": "t", "rows": -1}, "files[1].rows is -1, not a count"),
        ({"table": "t", "file": "t", "rows": "3"}, "files[1].rows is '3', not a count"),
        ({"table": "t", "file": "t", "bytes": True}, "files[1].bytes is True, not a count"),
        ({"table": "t", "file": "t", "bytes": 1.5}, "files[1].bytes is 1.5, not a count"),
        ({"table": "t", "file": "t", "sha256": "abc"}, "files[1].sha256 is 'abc', not 64 hexadecimal digits"),
        ({"table": "t", "file": "t", "sha256": 5}, "files[1].sha256 is 5, not 64 hexadecimal digits"),
    ],
)
def test_refuses_an_entry_and_says_where(parse, tmp_path, entry, said):
    with pytest.raises(ManifestError) as caught:
        parse({"table": "s", "file": "s.csv.gz"}, entry)
    assert f"{tmp_path}/manifest.json: {said}" in str(caught.value)
    assert "flux-assets manifest" in caught.value.remedy


@pytest.mark.parametrize(
    "file",
    [
        "../t.csv.gz",
        "/etc/passwd",
        "a/../../t",
        "a//t",
        "./t",
        "C:\\t",
        "..\\t",
        "s3://other/t",
        "t\0",
        "t\n",
        "a/",
        "..",
    ],
)
def test_refuses_a_file_outside_the_release(parse, file):
    with pytest.raises(ManifestError, match="does not name a file within the release"):
        parse({"table": "t", "file": file})


def test_a_file_in_a_folder_of_the_release_is_inside(parse):
    assert parse({"table": "t", "file": "layers/t..1.csv.gz"})["t"].file == "layers/t..1.csv.gz"


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ({"table": "t", "file": "u"}, "table 't' is listed twice"),
        ({"table": "u", "file": "t"}, "file 't' is listed twice"),
    ],
)
def test_refuses_two_entries_for_one_thing(parse, second, said):
    with pytest.raises(ManifestError, match=said):
        parse({"table": "t", "file": "t"}, second)
