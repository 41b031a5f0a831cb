"""What clients are given: tables that move on, and the address that the role of map applications has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from urllib.parse import quote

import pytest

from flux_assets.layers.context import LoadOptions
from flux_assets.layers.load import load_layer
from flux_assets.layers.views import make_view
from flux_assets.release.release import Release
from flux_assets.sync.result import SyncOptions
from flux_assets.sync.setup import set_up_tables
from flux_assets.tables import catalogue, declarations, dynamic_tables, static_tables, views
from flux_assets_tests import sample_cities
from flux_assets_tests.clients.moving import Moving
from flux_assets_tests.made_layers import Loader, ReleaseFolder


@pytest.fixture
def moving(utility, target, tmp_path) -> Moving:
    """Both tables in their first version."""
    moving = Moving(Loader(target, ReleaseFolder(tmp_path / "v1")), utility)
    moving.begin()
    return moving


@pytest.fixture
def reader_url(cluster, database) -> Callable[[str], str]:
    """The address for libpq, as the role flux_reader; with a scheme of SQLAlchemy's too."""
    return lambda scheme="postgresql": (
        cluster.tcp_url(database).replace("postgresql", scheme, 1) + f"?options={quote('-c role=flux_reader')}"
    )


@pytest.fixture
def city(target, tmp_path) -> None:
    """Every declared table and view: the layers of the sample city, what is computed, and the synced ones, empty."""
    target = replace(target, declared=declarations())
    release = Release(str(sample_cities.folder()), "v1", tmp_path / "cache")
    for table in (*static_tables(), *catalogue().computed):
        load_layer(table, release, target, LoadOptions(), lambda _: None)
    for view in views():
        make_view(view, target, LoadOptions(), lambda _: None)
    set_up_tables(dynamic_tables(), target, SyncOptions(), lambda _: None)
