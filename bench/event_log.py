"""What the five-minute sync leaves in Dagster's database, night after night, with the pruning that goes with it.

Here: real runs of the job, one after another in this process, each after a step of the simulation, and the nightly
pruning after every 288th. Not here: seconds.

Time is what is simulated: an hour is twelve syncs. So what is due once an hour (all checks, pictures) is made due at
every twelfth, and a day is kept by its number of runs. What the daemon adds to a run in its own process (queue, launch,
tick) is reported here as it would report it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import dagster as dg
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.events import DagsterEvent, DagsterEventType
from dagster._core.execution.api import execute_run
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    ScheduleInstigatorData,
    TickData,
    TickStatus,
)

from bench.ground import Ground
from bench.results import Goal, Section
from flux_assets.definitions import defs
from flux_assets.orchestration import pictures
from flux_assets.orchestration.sync import checks
from flux_assets.orchestration.upkeep import tables
from flux_assets.sample.simulation.drive import Simulation
from flux_assets.sample.stand_in.server import StandIn
from flux_assets.settings import REPOSITORY, load_settings
from flux_assets.wiring.source import simulation_of

SCHEDULE = RemoteInstigatorOrigin(
    RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("flux_assets"), "all"), "dynamic_sync_schedule"
)
HOUR, DAY = 12, 288
DAYS_A_MONTH = 30
MOST_MB = 150
MOST_GROWTH = 0.01
NEVER = math.inf


@dataclass(frozen=True, kw_only=True)
class State:
    """The database after so many syncs."""

    syncs: int
    pruned: bool
    runs: int
    events: int
    evaluations: int
    megabytes: float


def measure(ground: Ground, syncs: int, day: int = DAY) -> Section:
    """As many syncs as asked for; after each `day` of them the job that prunes, which keeps the newest `day`."""
    with _installed(ground, day) as (instance, simulation):
        data = ScheduleInstigatorData(cron_schedule="*/5 * * * *")
        instance.add_instigator_state(
            InstigatorState(SCHEDULE, InstigatorType.SCHEDULE, InstigatorStatus.RUNNING, data)
        )
        _run(instance, "load_static_layers")
        _run(instance, "sync_all_dynamic")
        states = [_state(instance, 0, pruned=False), *_days(ground, instance, simulation, syncs, day)]
    return _section(states, syncs, day)


def _days(
    ground: Ground, instance: dg.DagsterInstance, simulation: Simulation, syncs: int, day: int
) -> Iterator[State]:
    for number in range(1, syncs + 1):
        simulation.tick(timedelta(minutes=5))
        due = number % HOUR == 0
        checks.SECONDS_BETWEEN_JUDGEMENTS = pictures.SECONDS_BETWEEN_PREVIEWS = 0 if due else NEVER  # type: ignore[assignment]
        _scheduled(instance, number)
        if number % day == 0:
            yield _state(instance, number, pruned=False)
            _run(instance, "prune_history")
            yield _state(instance, number, pruned=True)
            ground.say(f"event-log: {number} of {syncs} syncs")
    if syncs % day:
        yield _state(instance, syncs, pruned=False)


@contextmanager
def _installed(ground: Ground, day: int) -> Iterator[tuple[dg.DagsterInstance, Simulation]]:
    """The project's own instance on the bench's cluster: its embedded default, with a day's runs kept."""
    ours = {"FLUX_KEEP_RUNS": str(day), "FLUX_KEEP_RUNS_FOR": "0"}
    before = (checks.SECONDS_BETWEEN_JUDGEMENTS, pictures.SECONDS_BETWEEN_PREVIEWS)
    os.environ |= ours
    load_settings.cache_clear()
    ground.fresh_map_database()
    try:
        with dg.DagsterInstance.from_config(str(REPOSITORY)) as instance:
            yield instance, simulation_of(load_settings())
    finally:
        checks.SECONDS_BETWEEN_JUDGEMENTS, pictures.SECONDS_BETWEEN_PREVIEWS = before
        StandIn(ground.cluster.home).stop()
        for name in ours:
            del os.environ[name]
        load_settings.cache_clear()


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
    job = defs.resolve_job_def("sync_all_dynamic")
    tags = {"dagster/schedule_name": SCHEDULE.instigator_name, "dagster/run_key": f"2026-01-01T00:00:00+00:00 {number}"}
    origin = RemoteJobOrigin(SCHEDULE.repository_origin, job.name)
    run = instance.create_run_for_job(job_def=job, tags={**job.tags, **tags}, remote_job_origin=origin)
    for kind in (DagsterEventType.PIPELINE_ENQUEUED, DagsterEventType.PIPELINE_STARTING):
        instance.report_dagster_event(DagsterEvent(event_type_value=kind.value, job_name=job.name), run.run_id)
    instance.report_engine_event("Launched as a process of its own, in a message about as long as Dagster's.", run)
    _execute(instance, job, run)
    instance.report_engine_event("Process for run exited, in a message that is about as long as Dagster's.", run)
    moment = datetime.now(UTC).timestamp()
    what = TickData(
        SCHEDULE.get_id(), SCHEDULE.instigator_name, InstigatorType.SCHEDULE, TickStatus.SUCCESS, moment, [run.run_id],
        run_keys=[tags["dagster/run_key"]], selector_id=SCHEDULE.get_selector().get_id(),
    )  # fmt: skip
    instance.create_tick(what)


