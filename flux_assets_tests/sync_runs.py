"""Runs of Dagster that sync the made-up utility: its definitions, and a tick as the schedule's.

Here: what tests of runs share. Not here: the utility itself (synced.py), and runs of anything (running.py).
"""

from __future__ import annotations

import dagster as dg

from flux_assets.definitions import defs as ours
from flux_assets.orchestration.executor import threads_executor
from flux_assets.orchestration.names import Names
from flux_assets.orchestration.origins import snowflake_sources
from flux_assets.orchestration.resources import PostgisResource, WarehouseResource
from flux_assets.orchestration.sync_assets import dynamic_assets
from flux_assets_tests.running import Run, run_job
from flux_assets_tests.synced import FAULTS, FEEDERS, Utility

JOB = "sync_all"


def fault(number: int, feeder: str = "A", place: str = "-95.1, 29.1") -> str:
    """A statement that puts an open fault into the source."""
    return f"INSERT INTO FAULTS SELECT 'F{number}', '{feeder}', 'OPEN', SYSDATE(), 5, {place};"


def filled(reached: Utility) -> Utility:
    """Two faults on two feeders."""
    reached.tell(
        "INSERT INTO FEEDERS SELECT 'A', 'Feeder A', 100; INSERT INTO FEEDERS SELECT 'B', 'Feeder B', NULL;"
        + fault(1)
        + fault(2, "B")
    )
    return reached


def definitions() -> dg.Definitions:
    """The utility's two tables as assets, and a job that syncs both."""
    tables = (FAULTS, FEEDERS)
    job = dg.define_asset_job(
        JOB, selection=dg.AssetSelection.groups("dynamic_operations").without_checks(),
        executor_def=dg.in_process_executor, tags=ours.resolve_job_def("sync_all_dynamic").tags,
    )  # fmt: skip
    return dg.Definitions(
        assets=[dynamic_assets(tables, Names()), *snowflake_sources(tables, Names())],
        jobs=[job],
        resources={"postgis": PostgisResource(), "snowflake": WarehouseResource()},
        executor=threads_executor,
    )


def tick(defs: dg.Definitions, instance: dg.DagsterInstance) -> Run:
    """A run as the schedule's: without the checks in its selection."""
    return run_job(defs.resolve_job_def(JOB), instance)
