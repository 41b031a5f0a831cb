"""Runs that a command starts and waits for: jobs of the definitions, for some of their tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import dagster as dg

from flux_assets.errors import BusyError
from flux_assets.orchestration.automation import load_static_layers, sync_all_dynamic
from flux_assets.orchestration.dagster_internals import ReconstructableRepository, capture_interrupts
from flux_assets.orchestration.layer_history import dagster_folder
from flux_assets.orchestration.sync_assets import STEP

# What was planned, started and stored is in the UI.
_LOGGERS = {"console": {"config": {"log_level": "INFO"}}}
Config = Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class RunEnd:
    """How a run ended; `busy` says that it did nothing because another process is at it."""

    run_id: str
    succeeded: bool
    busy: bool


def load_layers(names: Sequence[str], config: Config) -> RunEnd:
    """Make these layers current, each with the same run config."""
    result = _run(load_static_layers.name, names, dict.fromkeys(names, config))
    failures = [event.step_failure_data.error for event in result.get_step_failure_events()]
    busy = [error is not None and error.cls_name == BusyError.__name__ for error in failures]
    return RunEnd(run_id=result.run_id, succeeded=result.success, busy=bool(busy) and all(busy))


def sync_tables(names: Sequence[str], config: Config) -> RunEnd:
    """Sync these tables. A run that finds another sync under way succeeds without doing anything."""
    result = _run(sync_all_dynamic.name, names, {STEP: config})
    done = result.get_asset_materialization_events()
    return RunEnd(run_id=result.run_id, succeeded=result.success, busy=result.success and not done)


def _run(job: str, names: Sequence[str], configs: Mapping[str, Config]) -> dg.JobExecutionResult:
    ops = {name: {"config": dict(config)} for name, config in configs.items() if config}
    whole = ReconstructableRepository.for_module("flux_assets.definitions", fn_name="defs").get_reconstructable_job(job)
    # Of a selection of assets alone, Dagster would plan every check, also the costly ones that the job leaves out.
    assets = frozenset(dg.AssetKey(name) for name in names)
    checks = {key for key in whole.get_definition().asset_layer.asset_graph.asset_check_keys if key.asset_key in assets}
    part = whole.get_subset(asset_selection=assets, asset_check_selection=checks)
    with capture_interrupts(), dg.DagsterInstance.from_config(str(dagster_folder())) as instance:
        return dg.execute_job(part, instance=instance, run_config={"ops": ops, "loggers": _LOGGERS})
