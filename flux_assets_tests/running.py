"""Runs of Dagster definitions in this process, through the executor that the definitions name.

`execute_in_process` and `materialize` would put Dagster's own executor in its place.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run

QUIET = {"compute_logs": {"module": "dagster._core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"}}


@contextmanager
def instance_in(folder: Path) -> Iterator[dg.DagsterInstance]:
    """A Dagster instance with real storage on disk."""
    folder.mkdir(exist_ok=True)
    with dg.DagsterInstance.local_temp(str(folder), overrides=QUIET) as instance:
        yield instance


@dataclass
class Run:
    """A finished run."""

    instance: dg.DagsterInstance
    run_id: str

    @property
    def status(self) -> dg.DagsterRunStatus:
        return self.instance.get_run_by_id(self.run_id).status

    @property
    def succeeded(self) -> bool:
        return self.status == dg.DagsterRunStatus.SUCCESS

    def events(self, kind: dg.DagsterEventType, step: str | None = None) -> list[dg.DagsterEvent]:
        logs = self.instance.all_logs(self.run_id, of_type=kind)
        return [log.dagster_event for log in logs if step is None or log.step_key == step]

    def steps(self, kind: dg.DagsterEventType) -> list[str]:
        """Steps with such an event, in the order of the events."""
        return [event.step_key for event in self.events(kind)]

    def lines(self, step: str | None = None) -> list[str]:
        """What was logged, by one step or by all."""
        logs = self.instance.all_logs(self.run_id)
        return [log.user_message for log in logs if not log.is_dagster_event and step in (None, log.step_key)]

    def checks(self) -> dict[tuple[str, str], dg.AssetCheckEvaluation]:
        """Outcomes by asset and check."""
        found = self.events(dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        outcomes = [event.asset_check_evaluation_data for event in found]
        return {(outcome.asset_key.to_user_string(), outcome.check_name): outcome for outcome in outcomes}

    def materialized(self) -> dict[str, dg.AssetMaterialization]:
        found = self.events(dg.DagsterEventType.ASSET_MATERIALIZATION)
        return {event.asset_key.to_user_string(): event.materialization for event in found}

    def failure(self, step: str) -> str:
        """The error that the step's failure shows, frames included."""
        (event,) = self.events(dg.DagsterEventType.STEP_FAILURE, step)
        return event.step_failure_data.error.to_string()


def run_assets(
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    *keys: str,
    checks: Sequence[tuple[str, str]] | None = None,
    run_config: dict | None = None,
) -> Run:
    """Materialise the assets with these keys (and all their checks), or run just the checks named."""
    whole = defs.resolve_implicit_global_asset_job_def()
    if checks is None:
        job = whole.get_subset(asset_selection={dg.AssetKey.from_user_string(key) for key in keys})
    else:
        job = whole.get_subset(
            asset_selection={dg.AssetKey.from_user_string(key) for key in keys},
            asset_check_selection={dg.AssetCheckKey(dg.AssetKey(asset), name) for asset, name in checks},
        )
    return run_job(job, instance, run_config)


def run_job(job: dg.JobDefinition, instance: dg.DagsterInstance, run_config: dict | None = None) -> Run:
    """Run a job as a run worker does."""
    run = instance.create_run_for_job(job_def=job, run_config=run_config)
    execute_run(InMemoryJob(job), run, instance)
    return Run(instance, run.run_id)