def _state(instance: dg.DagsterInstance, syncs: int, *, pruned: bool) -> State:
    with instance.event_log_storage.index_connection() as connection:  # type: ignore[attr-defined]
        counts = [
            connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one()
            for table in ("runs", "event_logs", "asset_check_executions")
        ]
    runs, events, evaluations = counts
    return State(
        syncs=syncs, pruned=pruned, runs=runs, events=events, evaluations=evaluations,
        megabytes=tables.size(instance) / 1e6,
    )  # fmt: skip


def _section(states: list[State], syncs: int, day: int) -> Section:
    begun, filled, last = states[0], states[1], states[-1]
    each = (filled.megabytes - begun.megabytes) / filled.syncs
    before, full = [state for state, then in pairwise(states) if then.pruned][-2:]
    growth = full.events / before.events - 1
    return Section(
        title=f"Dagster's database, {syncs:,} syncs, {day} a day, each of a source that has changed, a day's runs kept",
        columns=["syncs", "pruned", "runs", "events", "check evaluations", "MB"],
        rows=[
            [
                f"{state.syncs:,}", "yes" if state.pruned else "no", f"{state.runs:,}", f"{state.events:,}",
                f"{state.evaluations:,}", f"{state.megabytes:.1f}",
            ]
            for state in states
        ],
        goals=[
            Goal(
                claim=f"Dagster's database after {syncs:,} syncs", wanted=f"≤ {MOST_MB} MB",
                measured=f"{last.megabytes:.1f} MB", met=last.megabytes <= MOST_MB,
            ),
            Goal(
                claim="rows of events before the last night's pruning, against the night before",
                wanted=f"≤ {MOST_GROWTH:.0%} more", measured=f"{growth:.2%} more", met=growth <= MOST_GROWTH,
            ),
        ],
        notes=[
            f"a sync leaves {each * 1e3:.0f} kB: without pruning {each * DAY * DAYS_A_MONTH:,.0f} MB a month, for ever",
            f"in MB, from the last night but one to the last: {before.megabytes:.1f} to {full.megabytes:.1f}; ticks,"
            " which stay for two weeks, and room that is not used again at once",
            f"with the default of three days, and a fourth until the night: {begun.megabytes + each * DAY * 4:.0f} MB"
            " (computed from the line above)",
        ],
        values={"states": [vars(state) for state in states]},
    )  # fmt: skip
