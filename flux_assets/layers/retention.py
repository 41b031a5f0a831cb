"""How many earlier versions of a layer are kept, by number and by bytes.

Here: the choice. Not here: dropping the others (publish.py).
"""

from __future__ import annotations

from flux_assets.layers.context import Retention
from flux_assets.layers.layer_state import LayerState


def worth_keeping(state: LayerState, retention: Retention) -> set[int]:
    """Return the leases of the earlier versions to keep: published ones with their tables, and a pinned one always.

    Another copy of the current version is no earlier version.
    """
    current = {version.version for version in state.versions if version.current}
    earlier = [
        version
        for version in state.versions
        if version.state == "published" and version.is_there and version.version not in current
    ]
    earlier.sort(key=lambda version: version.published_at or version.staged_at, reverse=True)
    pinned = {version.lease for version in earlier if state.pin is not None and version.version == state.pin.version}
    return {version.lease for version in retention.newest(earlier)} | pinned
