"""Which versions stay and which are dropped, also where users or a killed process left something unexpected."""

from pathlib import Path

import pytest

from flux_assets.errors import RecordError
from flux_assets.layers.context import LoadOptions
from flux_assets.layers.rollback import rollback
from flux_assets.postgis.session import Target
from flux_assets_tests.conftest import Sql
from flux_assets_tests.made_layers import Loader, ReleaseFolder, made_up, rows


@pytest.fixture
def loader(target: Target, tmp_path: Path) -> Loader:
    return Loader(target, ReleaseFolder(tmp_path / "v1"))


def tables(sql: Sql) -> list[str]:
    """Tables of versions, in the order in which they were made."""
    names = sql("SELECT relname FROM pg_class WHERE relnamespace = 'flux_versions'::regnamespace AND relkind = 'r'")
    return sorted((name for (name,) in names), key=lambda name: int(name.rpartition("_")[2]))


def test_many_earlier_versions_are_kept(loader: Loader, sql: Sql) -> None:
    for count in range(5, 11):
        loader.load(made_up(), rows(count), keep_versions=4)
    assert [int(name.rpartition("_")[2]) for name in tables(sql)] == [2, 3, 4, 5, 6]


@pytest.mark.parametrize("damage", ["DROP TABLE poles", "TRUNCATE poles", None])
def test_a_version_that_is_no_use_takes_no_earlier_ones_place(
    loader: Loader, sql: Sql, target: Target, damage: str | None
) -> None:
    """The current version is lost, emptied, or loaded again by force: one can still go back to the one before."""
    loader.load(made_up(), rows(5))
    loader.load(made_up(), rows(6))
    if damage:
        sql(damage)
    loader.load(made_up(), force=damage is None)
    rollback(made_up(), target, LoadOptions(), loader.log.append)
    assert sql("SELECT count(*) FROM poles") == [(5,)]


def test_what_users_attached_is_not_dropped(loader: Loader, sql: Sql) -> None:
    for count in (5, 6):
        loader.load(made_up(), rows(count))
    first, second = tables(sql)
    sql(f"ALTER TABLE poles DETACH PARTITION flux_versions.{second}")
    sql(f"ALTER TABLE poles ATTACH PARTITION flux_versions.{first} DEFAULT")
    with pytest.raises(RecordError):
        loader.load(made_up(), [rows(1)[0] | {"geom": "?"}], keep_versions=0)
    assert sql("SELECT count(*) FROM poles") == [(5,)]


def test_a_table_that_came_after_its_version_was_given_up_is_dropped(loader: Loader, sql: Sql) -> None:
    loader.load(made_up(), rows(5))
    sql("CREATE TABLE flux_versions.late (id int)")
    sql("INSERT INTO postgres_sync.layer_versions"
        " (schema_name, layer_name, lease, version, sha256, release_tag, relation, state)"
        " VALUES ('public', 'poles', 0, 'x', 'x', 'x', 'late', 'dropped')")  # fmt: skip
    loader.load(made_up(), rows(6))
    assert sql("SELECT to_regclass('flux_versions.late')") == [(None,)]
