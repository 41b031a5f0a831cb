"""Releases written out of PostGIS, Snowflake and other releases: the same rows when loaded, the same bytes again."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa
import sqlglot
from click.testing import CliRunner

from flux_assets.cli.main import main
from flux_assets.errors import FluxError, LayerError, RecordError, ReleaseError, SourceError
from flux_assets.packing.origins import Origin, delivered, published, warehouse
from flux_assets.packing.pack import Packer
from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.session import Target
from flux_assets.release.release import Release
from flux_assets.sample.cluster import Cluster
from flux_assets.settings import load_settings
from flux_assets.snowflake import layers as warehouse_layers
from flux_assets.snowflake.account import Account
from flux_assets.snowflake.columns import FoundColumn
from flux_assets.snowflake.layers import layer_mapping
from flux_assets.snowflake.mapping import literal
from flux_assets.spec import StaticTable
from flux_assets.tables.substations import TABLE as SUBSTATIONS
from flux_assets_tests import sourced
from flux_assets_tests.conftest import Sql
from flux_assets_tests.made_layers import Loader, ReleaseFolder, columns, made_up, rows
from flux_assets_tests.made_up import write_one_row
from flux_assets_tests.release.formats.made_files import TOWERS, frame, written
from flux_assets_tests.release.test_writing import JUDGE
from flux_assets_tests.release_files import SITES, ewkb, site, site_file
from flux_assets_tests.synced import settings_of

POLES, OTHERS = made_up(), made_up("others")
ODD = (
    site(3, label="", ratio="0.30000000000000004", amount="-0.50", spot=ewkb("POINT(9.5 48.5)")),
    site(1, label='a, "b"\nand ü', number="-7", big="9007199254740993", ratio="NaN", seen="2024-02-29 12:30:00.123456"),
    site(2, label="\\.", day="2024-02-29", path=ewkb("LINESTRING(9 48,10 48)"), shape=ewkb("LINESTRING EMPTY")),
    site(10, label=None, ratio="-Infinity", longitude="9.5", latitude="48.5"),
)


@pytest.fixture
def pack(target: Target, tmp_path: Path) -> Callable[..., Path]:
    """Pack layers into a new folder; return it, once its manifest was judged."""

    def packed(origin: Origin, *tables: StaticTable, name: str = "packed", named: bool = True) -> Path:
        folder = tmp_path / name
        packer = Packer(folder=folder, tag="v9", target=target, stop=Stop(), log=lambda _: None)
        packer.pack(tables, origin, named=named)
        JUDGE.validate(json.loads((folder / "manifest.json").read_text()))
        return folder

    return packed


@pytest.fixture
def digest(sql: Sql) -> Callable[[str], list[tuple]]:
    """What tells the rows of a table from all others."""
    return lambda table: sql(
        f"SELECT count(*), md5(string_agg(md5(record_send(t)), '' ORDER BY md5(record_send(t)))) FROM {table} AS t"
    )


def lines(path: Path) -> list[str]:
    return gzip.decompress(path.read_bytes()).decode().splitlines()


def release(folder: Path) -> Release:
    return Release(str(folder), None, folder.parent / "cache")


@pytest.fixture
def sites(target: Target, tmp_path: Path) -> Loader:
    """A published layer with a column of every type, and values that are hard to write."""
    (tmp_path / "first").mkdir()
    site_file(tmp_path / "first", *ODD)
    loader = Loader(target, ReleaseFolder(tmp_path / "first"))
    loader.load(SITES)
    return loader


def test_what_is_packed_of_postgis_loads_to_the_same_rows(sites: Loader, pack, digest) -> None:
    before, folder = digest("sites"), pack(published, SITES)
    sites.source = ReleaseFolder(folder)
    assert sites.load(SITES, force=True).version
    assert digest("sites") == before
    assert before[0][0] == len(ODD)


def test_what_is_packed_of_a_release_loads_to_the_same_rows(target: Target, tmp_path: Path, pack, digest) -> None:
    written(tmp_path / "delivered", ".parquet", frame(40))
    loader = Loader(target, ReleaseFolder(tmp_path / "delivered"))
    loader.load(TOWERS)
    before, folder = digest("towers"), pack(delivered(release(tmp_path / "delivered")), TOWERS)
    (entry,) = json.loads((folder / "manifest.json").read_text())["files"]
    assert (entry["file"], entry["rows"]) == ("towers.csv.gz", 40)
    loader.source = ReleaseFolder(folder)
    loader.load(TOWERS)
    assert digest("towers") == before


@pytest.mark.parametrize("kind", ["VARCHAR", "BINARY"])
def test_what_is_packed_of_snowflake_loads_to_the_same_rows(
    sites: Loader, source: Account, sql: Sql, pack, digest, kind: str
) -> None:
    types = {sa.String: "VARCHAR", sa.Double: "FLOAT", sa.DateTime: "TIMESTAMP_NTZ", sa.Date: "DATE"}
    types |= {sa.BigInteger: "NUMBER(19,0)", sa.Integer: "NUMBER(10,0)", sa.Numeric: "NUMBER(8,2)"}

    def written_as(column: sa.Column) -> str:
        return next((named for known, named in types.items() if isinstance(column.type, known)), kind)

    shown = ", ".join(f"{column.name} {written_as(column)}" for column in SITES.columns)
    sql("DELETE FROM sites WHERE ratio = 'NaN' OR ratio = '-Infinity'")  # which a literal of the stand-in is not
    found = sql("SELECT {} FROM sites".format(", ".join(f"{name}::text" for name in SITES.column_names)))
    statements = [f"CREATE TABLE SITES ({shown})"]
    for row in found:
        texts = ["NULL" if value is None else literal(value) for value in row]
        values = [
            f"TO_BINARY({text}, 'HEX')" if written_as(column) == "BINARY" and text != "NULL" else text
            for column, text in zip(SITES.columns, texts, strict=True)
        ]
        statements.append(f"INSERT INTO SITES SELECT {', '.join(values)}")
    sourced.tell(source, ";".join(statements))
    before, folder = digest("sites"), pack(warehouse(partial(sourced.opened, source)), SITES)
    sites.source = ReleaseFolder(folder)
    sites.load(SITES, force=True)
    assert digest("sites") == before
    assert before[0][0] == 2


@pytest.mark.parametrize("kind", ["GEOGRAPHY", "GEOMETRY", "BINARY", "TEXT"])
def test_geometry_of_snowflake_is_read_as_hexadecimal_ewkb(kind: str) -> None:
    class Found:
        account = Account(account="a", user="u", database="DB", schema="S")

        def columns(self, table: object) -> list[FoundColumn]:
            kinds = {"code": "FIXED", "score": "REAL", "longitude": "REAL", "latitude": "REAL", "geom": kind}
            return [FoundColumn(name=name.upper(), kind=kinds.get(name, "TEXT")) for name in POLES.column_names]

    text = layer_mapping(Found(), POLES).rows_query(Found.account, None, travel=False)  # type: ignore[arg-type]
    made = warehouse_layers._AS_HEX.get(kind, "{}").format('"GEOM"')
    assert f'{made} AS "geom"' in text.replace(f"({made})", made)
    sqlglot.parse_one(text, read="snowflake")


def test_a_table_of_snowflake_that_lacks_a_column_is_refused(source: Account, pack, tmp_path: Path) -> None:
    sourced.tell(source, "CREATE TABLE POLES (ID VARCHAR)")
    with pytest.raises(SourceError, match=r"poles\.code is required"):
        pack(warehouse(partial(sourced.opened, source)), POLES)
    with pytest.raises(FluxError, match="OTHERS"):
        pack(warehouse(partial(sourced.opened, source)), OTHERS)
    assert [path.name for path in tmp_path.iterdir()] == []


def test_the_same_rows_give_the_same_bytes_in_the_order_of_the_key(sites: Loader, sql: Sql, pack) -> None:
    first = pack(published, SITES)
    sql("CREATE TABLE again AS SELECT * FROM sites ORDER BY site_id DESC; DELETE FROM sites")
    sql("INSERT INTO sites SELECT * FROM again")
    second = pack(published, SITES, name="again")
    assert {path.name: path.read_bytes() for path in first.iterdir()} == {
        path.name: path.read_bytes() for path in second.iterdir()
    }
    keys = [line.split(",")[0] for line in lines(first / "sites.csv.gz") if line.startswith("S")]
    assert keys == ["S1", "S10", "S2", "S3"]


def test_without_a_key_lines_are_in_the_order_of_their_values(target: Target, tmp_path: Path, pack) -> None:
    table = made_up(parts=columns(id=sa.Column("id", sa.String(20), nullable=False, comment="Identifier.")))
    content = rows(30)
    for name, given in (("a", content), ("b", content[::-1])):
        ReleaseFolder(tmp_path / name).write(table, given)
    packed = [pack(delivered(release(tmp_path / name)), table, name=f"packed-{name}") for name in "ab"]
    assert lines(packed[0] / "poles.csv.gz") == lines(packed[1] / "poles.csv.gz")
    assert len(lines(packed[0] / "poles.csv.gz")) == 31


def test_all_tables_are_of_one_instant(target: Target, tmp_path: Path, sql: Sql) -> None:
    loader = Loader(target, ReleaseFolder(tmp_path / "v1"))
    loader.load(OTHERS, rows(3))
    loader.load(POLES, rows(3))

    def meanwhile(_: str) -> None:
        sql("UPDATE poles SET name = 'Later'")

    packer = Packer(folder=tmp_path / "packed", tag="v9", target=target, stop=Stop(), log=meanwhile)
    packer.pack([OTHERS, POLES], published, named=True)
    assert sql("SELECT DISTINCT name FROM poles") == [("Later",)]
    assert "Later" not in "".join(lines(tmp_path / "packed" / "poles.csv.gz"))


def test_a_table_of_another_loader_is_packed_as_declared(sql: Sql, pack) -> None:
    sql("CREATE TABLE poles (geom geometry, id text, code numeric, name text, score float4, longitude float8)")
    sql("INSERT INTO poles VALUES (ST_Point(10, 50, 4326), 'b', 7, 'B', 0.5, 10)")
    with pytest.raises(LayerError, match=r"public.poles has no column latitude, parent_id"):
        pack(published, POLES)
    sql("ALTER TABLE poles ADD latitude numeric, ADD parent_id text, ADD extra text DEFAULT 'x'")
    (line,) = lines(pack(published, POLES) / "poles.csv.gz")[1:]
    assert line == "b,7,B,0.5,10,,,0101000020E610000000000000000024400000000000004940"


def test_a_layer_that_is_missing_is_named_and_nothing_is_written(target: Target, tmp_path: Path, pack) -> None:
    Loader(target, ReleaseFolder(tmp_path / "v1")).load(POLES, rows(1))
    with pytest.raises(LayerError, match="There is no others to pack; nothing was written"):
        pack(published, POLES, OTHERS, named=False)
    optional = made_up("others", file="optional")
    with pytest.raises(LayerError, match="no others"):
        pack(published, POLES, optional)
    assert not (tmp_path / "packed").exists()
    assert {path.name for path in pack(published, POLES, optional, named=False).iterdir()} == {
        "manifest.json", "poles.csv.gz",
    }  # fmt: skip
    with pytest.raises(LayerError, match="There is no layer to pack"):
        pack(published, optional, named=False, name="empty")


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_what_ends_half_way_leaves_nothing(target: Target, tmp_path: Path, sql: Sql, error: BaseException) -> None:
    Loader(target, ReleaseFolder(tmp_path / "v1")).load(POLES, rows(3))

    def broken(_: str) -> None:
        assert (tmp_path / "out" / ".packed.unfinished" / "poles.csv.gz").exists()
        raise error

    (tmp_path / "out").mkdir()
    packer = Packer(folder=tmp_path / "out" / "packed", tag="v9", target=target, stop=Stop(), log=broken)
    with pytest.raises((KeyboardInterrupt, ReleaseError)) as caught:
        packer.pack([POLES], published, named=True)
    if caught.type is ReleaseError:
        assert "packed cannot be written: No space left on device" in str(caught.value)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_record_that_is_refused_leaves_nothing(tmp_path: Path, pack) -> None:
    ReleaseFolder(tmp_path / "bad").write(POLES, [rows(1)[0] | {"code": "x"}])
    with pytest.raises(RecordError, match="column code"):
        pack(delivered(release(tmp_path / "bad")), POLES)
    assert not list(tmp_path.glob("*packed*"))


def test_a_folder_that_is_there_is_refused(tmp_path: Path, pack) -> None:
    ReleaseFolder(tmp_path / "a").write(POLES, rows(1))
    (tmp_path / "packed").mkdir()
    with pytest.raises(ReleaseError, match="is there already"):
        pack(delivered(release(tmp_path / "a")), POLES)
    (tmp_path / "packed").rmdir()
    (tmp_path / ".packed.unfinished").mkdir()
    with pytest.raises(ReleaseError, match="another pack writes it, or was killed"):
        pack(delivered(release(tmp_path / "a")), POLES)
    assert (tmp_path / ".packed.unfinished").is_dir()
    with pytest.raises(ReleaseError, match="cannot be written"):
        pack(delivered(release(tmp_path / "a")), POLES, name="no/folder")


@pytest.fixture
def reached(cluster: Cluster, database: str, source: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"FLUX_POSTGRES_URL": cluster.url(database), **settings_of(source)}.items():
        monkeypatch.setenv(name, value)
    load_settings.cache_clear()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["NEW", "substations", "--from", "RELEASE"], 0, "NEW/manifest.json: 1 file, 1 row, "),
        (["NEW", "substations", "--from", "postgis"], 1, "There is no substations to pack"),
        (["NEW", "substations", "--from", "snowflake"], 1, '"SUBSTATIONS" does not exist'),
        (["NEW", "--from", "RELEASE"], 1, "There is no building_footprints, "),
        (["NEW", "--from", "./nowhere"], 1, "There is no folder nowhere"),
        (["RELEASE", "--from", "postgis"], 1, "is there already"),
        (["NEW", "substation", "--from", "postgis"], 1, "Did you mean substations"),
        (["NEW", "--from", ""], 2, "--from is empty"),
        (["NEW"], 2, "Missing option '--from'"),
    ],
)
def test_the_command(reached: None, tmp_path: Path, arguments: list[str], code: int, said: str) -> None:
    write_one_row(tmp_path / "given", SUBSTATIONS)
    named = {"NEW": str(tmp_path / "new"), "RELEASE": str(tmp_path / "given")}
    done = CliRunner().invoke(main, ["pack", *(named.get(each, each) for each in arguments)])
    assert (done.exit_code, said.replace("NEW", named["NEW"]) in done.output) == (code, True), done.output
    assert (tmp_path / "new").exists() == (code == 0)
    assert not list(tmp_path.glob(".*unfinished*"))
