"""What Dagster's history is told of a layer that changed outside a run.

Here: the materialisation that a rollback on the command line amounts to, so that the UI shows what readers see.
Not here: the rollback (load.py), and what a run reports (assets.py).
"""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg

from flux_assets.asset_metadata import clock_metadata
from flux_assets.errors import SettingError
from flux_assets.postgis.register import Version
from flux_assets.settings import REPOSITORY

_LOOKED_BACK = 200
_DATA_VERSION = "dagster/data_version"


def report_rollback(layer_name: str, version: Version, instance_folder: Path | None = None) -> None:
    """Record that a version is the published one again, as it was recorded when it was loaded.

    The tags of that record say which file and which declaration the version came from, so that the layer shows as
    out of date when the release has moved on. Raises whatever Dagster's storage raises when it cannot be reached.
    """
    with dg.DagsterInstance.from_config(str(instance_folder or dagster_folder())) as instance:
        loaded = _recorded(instance, layer_name, version)
        instance.report_runless_asset_event(
            dg.AssetMaterialization(
                layer_name,
                description="Rolled back on the command line.",
                metadata={
                    **(loaded.metadata if loaded else {}),
                    "outcome": dg.MetadataValue.text("rolled back"),
                    "version": dg.MetadataValue.text(version.version),
                    "release_tag": dg.MetadataValue.text(version.release_tag),
                    "dagster/row_count": dg.MetadataValue.int(version.rows or 0),
                    **clock_metadata(published_at=version.published_at),
                },
                tags={**((loaded.tags or {}) if loaded else {}), _DATA_VERSION: version.version},
            )
        )


def dagster_folder() -> Path:
    """The folder that Dagster reads its instance from: DAGSTER_HOME, else the first dagster.yaml here or beside us."""
    if home := os.environ.get("DAGSTER_HOME"):
        return Path(home).expanduser()
    for folder in (Path.cwd(), REPOSITORY):
        if (folder / "dagster.yaml").is_file():
            return folder
    raise SettingError("There is no dagster.yaml here.", "Set DAGSTER_HOME to the folder that holds it.")


def _recorded(instance: dg.DagsterInstance, layer_name: str, version: Version) -> dg.AssetMaterialization | None:
    """The newest record of this version's load, None when it is not in the recent history."""
    found = instance.fetch_materializations(dg.AssetKey(layer_name), limit=_LOOKED_BACK)
    for record in found.records:
        materialization = record.asset_materialization
        if materialization and (materialization.tags or {}).get(_DATA_VERSION) == version.version:
            return materialization
    return None
