"""What Dagster's history is told of a layer that changed outside a run.

Here: the materialisation that a rollback or replay on the command line amounts to, and what the version's audits found
when it was staged, so that the UI shows what readers see and what is known of it.
Not here: the rollback (rollback.py) and the replay (replay.py), and what a run reports (assets.py).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData

from flux_assets.errors import SettingError
from flux_assets.orchestration.asset_checks import check_results
from flux_assets.orchestration.asset_metadata import clock_metadata
from flux_assets.postgis.audit import AuditResult
from flux_assets.postgis.audits import audits_of
from flux_assets.postgis.register import Version
from flux_assets.settings import REPOSITORY
from flux_assets.spec import StaticTable

_LOOKED_BACK = 200
_DATA_VERSION = "dagster/data_version"


def report_rollback(table: StaticTable, version: Version, instance_folder: Path | None = None) -> None:
    """Record that a version is the published one again, as it was recorded when it was loaded.

    The tags of that record say which file and which declaration the version came from, so that the layer shows as
    out of date when the release has moved on. Raises whatever Dagster's storage raises when it cannot be reached.
    """
    figures = {"outcome": dg.MetadataValue.text("rolled back")}
    _report(table, version, "Rolled back on the command line.", figures, instance_folder)


def report_replay(table: StaticTable, version: Version, quarantined: int, instance_folder: Path | None = None) -> None:
    """Record the version that a replay made, which left so many records in quarantine; the rest as for a rollback."""
    figures: dict[str, dg.MetadataValue[Any]] = {
        "outcome": dg.MetadataValue.text("replayed"),
        "sha256": dg.MetadataValue.text(version.sha256),
        "quarantined": dg.MetadataValue.int(quarantined),
    }
    _report(table, version, "Records from quarantine replayed on the command line.", figures, instance_folder)


def _report(
    table: StaticTable,
    version: Version,
    description: str,
    figures: Mapping[str, dg.MetadataValue[Any]],
    instance_folder: Path | None,
) -> None:
    with dg.DagsterInstance.from_config(str(instance_folder or dagster_folder())) as instance:
        loaded = _recorded(instance, table.name, version)
        instance.report_runless_asset_event(
            dg.AssetMaterialization(
                table.name,
                description=description,
                metadata={
                    **(loaded.metadata if loaded else {}),
                    **figures,
                    "version": dg.MetadataValue.text(version.version),
                    "release_tag": dg.MetadataValue.text(version.release_tag),
                    "dagster/row_count": dg.MetadataValue.int(version.rows or 0),
                    **clock_metadata(published_at=version.published_at),
                },
                tags={**((loaded.tags or {}) if loaded else {}), _DATA_VERSION: version.version},
            )
        )
        # Dagster calls checks not evaluated whose outcome is older than the newest materialisation.
        (newest,) = instance.fetch_materializations(dg.AssetKey(table.name), limit=1).records
        about = AssetCheckEvaluationTargetMaterializationData(
            storage_id=newest.storage_id, run_id=newest.run_id, timestamp=newest.timestamp
        )
        for evaluation in _judged(table, version, about):
            instance.report_runless_asset_event(evaluation)


def _judged(
    table: StaticTable, version: Version, about: AssetCheckEvaluationTargetMaterializationData
) -> Iterator[dg.AssetCheckEvaluation]:
    """What the audits found before the version was first published: its rows are the same."""
    audits = [AuditResult.from_json(stored) for stored in version.audits]
    names = {audit.name for audit in audits_of(table)}
    for result in check_results(table, audits, names, "Before it was first published:"):
        yield dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey(table.name), check_name=str(result.check_name), passed=result.passed,
            severity=result.severity, metadata=result.metadata, description=result.description,
            target_materialization_data=about,
        )  # fmt: skip


def dagster_folder() -> Path:
    """The folder that Dagster reads its instance from: DAGSTER_HOME, else the first dagster.yaml here or beside us."""
    if home := os.environ.get("DAGSTER_HOME"):
        return Path(home).expanduser()
    for folder in (Path.cwd(), REPOSITORY):
        if (folder / "dagster.yaml").is_file():
            return folder
    raise SettingError("There is no dagster.yaml here.", "Set DAGSTER_HOME to the folder that holds it.")


def _recorded(instance: dg.DagsterInstance, layer_name: str, version: Version) -> dg.AssetMaterialization | None:
    """The newest record of this version's load, or of the one that it contains; None without a recent one."""
    found = instance.fetch_materializations(dg.AssetKey(layer_name), limit=_LOOKED_BACK)
    for record in found.records:
        materialization = record.asset_materialization
        if materialization and version.holds((materialization.tags or {}).get(_DATA_VERSION, "")):
            return materialization
    return None
