"""How many rows the sample city has, without making any."""

from __future__ import annotations

import math

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from flux_assets.errors import SettingError
from flux_assets.sample.city.counts import row_counts, shared_out
from flux_assets.sample.city.layers import KNOWN_LAYERS
from flux_assets_tests.cases import CASE_FILES
from flux_assets_tests.sample_cities import city_tables


def test_scale_1_has_the_published_counts() -> None:
    assert row_counts(city_tables(), 1) == {table.name: table.release_rows for table in city_tables()}


def test_every_declared_layer_is_made() -> None:
    assert set(KNOWN_LAYERS) == set(yaml.safe_load((CASE_FILES / "static_tables.yaml").read_text()))


@given(st.floats(min_value=1e-7, max_value=10, exclude_min=True))
def test_counts_follow_the_scale_and_can_be_built(scale: float) -> None:
    """Rounded, at least one, and the cache has room for every asset and a pole for every transformer."""
    counts = row_counts(city_tables(), scale)
    for table in city_tables():
        if table.name != "grid_assets_cache":
            assert counts[table.name] == max(1, round(table.release_rows * scale))
    assets = counts["substations"] + 2 * counts["transformers"] + counts["meter_locations_enhanced"]
    assert counts["grid_assets_cache"] >= assets


@pytest.mark.parametrize("scale", [0, -1, 10.01, math.nan, math.inf, -math.inf])
def test_a_scale_that_cannot_be_is_refused(scale: float) -> None:
    with pytest.raises(SettingError, match=r"scale .* cannot be made.*above 0 and not above 10"):
        row_counts(city_tables(), scale)


@given(st.integers(0, 10**6), st.lists(st.floats(0, 1e6), min_size=1, max_size=50))
def test_shares_add_up(total: int, weights: list[float]) -> None:
    weighed = np.array(weights) + 1e-6
    shares = shared_out(total, weighed)
    assert shares.sum() == total
    assert np.abs(shares - weighed / weighed.sum() * total).max() < 1 + 1e-6
