"""How many rows each layer of the sample city has."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from flux_assets.errors import SettingError
from flux_assets.spec import StaticTable

MAXIMUM_SCALE = 10.0


def checked_scale(scale: float) -> float:
    """Return the scale, if a city of it can be made; SettingError otherwise."""
    if not math.isfinite(scale) or not 0 < scale <= MAXIMUM_SCALE:
        raise SettingError(
            f"A sample city of scale {scale!r} cannot be made.",
            f"Give a scale above 0 and not above {MAXIMUM_SCALE:g}; 1 is the size of the published release.",
        )
    return scale


def row_counts(tables: Sequence[StaticTable], scale: float) -> dict[str, int]:
    """Return rows of each layer at a scale: the published count times the scale, rounded, at least 1."""
    checked_scale(scale)
    counts = {table.name: max(1, round(table.release_rows * scale)) for table in tables}
    if "grid_assets_cache" in counts:
        counts["grid_assets_cache"] = max(counts["grid_assets_cache"], _assets_at_least(counts))
    return counts


def shared_out(total: int, weights: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """`total` shared out in proportion to `weights`, as whole numbers whose sum is exactly `total`."""
    if total == 0 or not len(weights):
        return np.zeros(len(weights), np.int64)
    exact = weights / weights.sum() * total
    shares: npt.NDArray[np.int64] = np.floor(exact).astype(np.int64)
    largest = np.argsort(shares - exact, kind="stable")[: total - int(shares.sum())]
    shares[largest] += 1
    return shares


def _assets_at_least(counts: Mapping[str, int]) -> int:
    # The cache holds every asset, and each transformer hangs on a pole of its own.
    transformers = counts.get("transformers", 0)
    return counts.get("substations", 0) + 2 * transformers + counts.get("meter_locations_enhanced", 0)
