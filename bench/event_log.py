"""What the five-minute sync leaves in Dagster's database, night after night, with the pruning that goes with it.

Time is simulated: an hour is twelve syncs. So what is due once an hour (all checks, pictures) is made due at every
twelfth, and a day is kept by its number of runs. What the daemon adds to a run (queue, launch, tick) is reported here.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from unittest.mock import patch

import dagster as dg
from dagster._core import remote_origin as origins
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.events import DagsterEvent, DagsterEventType
from dagster._core.execution.api import execute_run
from dagster._core.scheduler import instigation

from bench.ground import Ground
from bench.results import Section, goal
from flux_assets.definitions import defs
from flux_assets.orchestration import pictures, pruning
from flux_assets.orchestration import sync_step as sync_checks
from flux_assets.sample.stand_in.server import StandIn
from flux_assets.settings import REPOSITORY, load_settings
from flux_assets.wiring.source import simulation_of

HOUR, DAY, DAYS_A_MONTH = 12, 288, 30
_ALL = origins.RemoteRepositoryOrigin(origins.RegisteredCodeLocationOrigin("flux_assets"), "all")
_SCHEDULE = origins.RemoteInstigatorOrigin(_ALL, "dynamic_sync_schedule")
_COUNTS = "SELECT (SELECT count(*) FROM runs), (SELECT count(*) FROM event_logs), count(*) FROM asset_check_executions"
State = dict[str, float]


def event_log(ground: Ground) -> Section:
    """Many syncs, and after each day of them the job that prunes, which keeps the newest day."""
    syncs, day = (72, 24) if ground.wanted.quick else (1000, DAY)
    with _installed(ground, day) as instance:
        states = list(_states(ground, instance, syncs, day))
    begun, filled, last = states[0], states[1], states[-1]
    each = (filled["MB"] - begun["MB"]) / day
    before, full = [state for state, then in pairwise(states) if then["pruned"]][-2:]
    growth = (full["events"] / before["events"] - 1) * 100
    return Section(
        title=f"Dagster's database, {syncs:,} syncs, {day} a day, each of a source that has changed, a day's runs kept",
        columns=list(begun),
        rows=[[_shown(value) for value in each.values()] for each in states],
        goals=[
            goal(f"Dagster's database after {syncs:,} syncs", "≤ 150 MB", last["MB"], 1),
            goal("events before the last night's pruning, against the night before", "≤ 1 % more", growth),
        ],
        notes=[
            f"a sync leaves {each * 1e3:.0f} kB: without pruning {each * DAY * DAYS_A_MONTH:,.0f} MB a month, for ever",
            f"in MB, from the last night but one to the last: {before['MB']:.1f} to {full['MB']:.1f}; ticks, which stay"
            " for two weeks, and room that is not used again at once",
            f"with the default of three days, and a fourth until the night: {begun['MB'] + each * DAY * 4:.0f} MB"
            " (computed from the line above)",
        ],
        values={"states": states},
    )


def _shown(value: float) -> str:
    return ("no", "yes")[value] if isinstance(value, bool) else f"{value:,.1f}" if value % 1 else f"{value:,.0f}"


@contextmanager
def _installed(ground: Ground, day: int) -> Iterator[dg.DagsterInstance]:
    """The project's own instance on the bench's cluster: its embedded default, with a day's runs kept."""
    with patch.dict(os.environ, {"FLUX_KEEP_RUNS": str(day), "FLUX_KEEP_RUNS_FOR": "0"}):
        load_settings.cache_clear()
        ground.fresh_map_database()
        try:
            with dg.DagsterInstance.from_config(str(REPOSITORY)) as instance:
                yield instance
        finally:
            StandIn(ground.cluster.home).stop()
    load_settings.cache_clear()


def _states(ground: Ground, instance: dg.DagsterInstance, syncs: int, day: int) -> Iterator[State]:
    data = instigation.ScheduleInstigatorData(cron_schedule="*/5 * * * *")
    running = (_SCHEDULE, InstigatorType.SCHEDULE, instigation.InstigatorStatus.RUNNING, data)
    instance.add_instigator_state(instigation.InstigatorState(*running))
    _run(instance, "load_static_layers")
    _run(instance, "sync_all_dynamic")
    yield _state(instance, 0)
    simulation = simulation_of(load_settings())
    for number in range(1, syncs + 1):
        simulation.tick(timedelta(minutes=5))
        due = 0 if number % HOUR == 0 else math.inf
        with (
            patch.object(sync_checks, "SECONDS_BETWEEN_JUDGEMENTS", due),
            patch.object(pictures, "SECONDS_BETWEEN_PREVIEWS", due),
        ):
            _scheduled(instance, number)
        if number % day == 0:
            yield _state(instance, number)
            _run(instance, "prune_history")
            yield _state(instance, number, pruned=True)
            ground.say(f"event-log: {number} of {syncs} syncs")
    if syncs % day:
        yield _state(instance, syncs)


def _run(instance: dg.DagsterInstance, name: str) -> None:
    job = defs.resolve_job_def(name)
    _execute(instance, job, instance.create_run_for_job(job_def=job, tags=dict(job.tags)))


def _execute(instance: dg.DagsterInstance, job: dg.JobDefinition, run: dg.DagsterRun) -> None:
    execute_run(InMemoryJob(job), run, instance)
    finished = instance.get_run_by_id(run.run_id)
    if finished is None or not finished.is_success:
        raise RuntimeError(f"A run of {job.name} failed: the figures would not be those of runs that work.")


def _scheduled(instance: dg.DagsterInstance, number: int) -> None:
    """A run with what scheduler, queue and launcher write around it."""
    job, key = defs.resolve_job_def("sync_all_dynamic"), f"2026-01-01T00:00:00+00:00 {number}"
    tags = {**job.tags, "dagster/schedule_name": _SCHEDULE.instigator_name, "dagster/run_key": key}
    origin = origins.RemoteJobOrigin(_ALL, job.name)
    run = instance.create_run_for_job(job_def=job, tags=tags, remote_job_origin=origin)
    for kind in (DagsterEventType.PIPELINE_ENQUEUED, DagsterEventType.PIPELINE_STARTING):
        instance.report_dagster_event(DagsterEvent(event_type_value=kind.value, job_name=job.name), run.run_id)
    instance.report_engine_event("Launched as a process of its own, in a message about as long as Dagster's.", run)
    _execute(instance, job, run)
    instance.report_engine_event("Process for run exited, in a message that is about as long as Dagster's.", run)
    what = (_SCHEDULE.get_id(), _SCHEDULE.instigator_name, InstigatorType.SCHEDULE, instigation.TickStatus.SUCCESS)
    tick = instigation.TickData(
        *what, datetime.now(UTC).timestamp(), [run.run_id], run_keys=[key],
        selector_id=_SCHEDULE.get_selector().get_id(),
    )  # fmt: skip
    instance.create_tick(tick)


def _state(instance: dg.DagsterInstance, syncs: int, *, pruned: bool = False) -> State:
    with instance.event_log_storage.index_connection() as connection:  # type: ignore[attr-defined]
        runs, events, checks = connection.exec_driver_sql(_COUNTS).one()
    size = pruning.size(instance) / 1e6
    return {"syncs": syncs, "pruned": pruned, "runs": runs, "events": events, "check evaluations": checks, "MB": size}
