"""What Dagster's instance says is wrong: checks, runs, freshness, schedule and daemon. A real instance."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

import dagster as dg
import pytest
from dagster._core.definitions.freshness import FreshnessState, FreshnessStateChange
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.execution.api import execute_run
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, ScheduleInstigatorData
from dagster._daemon.types import DaemonHeartbeat

from flux_assets.alerting.incident import Observation, Policy
from flux_assets.alerting.watching import Watch
from flux_assets.orchestration.alerts import events
from flux_assets.orchestration.checks import JUDGED_AT
from flux_assets.orchestration.names import Names
from flux_assets_tests.running import instance_in, run_job
from flux_assets_tests.synced import FAULTS, FEEDERS

WATCH = Watch(
    schema="public", tables=(FAULTS, FEEDERS), policy=Policy(after=3), clean=lambda text: text.replace("hush", "***")
)


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    """Making one takes longer than most of the tests."""
    with instance_in(tmp_path_factory.mktemp("storage") / "dagster") as instance:
        yield instance


@pytest.fixture
def instance(storage: dg.DagsterInstance) -> dg.DagsterInstance:
    """An instance in which nothing ever happened."""
    storage.wipe()
    for state in storage.all_instigator_state():
        storage.delete_instigator_state(state.instigator_origin_id, state.selector_id)
    storage.wipe_daemon_heartbeats()
    return storage


class World:
    """Assets, checks and jobs that fail as they are told."""

    def __init__(self) -> None:
        self.broken: set[str] = set()
        self.judged_before: dict[str, dg.MetadataValue] = {}
        world = self

        @dg.multi_asset(
            name="step", specs=[dg.AssetSpec("faults", skippable=True), dg.AssetSpec("feeders", skippable=True)],
            check_specs=[dg.AssetCheckSpec(name, asset=table) for table in ("faults", "feeders")
                         for name in ("unique", "within", "lag")],
            can_subset=True,
        )  # fmt: skip
        def step(context):
            for key in sorted(context.selected_asset_keys):
                if key.to_user_string() in world.broken:
                    raise ValueError("The source is away with hush. Look for it.")
                yield dg.MaterializeResult(asset_key=key)
            for key in context.selected_asset_check_keys:
                yield dg.AssetCheckResult(
                    asset_key=key.asset_key, check_name=key.name, passed=key.name not in world.broken,
                    severity=dg.AssetCheckSeverity.WARN if key.name == "within" else dg.AssetCheckSeverity.ERROR,
                    description="2 keys are double, says hush.", metadata=world.judged_before,
                )  # fmt: skip

        @dg.op
        def work():
            if "nightly" in world.broken:
                raise ValueError("No time.")

        @dg.job(executor_def=dg.in_process_executor)
        def nightly():
            work()

        both = dg.define_asset_job("both", selection=["faults", "feeders"], executor_def=dg.in_process_executor)
        self.defs = dg.Definitions(assets=[step], jobs=[nightly, both], executor=dg.in_process_executor)
        self.keys = [dg.AssetCheckKey(dg.AssetKey(table), name) for table in ("faults", "feeders")
                     for name in ("unique", "within", "lag")]  # fmt: skip

    def night(self, instance: dg.DagsterInstance) -> None:
        """A run as the schedule's."""
        job = self.job("nightly")
        run = instance.create_run_for_job(job_def=job, tags={"dagster/schedule_name": "every_night"})
        execute_run(InMemoryJob(job), run, instance)

    def job(self, name: str) -> dg.JobDefinition:
        return self.defs.resolve_job_def(name)


@pytest.fixture
def world() -> World:
    return World()


def materialize(world: World, instance: dg.DagsterInstance, *names: str) -> dg.DagsterRun:
    """A run that says which assets it was started for, as the UI's and the command line's do."""
    keys = frozenset(dg.AssetKey(name) for name in names)
    job = world.defs.resolve_implicit_global_asset_job_def().get_subset(asset_selection=set(keys))
    run = instance.create_run_for_job(job_def=job, asset_selection=keys)
    execute_run(InMemoryJob(job), run, instance)
    return run


