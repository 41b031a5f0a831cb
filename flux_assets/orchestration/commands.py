"""What commands of flux-assets do in Dagster: start a run and wait for it, record what changed outside a run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import dagster as dg

from flux_assets.checks.audit import AuditResult
from flux_assets.checks.audits import audits_of
from flux_assets.errors import BusyError, SettingError
from flux_assets.layers.versions import Pin, Version
from flux_assets.orchestration.checks import as_evaluation, check_results
from flux_assets.orchestration.dagster_internals import (
    DATA_VERSION_TAG,
    AssetCheckEvaluationTargetMaterializationData,
    ReconstructableRepository,
    capture_interrupts,
)
from flux_assets.orchestration.names import Names
from flux_assets.orchestration.origins import find_materialization
from flux_assets.orchestration.sync_assets import STEP
from flux_assets.settings import Settings, load_settings
from flux_assets.spec import StaticTable
from flux_assets.tables import following

# What was planned, started and stored is in the UI.
_LOGGERS = {"console": {"config": {"log_level": "INFO"}}}


# The id of a run, whether it succeeded, and whether it did nothing because another process is at it.
_RunEnd = tuple[str, bool, bool]


def dagster_instance() -> AbstractContextManager[dg.DagsterInstance]:
    """Open the instance of DAGSTER_HOME, else of the first dagster.yaml here or in the repository."""
    if home := os.environ.get("DAGSTER_HOME"):
        return dg.DagsterInstance.from_config(str(Path(home).expanduser()))
    for folder in (Path.cwd(), Settings.project_folder()):
        if (folder / "dagster.yaml").is_file():
            return dg.DagsterInstance.from_config(str(folder))
    raise SettingError(
        "There is no dagster.yaml here.", "Set DAGSTER_HOME to the folder that holds it; `flux-assets init` makes one."
    )


def load_layers(names: Sequence[str], config: Mapping[str, object]) -> _RunEnd:
    """Make these layers current, each with the same run config, and what is derived from them.

    Raises SettingError where FLUX_EXECUTOR asks for pods, and no cluster is around.
    """
    if load_settings().flux_executor == "k8s" and "KUBERNETES_SERVICE_HOST" not in os.environ:
        raise SettingError(
            "FLUX_EXECUTOR=k8s loads each layer in a pod, and this command does not run in a Kubernetes cluster.",
            "Launch the job load_static_layers in Dagster's UI, or load here: FLUX_EXECUTOR=threads flux-assets load.",
        )
    result = _run(Names.LOAD_JOB, [*names, *following(names)], dict.fromkeys(names, config))
    failures = [event.step_failure_data.error for event in result.get_step_failure_events()]
    busy = [error is not None and error.cls_name == BusyError.__name__ for error in failures]
    return result.run_id, result.success, bool(busy) and all(busy)


def sync_tables(names: Sequence[str], config: Mapping[str, object]) -> _RunEnd:
    """Sync these tables. A run that finds another sync under way succeeds without doing anything."""
    result = _run(Names.SYNC_JOB, names, {STEP: config})
    done = result.get_asset_materialization_events()
    return result.run_id, result.success, result.success and not done


def _run(job: str, names: Sequence[str], configs: Mapping[str, Mapping[str, object]]) -> dg.JobExecutionResult:
    ops = {name: {"config": dict(config)} for name, config in configs.items() if config}
    whole = ReconstructableRepository.for_module("flux_assets.definitions", fn_name="defs").get_reconstructable_job(job)
    # Of a selection of assets alone, Dagster would plan every check, also the costly ones that the job leaves out.
    assets = frozenset(map(Names.configured().key, names))
    checks = {key for key in whole.get_definition().asset_layer.asset_graph.asset_check_keys if key.asset_key in assets}
    part = whole.get_subset(asset_selection=assets, asset_check_selection=checks)
    with capture_interrupts(), dagster_instance() as instance:
        return dg.execute_job(part, instance=instance, run_config={"ops": ops, "loggers": _LOGGERS})


def report_versions(
    published: Sequence[tuple[StaticTable, Version]], quarantined: int | None = None, *, followed: bool = False
) -> None:
    """Record that versions were published by a rollback, or by a replay that left so many records in quarantine.

    Computed layers `followed` one of these.

    The tags of that record say which file and which declaration the version came from, so that the layer shows as
    out of date when the release has moved on. Raises whatever Dagster's storage raises when it cannot be reached.
    """
    with dagster_instance() as instance:
        for table, version in published:
            description = "Rolled back on the command line."
            pinned = f"by the rollback, until `flux-assets unpin {table.name}`"
            figures: dict[str, Any] = {"outcome": "rolled back", "pinned": pinned}
            if quarantined is not None:
                description = "Records from quarantine replayed on the command line."
                figures = {"outcome": "replayed", "sha256": version.sha256, "rows_quarantined": quarantined}
            if followed:
                description = "Followed an input on the command line."
                figures = {"outcome": "followed", "inputs": dg.MetadataValue.json(dict(version.inputs or {}))}
            _report(instance, table, version, description, figures)


def report_pins(pins: Sequence[tuple[StaticTable, Pin | None]]) -> None:
    """Record that layers were pinned, or unpinned: what readers see has not changed."""
    with dagster_instance() as instance:
        for table, pin in pins:
            instance.report_runless_asset_event(
                dg.AssetObservation(
                    Names.configured().key(table.name),
                    description=f"{'Pinned' if pin else 'Unpinned'} on the command line.",
                    metadata={"pinned": str(pin or "no longer: the next load publishes the release's version")},
                )
            )


def _report(
    instance: dg.DagsterInstance, table: StaticTable, version: Version, description: str, figures: dict[str, Any]
) -> None:
    """Record the version, and what the audits found before it was first published: its rows are the same."""
    key = Names.configured().key(table.name)
    loaded = find_materialization(instance, key, version.holds)
    instance.report_runless_asset_event(
        dg.AssetMaterialization(
            key,
            description=description,
            metadata={
                **(loaded.metadata if loaded else {}),
                **figures,
                "version": version.version,
                "release_tag": version.release_tag,
                "dagster/row_count": version.rows or 0,
                **({"published_at": dg.MetadataValue.timestamp(at)} if (at := version.published_at) else {}),
            },
            tags={**((loaded.tags or {}) if loaded else {}), DATA_VERSION_TAG: version.version},
        )
    )
    # Dagster calls checks not evaluated whose outcome is older than the newest materialisation.
    (newest,) = instance.fetch_materializations(key, limit=1).records
    about = AssetCheckEvaluationTargetMaterializationData(
        storage_id=newest.storage_id, run_id=newest.run_id, timestamp=newest.timestamp
    )
    audits = [AuditResult.from_json(stored) for stored in version.audits]
    names = {audit.name for audit in audits_of(table)}
    for result in check_results(key, audits, names, "Before it was first published:"):
        instance.report_runless_asset_event(as_evaluation(key, result, result.description, about))
