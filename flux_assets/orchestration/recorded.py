"""What Dagster's history has of a version: the materialisation that recorded its load.

Here: finding it, and what its tags say of where the version came from. Not here: reporting (history.py, assets.py).
"""

from __future__ import annotations

from collections.abc import Callable

import dagster as dg
from dagster._core.definitions.data_version import (
    CODE_VERSION_TAG,
    DATA_VERSION_TAG,
    INPUT_DATA_VERSION_TAG_PREFIX,
    INPUT_EVENT_POINTER_TAG_PREFIX,
)

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
    return {name: value for name, value in ((found and found.tags) or {}).items() if _tells_origin(name)}


def _tells_origin(tag: str) -> bool:
    return tag == CODE_VERSION_TAG or tag.startswith((INPUT_DATA_VERSION_TAG_PREFIX, INPUT_EVENT_POINTER_TAG_PREFIX))
