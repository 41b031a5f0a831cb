"""How often a load asks the server, and waits: every round trip of all its sessions is counted on the wire."""

from __future__ import annotations

from pathlib import Path

import pytest

from flux_assets.layers.context import LoadOptions
from flux_assets.layers.load import load_layer
from flux_assets.postgis.session import Target
from flux_assets.release.release import Release
from flux_assets.tables import substations
from flux_assets_tests import sample_cities
from flux_assets_tests.round_trips import counting

MOST_PUBLISHED, MOST_UNCHANGED = 36, 5


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return Release(str(sample_cities.folder()), "v1", tmp_path)


@pytest.mark.parametrize(("force", "most"), [(True, MOST_PUBLISHED), (False, MOST_UNCHANGED)])
def test_a_load_asks_once(target: Target, release: Release, *, force: bool, most: int) -> None:
    load_layer(substations.TABLE, release, target, LoadOptions(), print)
    with counting(target) as (counted, trips):
        load_layer(substations.TABLE, release, counted, LoadOptions(force=force), print)
    assert len(trips) <= most, "\n".join(trips)