def seen(
    instance: dg.DagsterInstance,
    world: World,
    succeeded: Mapping[str, datetime] = MappingProxyType({}),
    now: datetime | None = None,
    failed: Collection[tuple[str, str]] = (),
) -> dict[str, list[Observation]]:
    """What is wrong, by kind."""
    now = now or datetime.now(UTC)
    found: dict[str, list[Observation]] = {}
    for each in events.observed((instance, world.keys), Names(), lambda _: failed, succeeded, WATCH, now):
        found.setdefault(each.kind, []).append(each)
    return found


def succeeded(**ago: timedelta) -> dict[str, datetime]:
    return {name: datetime.now(UTC) - span for name, span in ago.items()}


def test_where_all_is_well_nothing_is_wrong(instance, world):
    materialize(world, instance, "faults", "feeders")
    assert seen(instance, world) == {}


def test_failing_checks_of_a_table_are_one_thing(instance, world):
    world.broken = {"unique", "lag"}
    run = materialize(world, instance, "faults")
    (one,) = seen(instance, world)["check"]
    assert (one.tables, one.cause, one.run_id) == (("faults",), "lag, unique", run.run_id)
    assert one.problem == "lag, unique: this does not hold: 2 keys are double, says ***."
    assert not one.symptom
    world.broken = set()
    materialize(world, instance, "faults")
    assert seen(instance, world) == {}


def test_a_warning_is_no_alert(instance, world):
    world.broken = {"within"}
    materialize(world, instance, "faults")
    assert seen(instance, world) == {}


def test_that_a_table_lags_may_follow_from_its_not_being_synced(instance, world):
    world.broken = {"lag"}
    materialize(world, instance, "faults")
    (one,) = seen(instance, world)["check"]
    assert one.symptom


def test_checks_of_a_load_that_failed_are_of_what_nobody_sees(instance, world):
    world.broken = {"unique"}
    run = materialize(world, instance, "faults", "feeders")
    (one,) = seen(instance, world, failed={(run.run_id, "faults")})["check"]
    assert one.tables == ("feeders",)


def test_what_a_failed_load_repeats_is_of_what_readers_see(instance, world):
    world.broken, world.judged_before = {"unique"}, {JUDGED_AT: dg.MetadataValue.timestamp(1.0)}
    run = materialize(world, instance, "faults")
    (one,) = seen(instance, world, failed={(run.run_id, "faults")})["check"]
    assert (one.tables, one.cause) == (("faults",), "unique")


def test_a_check_that_is_planned_again_is_still_what_it_was(instance, world):
    world.broken = {"unique"}
    materialize(world, instance, "faults")
    whole = world.defs.resolve_implicit_global_asset_job_def()
    instance.create_run_for_job(job_def=whole.get_subset(asset_selection={dg.AssetKey("faults")}))
    assert [each.cause for each in seen(instance, world)["check"]] == ["unique"]


def test_a_failed_run_says_what_its_step_said(instance, world):
    world.broken = {"faults"}
    run = run_job(world.job("both"), instance)
    (one,) = seen(instance, world)["run"]
    assert (one.cause, one.run_id, one.ready, one.ticks) == ("both", run.run_id, True, 1)
    assert one.problem == "ValueError: The source is away with ***."
    assert one.remedy == "Look for it."


def test_a_failed_run_is_made_good_by_a_later_one(instance, world):
    world.broken = {"faults"}
    run_job(world.job("both"), instance)
    materialize(world, instance, "faults")
    assert sorted(each.cause for each in seen(instance, world)["run"]) == ["both", "faults"]
    world.broken = set()
    run_job(world.job("both"), instance)
    assert [each.cause for each in seen(instance, world)["run"]] == ["faults"]
    materialize(world, instance, "feeders")
    assert [each.cause for each in seen(instance, world)["run"]] == ["faults"], "another asset"
    materialize(world, instance, "feeders", "faults")
    assert "run" not in seen(instance, world)


def test_a_failed_run_is_made_good_by_what_the_ledger_says(instance, world):
    world.broken = {"faults"}
    run = materialize(world, instance, "faults")
    assert "run" in seen(instance, world, succeeded(faults=timedelta(hours=1)))
    assert "run" not in seen(instance, world, succeeded(faults=timedelta()))
    assert "run" not in seen(instance, world, failed={(run.run_id, "faults")})


