"""Our tables beside those of the old system: told table by table, column by column, row by row."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from flux_assets.cli.main import main
from flux_assets.compare.difference import TableDifference
from flux_assets.compare.schemas import compare_schemas
from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.session import Target
from flux_assets.sample.cluster import Cluster
from flux_assets.settings import load_settings
from flux_assets_tests.conftest import Sql
from flux_assets_tests.made_layers import Loader, ReleaseFolder, made_up, rows

POLES = made_up()


@pytest.fixture
def loader(target: Target, tmp_path: Path, sql: Sql) -> Loader:
    """A published layer, and the same table in schema old."""
    loader = Loader(target, ReleaseFolder(tmp_path / "v1"))
    loader.load(POLES, rows(40))
    sql("CREATE SCHEMA old; CREATE TABLE old.poles AS SELECT * FROM poles; ALTER TABLE old.poles ADD PRIMARY KEY (id)")
    return loader


def compared(loader: Loader, *ignored: str) -> TableDifference:
    (found,) = compare_schemas([POLES], "old", loader.target, ignored, Stop())
    return found


def test_equal_tables_are_the_same(loader: Loader) -> None:
    found = compared(loader)
    assert (found.is_same, found.rows and found.rows.actual[0]) == (True, 40)


def test_rows_that_differ_are_counted_and_named(loader: Loader, sql: Sql) -> None:
    sql("UPDATE old.poles SET name = 'other', score = 1 WHERE id = '000003'; DELETE FROM old.poles WHERE id = '000004'")
    sql("INSERT INTO old.poles (id) VALUES ('gone')")
    found = compared(loader)
    assert found.rows
    assert dict(found.rows.counts) == {"changed": 1, "missing": 1, "extra": 1}
    assert "changed 000003: name is 'Pole 3', not 'other'; score is '0.5', not '1'" in found.rows.sample
    assert {"missing gone", "extra 000004"} <= set(found.rows.sample)
    assert not found.is_same
    sql("DELETE FROM old.poles WHERE id = 'gone'; INSERT INTO old.poles SELECT * FROM poles WHERE id = '000004'")
    assert compared(loader, "name", "score").is_same


def test_columns_that_differ_are_named_and_their_values_compared_all_the_same(loader: Loader, sql: Sql) -> None:
    sql("ALTER TABLE old.poles ALTER score TYPE numeric(5, 2), ADD owner text, DROP parent_id")
    found = compared(loader)
    assert found.lacking == ("owner (text)",)
    assert found.added == ("parent_id (character varying(20))",)
    assert found.retyped == ("score (numeric(5,2), here double precision)",)
    assert found.rows
    assert found.rows.same
    assert not found.is_same
    assert compared(loader, "owner", "score").is_same


def test_duplicates_of_a_key_there_are_found(loader: Loader, sql: Sql) -> None:
    sql("ALTER TABLE old.poles DROP CONSTRAINT poles_pkey; INSERT INTO old.poles SELECT * FROM poles WHERE code < 2")
    found = compared(loader)
    assert found.rows
    assert dict(found.rows.counts) == {"missing": 2}


@pytest.mark.parametrize(
    ("done", "said"),
    [
        ("ALTER TABLE old.poles ALTER code TYPE text; UPDATE old.poles SET code = 'one'", 'integer: "one"'),
        ("ALTER TABLE old.poles ALTER geom TYPE geometry USING ST_Transform(geom, 3857)", "SRID"),
        ("ALTER TABLE old.poles OWNER TO CURRENT_USER; REVOKE ALL ON old.poles FROM PUBLIC", "permission denied"),
    ],
)
def test_a_table_that_cannot_be_compared_stops_no_other(
    done: str, said: str, loader: Loader, admin_sql: Sql, target: Target
) -> None:
    admin_sql(done)
    first, second = compare_schemas([POLES, made_up("lamps")], "old", target, (), Stop())
    assert said in first.problem
    assert (first.rows, first.is_same) == (None, False)
    assert second.absent


def test_what_is_not_there_is_said(loader: Loader, sql: Sql) -> None:
    sql("DROP TABLE old.poles")
    assert compared(loader).absent == ("old.poles",)
    sql("CREATE TABLE old.poles (name text)")
    assert (compared(loader).rows, compared(loader).is_same) == (None, False)


def test_the_command_tells_all_tables(
    cluster: Cluster, database: str, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLUX_POSTGRES_URL", cluster.tcp_url(database))
    load_settings.cache_clear()
    sql("CREATE SCHEMA old; CREATE TABLE old.substations (substation_id varchar(50) PRIMARY KEY, name text)")
    sql("CREATE TABLE substations (substation_id varchar(50) PRIMARY KEY)")
    said = CliRunner().invoke(main, ["compare", "--with", "old"])
    assert said.exit_code == 1
    assert "substations: 1 columns compared; not here: name (text); the 0 rows are the same." in said.output
    assert "work_orders: there is no public.work_orders and no old.work_orders." in said.output
    told = json.loads(CliRunner().invoke(main, ["compare", "substations", "--with", "old", "--json"]).output)
    assert [(each["table"], each["same"], each["rows"]["changed"]) for each in told] == [("substations", False, 0)]
    assert CliRunner().invoke(main, ["compare", "--with", "public"]).exit_code == 2
    misspelt = CliRunner().invoke(main, ["compare", "substations", "--with", "old", "--ignore", "load_percent"])
    assert (misspelt.exit_code, "has a column load_percent" in misspelt.output) == (2, True)
