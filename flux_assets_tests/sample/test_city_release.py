"""The sample city as files: the published format, the same bytes each time, whole or not at all."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import sql as psql
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from flux_assets.errors import EmbeddedError, SettingError
from flux_assets.postgis.session import Target
from flux_assets.sample.city.counts import row_counts
from flux_assets.sample.city.release_writer import write_release
from flux_assets.spec import StaticTable
from flux_assets_tests import sample_cities
from flux_assets_tests.sample_cities import city_tables

TINY = 0.0006

every_layer = pytest.mark.parametrize("table", city_tables(), ids=lambda table: table.name)


def written(out: Path, *, scale: float = TINY, seed: int = 7) -> Path:
    write_release(out, city_tables(), scale=scale, seed=seed)
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_the_same_seed_gives_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    """Also where sets and dictionaries of text iterate in another order."""
    program = (
        "import sys; from pathlib import Path; from flux_assets_tests.sample_cities import city_tables;"
        "from flux_assets.sample.city.release_writer import write_release;"
        f"write_release(Path(sys.argv[1]), city_tables(), scale={TINY}, seed=7)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "4711"}
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "other")], check=True, env=environment)
    assert contents(tmp_path / "other") == contents(written(tmp_path / "here"))


def test_another_seed_is_another_city(tmp_path: Path) -> None:
    first, second = contents(written(tmp_path / "7")), contents(written(tmp_path / "8", seed=8))
    assert first.keys() == second.keys()
    assert not [name for name in first if first[name] == second[name]]


def test_the_manifest_describes_the_files() -> None:
    folder = sample_cities.folder()
    manifest = json.loads((folder / "manifest.json").read_text())
    counts = row_counts(city_tables(), sample_cities.SCALE)
    assert (manifest["scale"], manifest["seed"]) == (sample_cities.SCALE, sample_cities.SEED)
    assert {entry["table"]: entry["rows"] for entry in manifest["files"]} == counts
    for entry in manifest["files"]:
        packed = (folder / entry["file"]).read_bytes()
        assert entry["file"] == f"{entry['table']}.csv.gz"
        assert entry["bytes"] == len(packed)
        assert entry["sha256"] == hashlib.sha256(packed).hexdigest()
    assert {path.name for path in folder.iterdir()} == {"manifest.json", *(f"{name}.csv.gz" for name in counts)}


@every_layer
def test_files_hold_the_rows_and_columns_promised(table: StaticTable) -> None:
    assert len(sample_cities.rows(table.name)) == row_counts(city_tables(), sample_cities.SCALE)[table.name]
    assert tuple(sample_cities.rows(table.name)[0]) == table.column_names


@every_layer
def test_gzip_headers_hold_no_time_and_no_name(table: StaticTable) -> None:
    head = (sample_cities.folder() / table.file_name).read_bytes()[:10]
    assert head[:3] == b"\x1f\x8b\x08"
    assert head[3:8] == b"\x00" * 5


@every_layer
def test_postgresql_reads_the_file_and_writes_the_same_text(table: StaticTable, target: Target, tmp_path: Path) -> None:
    """The format is the one of COPY … TO … WITH (FORMAT csv, HEADER): the server itself says whether it is."""
    text = gzip.decompress((written(tmp_path) / table.file_name).read_bytes())
    create = str(CreateTable(table.table).compile(dialect=postgresql.dialect()))
    name = psql.Identifier(table.name)
    with psycopg.connect(target.conninfo, autocommit=True) as connection:
        connection.execute(create)
        with connection.cursor().copy(psql.SQL("COPY {} FROM STDIN (FORMAT csv, HEADER MATCH)").format(name)) as copy:
            copy.write(text)
        with connection.cursor().copy(psql.SQL("COPY {} TO STDOUT (FORMAT csv, HEADER)").format(name)) as copy:
            back = b"".join(copy)
    # Pages are filled as rows fit, so the order of rows is the server's own.
    assert sorted(back.splitlines()) == sorted(text.splitlines())


def test_null_is_an_empty_field_and_the_empty_text_is_quoted() -> None:
    """Surveyors type empty names now and then, and a reader must not take them for no name."""
    text = gzip.decompress((sample_cities.folder() / "building_footprints.csv.gz").read_bytes()).decode()
    names = [line.split(",", 2)[1] for line in text.splitlines()[1:]]
    assert 0 < names.count('""') < 0.002 * len(names)
    assert names.count("") > 0.9 * len(names)


@pytest.mark.parametrize("seed", [0, 1, 2**40])
@pytest.mark.parametrize("scale", [1e-7, 1e-5, 0.0003, 0.0021])
def test_cities_of_any_small_size_are_complete(scale: float, seed: int, tmp_path: Path) -> None:
    counts = row_counts(city_tables(), scale)
    for name, packed in contents(written(tmp_path, scale=scale, seed=seed)).items():
        if name.endswith(".gz"):
            assert gzip.decompress(packed).count(b"\n") == counts[name.removesuffix(".csv.gz")] + 1


def test_progress_counts_up_to_the_whole(tmp_path: Path) -> None:
    told = defaultdict(list)
    write_release(
        tmp_path,
        city_tables(),
        scale=TINY,
        seed=7,
        progress=lambda table, done, total: told[table].append((done, total)),
    )
    counts = row_counts(city_tables(), TINY)
    assert told.keys() == counts.keys()
    for table, steps in told.items():
        assert steps == sorted(steps)
        assert steps[-1] == (counts[table], counts[table])


def test_a_run_broken_off_leaves_the_earlier_release(tmp_path: Path) -> None:
    before = contents(written(tmp_path))

    def stop(table: str, done: int, total: int) -> None:
        if table == "transformers":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_release(tmp_path, city_tables(), scale=TINY, seed=8, progress=stop)
    assert contents(tmp_path) == before


def test_a_run_over_an_earlier_release_replaces_it(tmp_path: Path) -> None:
    written(tmp_path / "old", seed=8)
    assert contents(written(tmp_path / "old")) == contents(written(tmp_path / "fresh"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"scale": 0.0}, "scale 0.0 cannot be made"),
        ({"scale": float("nan")}, "scale nan cannot be made"),
        ({"scale": 11.0}, "not above 10"),
        ({"seed": -1}, "seed -1 is negative"),
        ({"tables": city_tables()[1:]}, "building_footprints"),
    ],
)
def test_nonsense_is_refused_before_anything_is_written(arguments: dict, said: str, tmp_path: Path) -> None:
    usual = {"tables": city_tables(), "scale": TINY, "seed": 7} | arguments
    with pytest.raises(SettingError, match=said):
        write_release(tmp_path / "out", **usual)
    assert not (tmp_path / "out").exists()


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("mine")
    with pytest.raises(SettingError, match="is a file, and a release is a folder"):
        written(taken)
    with pytest.raises(EmbeddedError, match=r"cannot be written to .*below: Not a directory"):
        written(taken / "below")
    assert taken.read_text() == "mine"


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    """A limit on the size of files stands in for the disk: the write that passes it fails as on a full one."""
    program = (
        "import resource, signal, sys; from pathlib import Path\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "from flux_assets.sample.city.release_writer import write_release\n"
        "from flux_assets.errors import EmbeddedError\n"
        "from flux_assets_tests.sample_cities import city_tables\n"
        "try:\n"
        f"    write_release(Path(sys.argv[1]), city_tables(), scale={TINY}, seed=7)\n"
        "except EmbeddedError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", program, str(tmp_path)], check=True, capture_output=True, text=True
    )
    assert "cannot be written to" in done.stdout
    assert "Free space" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_layers_and_columns_that_the_city_does_not_know(tmp_path: Path) -> None:
    """A layer of the user's own is left out, a column of the user's own is NULL."""
    own = sa.Table(
        "own", sa.MetaData(), sa.Column("id", sa.String(5), primary_key=True, comment="Identifier."), comment="Own."
    )
    stations = next(table for table in city_tables() if table.name == "substations")
    wider = stations.table.to_metadata(sa.MetaData())
    wider.append_column(sa.Column("colour", sa.String(9), comment="Colour of the fence."))
    tables = [table for table in city_tables() if table is not stations]
    tables += [replace(stations, table=wider), StaticTable(table=own, release_rows=5)]
    write_release(tmp_path, tables, scale=TINY, seed=7)
    assert not (tmp_path / "own.csv.gz").exists()
    head, first, *_ = gzip.decompress((tmp_path / "substations.csv.gz").read_bytes()).decode().splitlines()
    assert head.endswith(",geom,colour")
    assert first.endswith(",")