def test_a_scheduled_run_is_told_when_it_fails_again_and_again(instance, world):
    world.broken = {"nightly"}
    for number in (1, 2, 3):
        world.night(instance)
        (one,) = seen(instance, world)["run"]
        assert (one.ticks, one.ready) == (number, number == 3)
    world.broken = set()
    world.night(instance)
    world.broken = {"nightly"}
    world.night(instance)
    (one,) = seen(instance, world)["run"]
    assert (one.ticks, one.ready) == (1, False)


def test_a_table_that_dagster_finds_stale(instance, world):
    change = FreshnessStateChange(
        key=dg.AssetKey("feeders"), previous_state=FreshnessState.PASS, new_state=FreshnessState.FAIL,
        state_change_timestamp=datetime.now(UTC).timestamp(),
    )  # fmt: skip
    instance._report_runless_asset_event(change)
    (one,) = seen(instance, world)["late"]
    assert (one.tables, one.symptom) == (("feeders",), True)
    assert "16 min" in one.problem
    assert "late" in seen(instance, world, succeeded(feeders=timedelta(minutes=30)))
    later = {"feeders": datetime.now(UTC) + timedelta(minutes=1)}
    assert "late" not in seen(instance, world, later), "synced since"


def schedule(instance: dg.DagsterInstance, status: InstigatorStatus) -> None:
    origin = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("flux_assets"), "all")
    data = ScheduleInstigatorData("*/5 * * * *", start_timestamp=0.0)
    place = RemoteInstigatorOrigin(origin, "dynamic_sync_schedule")
    instance.add_instigator_state(InstigatorState(place, InstigatorType.SCHEDULE, status, data))


def alive(instance: dg.DagsterInstance, ago: Mapping[str, timedelta] | timedelta = timedelta()) -> None:
    """Heartbeats of all daemons so long ago, or of some."""
    for name in instance.get_required_daemon_types():
        span = ago if isinstance(ago, timedelta) else ago.get(name, timedelta())
        beat = datetime.now(UTC) - span
        instance.add_daemon_heartbeat(DaemonHeartbeat(beat.timestamp(), name, "daemon"))


def test_a_stopped_schedule_of_tables_that_were_live(instance, world):
    alive(instance)
    long_ago = succeeded(faults=timedelta(minutes=20), feeders=timedelta(minutes=40))
    (one,) = seen(instance, world, long_ago)["schedule"]
    assert one.tables == ("faults", "feeders")
    assert "stopped" in one.problem
    assert "40 min" in one.problem
    schedule(instance, InstigatorStatus.STOPPED)
    assert "schedule" in seen(instance, world, long_ago)
    assert seen(instance, world, succeeded(faults=timedelta(minutes=10))) == {}, "something else syncs"
    assert seen(instance, world) == {}, "nothing was ever synced"


def test_a_running_schedule(instance, world):
    alive(instance)
    schedule(instance, InstigatorStatus.RUNNING)
    assert seen(instance, world, succeeded(faults=timedelta(hours=1))) == {}


def test_a_daemon_that_died(instance, world):
    schedule(instance, InstigatorStatus.RUNNING)
    alive(instance, timedelta(minutes=4))
    assert seen(instance, world) == {}
    alive(instance, timedelta(minutes=6))
    (one,) = seen(instance, world, succeeded(faults=timedelta(hours=1)))["daemon"]
    assert one.tables == ("faults",)
    assert one.problem.startswith("Dagster's daemon has been silent for 6 min")


def test_a_part_of_the_daemon_that_died(instance, world):
    alive(instance, {"SCHEDULER": timedelta(hours=1)})
    (one,) = seen(instance, world)["daemon"]
    assert "daemon (SCHEDULER) has been silent for 1 h" in one.problem


def test_a_daemon_that_was_never_started(instance, world):
    assert seen(instance, world) == {}, "nobody asked for one"
    schedule(instance, InstigatorStatus.RUNNING)
    assert "daemon" in seen(instance, world)
