"""The next run goes on by itself after a run that died, a table that users changed, a declaration that went back."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from flux_assets.postgis.session import Target
from flux_assets.spec import StaticTable
from flux_assets_tests.conftest import Sql
from flux_assets_tests.made_layers import Loader, ReleaseFolder, columns, made_up, rows


@pytest.fixture
def loader(target: Target, tmp_path: Path) -> Loader:
    loader = Loader(target, ReleaseFolder(tmp_path / "v1"))
    loader.load(made_up(), rows(5))
    return loader


def wider() -> StaticTable:
    height = sa.Column("height", sa.Double, comment="Height in metres.")
    return made_up(parts=columns(height=height), comment="Poles, and how high.")


def test_a_run_that_finds_nothing_to_do_closes_the_rows_of_dead_ones(loader: Loader, sql: Sql) -> None:
    sql("INSERT INTO postgres_sync.sync_status (layer_name, backend_pid, backend_start) VALUES ('poles', 1, now())")
    assert loader.load(made_up()).outcome == "unchanged"
    assert sql("SELECT count(*) FROM postgres_sync.sync_status WHERE status = 'RUNNING'") == [(0,)]


def test_a_column_is_added_although_a_run_died_before_it_made_its_table(loader: Loader, sql: Sql) -> None:
    sql("INSERT INTO postgres_sync.layer_versions"
        " (schema_name, layer_name, lease, version, sha256, release_tag, relation, state)"
        " VALUES ('public', 'poles', 0, 'x', 'x', 'x', 'never_made', 'staging')")  # fmt: skip
    loader.load(wider(), [row | {"height": 9} for row in rows(6)])
    assert sql("SELECT count(height) FROM poles") == [(6,)]


def test_comments_change_with_the_version_that_brings_new_columns(loader: Loader, sql: Sql) -> None:
    loader.load(wider(), [row | {"height": 9} for row in rows(6)])
    assert sql("SELECT obj_description('poles'::regclass), col_description('poles'::regclass, 9)") == [
        ("Poles, and how high.", "Height in metres.")
    ]


def test_a_declaration_that_goes_back_is_loaded_where_its_kept_version_no_longer_fits(loader: Loader, sql: Sql) -> None:
    loader.load(wider(), [row | {"height": 9} for row in rows(6)])
    loader.load(made_up(), rows(5), accept_schema_change=True)
    assert sql("SELECT count(*) FROM poles") == [(5,)]


def test_a_release_that_comes_back_is_loaded_where_users_added_a_generated_column(loader: Loader, sql: Sql) -> None:
    loader.load(made_up(), rows(6))
    sql("ALTER TABLE poles ADD COLUMN twice int GENERATED ALWAYS AS (code * 2) STORED")
    loader.load(made_up(), rows(5))
    assert sql("SELECT sum(twice) FROM poles") == [(20,)]


def test_an_accepted_removal_takes_the_columns_indexes_and_checks_along(loader: Loader, sql: Sql) -> None:
    sql("CREATE INDEX ON poles (lower(name)) WHERE score > 0")
    sql("ALTER TABLE poles ADD CHECK (name <> parent_id)")
    loader.load(made_up(parts=columns(name=None)), rows(6), accept_schema_change=True)
    assert sql("SELECT count(*) FROM poles") == [(6,)]
