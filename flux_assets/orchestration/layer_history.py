"""Dagster's history of a layer: what it has of a version, and what is added when a layer changes outside a run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from flux_assets.checks.audit import AuditResult
from flux_assets.checks.audits import audits_of
from flux_assets.errors import SettingError
from flux_assets.layers.versions import Pin, Version
from flux_assets.orchestration.checks import check_results
from flux_assets.orchestration.dagster_internals import AssetCheckEvaluationTargetMaterializationData
from flux_assets.orchestration.metadata import clock_metadata, pin_metadata
from flux_assets.settings import REPOSITORY
from flux_assets.spec import StaticTable

_Rollback = tuple[StaticTable, Version]
_Figures = Mapping[str, dg.MetadataValue[Any]]


def report_rollbacks(rollbacks: Sequence[_Rollback], instance_folder: Path | None = None) -> None:
    """Record that versions are the published ones again, as it was recorded when they were loaded.

    The tags of that record say which file and which declaration the version came from, so that the layer shows as
    out of date when the release has moved on. Raises whatever Dagster's storage raises when it cannot be reached.
    """
    with dg.DagsterInstance.from_config(str(instance_folder or dagster_folder())) as instance:
        for table, version in rollbacks:
            figures: _Figures = {
                "outcome": dg.MetadataValue.text("rolled back"),
                "pinned": dg.MetadataValue.text(f"by the rollback, until `flux-assets unpin {table.name}`"),
            }
            _report(instance, table, version, "Rolled back on the command line.", figures)


def report_replay(table: StaticTable, version: Version, quarantined: int, instance_folder: Path | None = None) -> None:
    """Record the version that a replay made, with the number of records still in quarantine."""
    figures: _Figures = {
        "outcome": dg.MetadataValue.text("replayed"),
        "sha256": dg.MetadataValue.text(version.sha256),
        "quarantined": dg.MetadataValue.int(quarantined),
    }
    with dg.DagsterInstance.from_config(str(instance_folder or dagster_folder())) as instance:
        _report(instance, table, version, "Records from quarantine replayed on the command line.", figures)


def report_pins(pins: Sequence[tuple[StaticTable, Pin | None]], instance_folder: Path | None = None) -> None:
    """Record that layers were pinned, or unpinned: what readers see has not changed."""
    with dg.DagsterInstance.from_config(str(instance_folder or dagster_folder())) as instance:
        for table, pin in pins:
            instance.report_runless_asset_event(
                dg.AssetObservation(
                    table.name,
                    description=f"{'Pinned' if pin else 'Unpinned'} on the command line.",
                    metadata=pin_metadata(pin)
                    or {"pinned": "no longer: the next load publishes the release's version"},
                )
            )


def _report(
    instance: dg.DagsterInstance, table: StaticTable, version: Version, description: str, figures: _Figures
) -> None:
    loaded = _find_materialization(instance, table.name, version.holds)
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
            tags={**((loaded.tags or {}) if loaded else {}), DATA_VERSION_TAG: version.version},
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
    """Yield what the audits found before the version was first published: its rows are the same."""
    audits = [AuditResult.from_json(stored) for stored in version.audits]
    names = {audit.name for audit in audits_of(table)}
    for result in check_results(table, audits, names, "Before it was first published:"):
        yield dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey(table.name),
            check_name=str(result.check_name),
            passed=result.passed,
            severity=result.severity,
            metadata=result.metadata,
            description=result.description,
            target_materialization_data=about,
        )


def dagster_folder() -> Path:
    """Return the folder of Dagster's instance: DAGSTER_HOME, else the first dagster.yaml here or in the repository."""
    if home := os.environ.get("DAGSTER_HOME"):
        return Path(home).expanduser()
    for folder in (Path.cwd(), REPOSITORY):
        if (folder / "dagster.yaml").is_file():
            return folder
    raise SettingError("There is no dagster.yaml here.", "Set DAGSTER_HOME to the folder that holds it.")


# Tags of Dagster's events, as they are stored and as the UI shows them.
DATA_VERSION_TAG = "dagster/data_version"
_INPUT_DATA_VERSION_TAG = "dagster/input_data_version"
_ORIGIN_TAGS = ("dagster/code_version", _INPUT_DATA_VERSION_TAG, "dagster/input_event_pointer")
_LOOKED_BACK = 200


def _find_materialization(
    instance: dg.DagsterInstance, layer_name: str, fits: Callable[[str], bool]
) -> dg.AssetMaterialization | None:
    """Return the newest materialisation whose version `fits`; None without a recent one."""
    found = instance.fetch_materializations(dg.AssetKey(layer_name), limit=_LOOKED_BACK)
    for record in found.records:
        materialization = record.asset_materialization
        if materialization and fits((materialization.tags or {}).get(DATA_VERSION_TAG, "")):
            return materialization
    return None


def origin_tags(instance: dg.DagsterInstance, layer_name: str, version: str) -> dict[str, str]:
    """Return the tags that name the file and the declaration of a version; none when it is not in the history."""
    found = _find_materialization(instance, layer_name, lambda known: known == version)
    return {name: value for name, value in ((found and found.tags) or {}).items() if name.startswith(_ORIGIN_TAGS)}


def input_version_tag(key: dg.AssetKey) -> str:
    """Return the tag of a materialisation that holds the data version of an upstream asset."""
    return f"{_INPUT_DATA_VERSION_TAG}/{key.to_user_string()}"
