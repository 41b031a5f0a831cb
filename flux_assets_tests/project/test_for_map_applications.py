"""Everything that docs/for-map-applications.md shows, run as the role that map applications have."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import pytest

from flux_assets.layers.context import LoadOptions
from flux_assets.layers.load import load_layer
from flux_assets.postgis.relations import PublicTable
from flux_assets.release.release import Release
from flux_assets.settings import REPOSITORY
from flux_assets.sync.result import SyncOptions
from flux_assets.sync.setup import set_up_tables
from flux_assets.tables import declarations, dynamic_tables, static_tables
from flux_assets_tests.made_up import write_one_row

pytestmark = pytest.mark.bare

PAGE = (REPOSITORY / "docs" / "for-map-applications.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def everything(target, tmp_path):
    """All thirteen tables, with a row in each static one."""
    target = replace(target, declared=declarations())
    for table in static_tables():
        write_one_row(tmp_path / "tiny", table)
        release = Release(str(tmp_path / "tiny"), "v1", tmp_path / "cache")
        load_layer(table, release, target, LoadOptions(), lambda _: None)
    set_up_tables(dynamic_tables(), target, SyncOptions(), lambda _: None)
    return target


def test_every_statement_works_for_a_reader(everything, reader_sql):
    statements = blocks("sql")
    assert len(statements) > 5
    for statement in statements:
        reader_sql(statement)
    assert reader_sql("SELECT count(*), count(*) FILTER (WHERE trusted) FROM postgres_sync.v_table_status") == [
        (len(declarations()), len(static_tables()))
    ]


def test_every_table_is_found_among_the_geometry_columns(everything, reader_sql):
    found = reader_sql("SELECT f_table_name FROM geometry_columns UNION SELECT f_table_name FROM geography_columns")
    loaded = {table.name: bool(table.spatial_columns) for table in (*static_tables(), *dynamic_tables())}
    assert {name for (name,) in found} == {name for name, is_spatial in loaded.items() if is_spatial}
    without = {name for name, is_spatial in loaded.items() if not is_spatial}
    assert all(f"`{name}`" in PAGE for name in without)


def test_the_listener(target, cluster, database):
    (script,) = blocks("python")
    environment = os.environ | {"MAP_DATABASE": cluster.tcp_url(database)}
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as listener:
        try:
            assert listener.stdout.readline() == "flush everything\n"
            with target.session("teller") as teller:
                teller.execute(PublicTable("public", static_tables()[0]).announcing("published", version="1"))
            assert listener.stdout.readline() == f"flush public {static_tables()[0].name}\n"
        finally:
            listener.kill()


def test_what_is_told_has_the_keys_that_the_page_shows():
    shown = [json.loads(line) for line in blocks("json")[0].splitlines()]
    table = PublicTable("public", static_tables()[0])
    for kind in ("published", "rolled back", "synced"):
        payload = table.announcing(kind, version="3f", sync_id=1).as_string().partition(", '")[2].rstrip("'")
        (page,) = [each for each in shown if each["kind"] == kind]
        assert json.loads(payload).keys() == page.keys()
