"""What Dagster's history has of a version: the materialisation that recorded its load.

Here: finding it, and what its tags say of where the version came from. Not here: reporting (history.py, assets.py).
"""

from __future__ import annotations

from collections.abc import Callable

import dagster as dg

# Tags of Dagster's events, as they are stored and as the UI shows them.
DATA_VERSION_TAG = "dagster/data_version"
_INPUT_DATA_VERSION_TAG = "dagster/input_data_version"
_ORIGIN_TAGS = ("dagster/code_version", _INPUT_DATA_VERSION_TAG, "dagster/input_event_pointer")
_LOOKED_BACK = 200


def recorded(
    instance: dg.DagsterInstance, layer_name: str, fits: Callable[[str], bool]
) -> dg.AssetMaterialization | None:
    """The newest record whose version `fits`; None without a recent one."""
    found = instance.fetch_materializations(dg.AssetKey(layer_name), limit=_LOOKED_BACK)
    for record in found.records:
        materialization = record.asset_materialization
        if materialization and fits((materialization.tags or {}).get(DATA_VERSION_TAG, "")):
            return materialization
    return None


def origin_tags(instance: dg.DagsterInstance, layer_name: str, version: str) -> dict[str, str]:
    """Tags that say of which file and which declaration a version was made; none when it is not in the history."""
    found = recorded(instance, layer_name, lambda known: known == version)
    return {name: value for name, value in ((found and found.tags) or {}).items() if name.startswith(_ORIGIN_TAGS)}


def input_version_tag(key: dg.AssetKey) -> str:
    """Return the tag of a materialisation that holds the data version of an upstream asset."""
    return f"{_INPUT_DATA_VERSION_TAG}/{key.to_user_string()}"
