"""manifest.json as the commands write it: by its JSON schema, and believed by a load."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner

from flux_assets.cli.main import main
from flux_assets.errors import ManifestError, RecordError, ReleaseError
from flux_assets.release import writing
from flux_assets.release.release import Release
from flux_assets.release.writing import entries_of, write_manifest
from flux_assets.sample.city.release_writer import write_release
from flux_assets.tables.substations import TABLE as SUBSTATIONS
from flux_assets_tests.made_layers import Loader, ReleaseFolder, made_up, rows
from flux_assets_tests.made_up import write_one_row
from flux_assets_tests.release.formats.made_files import FORMATS, TOWERS, frame, written
from flux_assets_tests.sample_cities import city_tables

SCHEMA = json.loads(Path(writing.__file__).with_name("manifest.schema.json").read_text())
JUDGE = jsonschema.Draft202012Validator(SCHEMA)
POLES = made_up()
SHA = "a" * 64


def manifest(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text())


def listed(folder: Path, *tables) -> list[dict]:
    """Write the manifest; return its files."""
    entries = entries_of(folder, tables, folder.parent / "cache", {}, lambda _: None)
    write_manifest(folder, entries, tables, tag="v1")
    JUDGE.validate(manifest(folder))
    return manifest(folder)["files"]


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_the_sample_writes_what_the_schema_says(tmp_path):
    write_release(tmp_path, city_tables(), scale=0.0006, seed=7)
    JUDGE.validate(manifest(tmp_path))
    assert set(manifest(tmp_path)["schema"]) == {table.name for table in city_tables()}


@pytest.mark.parametrize("suffix", [*FORMATS, ".csv.gz"])
def test_counts_the_rows_of_every_format(tmp_path, suffix):
    if suffix == ".csv.gz":
        ReleaseFolder(tmp_path / "r").write(POLES, rows(5))
    else:
        written(tmp_path / "r", suffix, frame(5))
    (entry,) = listed(tmp_path / "r", TOWERS, POLES)
    path = tmp_path / "r" / entry["file"]
    assert (entry["rows"], entry["bytes"]) == (5, path.stat().st_size)
    assert Release(str(tmp_path / "r"), None, tmp_path / "other").fetch(
        Release(str(tmp_path / "r"), None, tmp_path / "other").resolve(f"{entry['table']}.csv.gz", entry["table"])
    )


def test_lists_each_part(tmp_path):
    for number, count in enumerate([3, 4]):
        written(tmp_path / "r" / "towers", ".parquet", frame(count), name=f"part-{number}")
    found = listed(tmp_path / "r", TOWERS)
    assert [(entry["file"], entry["rows"]) for entry in found] == [
        ("towers/part-0.parquet", 3),
        ("towers/part-1.parquet", 4),
    ]


def test_a_load_believes_it_and_refuses_a_changed_byte(tmp_path, target):
    folder = ReleaseFolder(tmp_path / "r")
    path = folder.write(POLES, rows(5))
    listed(folder.folder, POLES)
    loader = Loader(target, folder)
    assert loader.load(POLES).version
    raw = bytearray(path.read_bytes())
    raw[4] ^= 1  # the time in gzip's header: the rows stay the same
    path.write_bytes(raw)
    with pytest.raises(ManifestError, match="sha256 is"):
        loader.load(POLES, force=True)


def test_replaces_a_manifest_that_is_behind(tmp_path):
    folder = ReleaseFolder(tmp_path / "r")
    folder.write(POLES, rows(5))
    listed(folder.folder, POLES)
    folder.write(POLES, rows(6))
    (entry,) = listed(folder.folder, POLES)
    assert entry["rows"] == 6


def test_says_the_columns(tmp_path):
    ReleaseFolder(tmp_path / "r").write(POLES, rows(1))
    listed(tmp_path / "r", POLES, TOWERS)
    assert list(manifest(tmp_path / "r")["schema"]) == ["poles"]
    said = manifest(tmp_path / "r")["schema"]["poles"]
    assert said["key"] == ["id"]
    assert said["columns"][0] == {"name": "id", "type": "varchar(20)", "nullable": False}
    geom = {"name": "geom", "type": "geometry(point,4326)", "nullable": True, "geometry_type": "POINT", "srid": 4326}
    assert said["columns"][-1] == geom


def test_a_folder_without_a_layer_gets_none(tmp_path):
    with pytest.raises(ReleaseError, match="no file of a declared layer"):
        listed(tmp_path, POLES)
    assert not (tmp_path / "manifest.json").exists()


def test_what_cannot_be_read_leaves_the_manifest_that_is_there(tmp_path):
    folder = ReleaseFolder(tmp_path / "r")
    folder.write(POLES, rows(5))
    listed(folder.folder, POLES)
    before = manifest(folder.folder)
    folder.write_raw(POLES, gzip.compress(b"id,code,wrong\n1,2,3\n"))
    with pytest.raises(RecordError, match="header"):
        listed(folder.folder, POLES)
    folder.write_raw(POLES, gzip.compress(b"id\n")[:-5])
    with pytest.raises(ReleaseError, match="truncated"):
        listed(folder.folder, POLES)
    assert manifest(folder.folder) == before


def test_a_folder_that_takes_no_file(tmp_path):
    ReleaseFolder(tmp_path / "r").write(POLES, rows(1))
    (tmp_path / "r" / "manifest.json").mkdir()  # root may write anywhere else
    with pytest.raises(ReleaseError, match="cannot be written"):
        listed(tmp_path / "r", POLES)
    assert [path.name for path in (tmp_path / "r").iterdir() if "unfinished" in path.name] == []


def test_the_command_names_what_no_table_knows(tmp_path):
    write_one_row(tmp_path, SUBSTATIONS)
    for name in ("pipes.csv.gz", "README.md", ".hidden"):
        (tmp_path / name).write_text("")
    done = CliRunner().invoke(main, ["manifest", str(tmp_path), "--tag", "v9"])
    assert done.exit_code == 0, done.output
    assert "no declared layer has such a file: README.md, pipes.csv.gz.\n" in done.stderr
    assert f"Wrote {tmp_path}/manifest.json: 1 file, 1 row, " in done.stdout
    JUDGE.validate(manifest(tmp_path))
    assert manifest(tmp_path)["tag"] == "v9"


@pytest.mark.parametrize(
    "entry",
    [
        7,
        {"file": "t.csv.gz"},
        {"table": "t"},
        {"table": "", "file": "t"},
        {"table": "t", "file": "t", "rows": -1},
        {"table": "t", "file": "t", "rows": "3"},
        {"table": "t", "file": "t", "bytes": True},
        {"table": "t", "file": "t", "bytes": 1.5},
        {"table": "t", "file": "t", "rows": 2**63},
        {"table": "t", "file": "t", "sha256": "abc"},
        {"table": "t", "file": "t", "sha256": 5},
        *({"table": "t", "file": file} for file in ("../t", "/t", "a/../t", "a//t", "./t", "C:\\t", "t\0", "a/", "..")),
    ],
    ids=str,
)
def test_the_schema_refuses_what_a_load_refuses(tmp_path, entry):
    document = {"files": [entry]}
    assert not JUDGE.is_valid(document)
    (tmp_path / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(ManifestError):
        Release(str(tmp_path), None, tmp_path / "cache").manifest()


@pytest.mark.parametrize(
    "entry",
    [
        {"table": "t", "file": "t.csv.gz"},
        {"table": "t", "file": "t/part-1.parquet", "rows": 0, "bytes": 0, "sha256": SHA.upper(), "more": []},
        {"table": "t", "file": "a/..t..gz", "rows": None, "bytes": None, "sha256": None},
    ],
    ids=str,
)
def test_the_schema_takes_what_a_load_takes(tmp_path, entry):
    document = {"files": [entry], "more": 1}
    JUDGE.validate(document)
    (tmp_path / "manifest.json").write_text(json.dumps(document))
    assert Release(str(tmp_path), None, tmp_path / "cache").manifest()
