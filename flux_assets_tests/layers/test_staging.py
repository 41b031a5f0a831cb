"""What keeps a staged version from being published although no audit speaks of it."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from flux_assets.errors import LayerError
from flux_assets.postgis.session import Target
from flux_assets.spec import StaticTable
from flux_assets_tests.conftest import Sql
from flux_assets_tests.made_layers import Loader, ReleaseFolder, columns, made_up, rows


@pytest.fixture
def loader(target: Target, tmp_path: Path) -> Loader:
    return Loader(target, ReleaseFolder(tmp_path / "v1"))


def with_unique_names() -> StaticTable:
    return made_up(parts=[*columns(), sa.Index("poles_only_name_idx", "name", unique=True)])


def test_values_that_a_declared_unique_index_refuses_are_never_published(loader: Loader, sql: Sql) -> None:
    """Not by the run that meets them, and not by the next, which would find the version staged."""
    loader.source.write(with_unique_names(), [row | {"name": "same"} for row in rows(5)])
    for _ in range(2):
        with pytest.raises(LayerError, match=r"Key \(name\)=\(same\) is duplicated"):
            loader.load(with_unique_names())
    assert sql("SELECT to_regclass('public.poles')") == [(None,)]
    assert sql("SELECT DISTINCT state FROM postgres_sync.layer_versions WHERE state <> 'dropped'") == [("rejected",)]


def test_values_that_a_users_unique_index_refuses_are_named(loader: Loader, sql: Sql) -> None:
    parts = [sa.Column(name, sa.String(20), comment=name) for name in ("from_id", "to_id")]
    edges = made_up("edges", parts=parts, positions=(), ranges=(), references=())
    loader.load(edges, [{"from_id": "a", "to_id": "b"}])
    sql("CREATE UNIQUE INDEX ON edges (from_id)")
    with pytest.raises(LayerError, match=r"Key \(from_id\)=\(a\) is duplicated"):
        loader.load(edges, [{"from_id": "a", "to_id": "b"}] * 2)
    assert sql("SELECT count(*) FROM edges") == [(1,)]
