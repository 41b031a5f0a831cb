"""Jobs, and what starts them: schedules, and the sensor that watches the release.

Annotations are evaluated here: Dagster reads resources from them.
"""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from flux_assets.compare.match import MATCHES_RELEASE, MATCHES_SOURCE
from flux_assets.errors import FluxError, SyncError, TargetError
from flux_assets.orchestration.checks import check_specs
from flux_assets.orchestration.dagster_internals import LayerFailure
from flux_assets.orchestration.executor import stop_of
from flux_assets.orchestration.match_checks import match_keys
from flux_assets.orchestration.names import Names
from flux_assets.orchestration.pruning import prune_job
from flux_assets.orchestration.resources import PostgisResource, WarehouseResource
from flux_assets.orchestration.spread.steps import Steps
from flux_assets.orchestration.view_assets import view_check
from flux_assets.retry import Call, GivenUpError
from flux_assets.spec import StaticTable
from flux_assets.sync.gate import TIME_LIMIT
from flux_assets.sync.result import SyncOptions

if TYPE_CHECKING:
    from flux_assets.layers.whole_release.watch import Loaded, News

_CHECK_ALL, _CHECK_LAYERS, _CHECK_DYNAMIC = (
    "check_all_tables",
    "check_static_layers_match",
    "check_dynamic_tables_match",
)
# Versions of Dagster differ in the statuses of a run that has not ended.
_ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
_UNFINISHED = [status for status in dg.DagsterRunStatus if status not in (*_ENDED, dg.DagsterRunStatus.MANAGED)]
# Dagster gives up on a sensor after 60 s, and counts that as its failure.
_SECONDS_FOR_A_CHECK = 45
_REPEATS, _MOST_REPEATS, _REPEATED_WITHIN = "flux/repeats", 2, timedelta(hours=1)
# By deployment.
_asked: dict[str | None, Call["News"]] = {}
_RUNS_END = timedelta(hours=4)  # as run monitoring has it in dagster.yaml: what is older is a ghost


def jobs(names: Names) -> list[Any]:
    """Return the jobs of a deployment; of layers or of synced tables only where there are any."""
    declared = names.catalogue
    # Checks that cost are not for a load, which reads no file twice.
    layers_match = dg.AssetSelection.checks(*match_keys(declared.static, MATCHES_RELEASE, names))
    dynamic_match = dg.AssetSelection.checks(*match_keys(declared.dynamic, MATCHES_SOURCE, names))
    all_checks = dg.AssetSelection.checks(
        *(spec.key for table in declared.tables for spec in check_specs(table, names)),
        *(view_check(view, names).key for view in declared.views),
    )
    layers = dg.AssetSelection.assets(*names.keys(declared.layers), *names.keys(declared.views))
    synced = dg.AssetSelection.assets(*names.keys(declared.dynamic))
    executor = Steps.executor(names)
    of_layers = [
        dg.define_asset_job(
            names.named(Names.LOAD_JOB),
            selection=layers - layers_match,
            executor_def=executor,
            description="Makes every layer current: those that the release has not changed stay, the others load side"
            " by side. What is computed from them follows.",
            tags=_heavy_tags(names),
        ),
        dg.define_asset_job(
            names.named(_CHECK_LAYERS),
            selection=layers_match,
            executor_def=executor,
            description="Compares every row of every layer with the release file that it was loaded from; changes"
            " nothing.",
            tags=_heavy_tags(names),
        ),
    ]
    of_synced = [
        # Without the checks: Dagster would note twice in every run that it is going to run each of them. The step
        # reports those that have something new to say (sync_assets.py).
        dg.define_asset_job(
            names.named(Names.SYNC_JOB),
            selection=synced.without_checks(),
            description="Syncs the dynamic tables with Snowflake, all at once.",
            executor_def=dg.in_process_executor,
            tags=_sync_tags(names) | Steps.tags_of_sync(names),
        ),
        dg.define_asset_job(
            names.named(_CHECK_DYNAMIC),
            selection=dynamic_match,
            executor_def=executor,
            description="Compares every row of the dynamic tables with Snowflake, under the sync's rule; changes"
            " nothing.",
            tags=_heavy_tags(names),
        ),
        _setup_job(names),
    ]
    return [
        *(of_layers if declared.static else []),
        *(of_synced if declared.dynamic else []),
        # A step and a session a layer, one step for all dynamic tables.
        dg.define_asset_job(
            names.named(_CHECK_ALL),
            selection=all_checks,
            executor_def=executor,
            description="Runs every check on every published table; loads and syncs nothing. Those that read the"
            " release or Snowflake's rows again are in jobs of their own.",
            tags=_heavy_tags(names),
        ),
        prune_job(names),
    ]


def _sync_tags(names: Names) -> dict[str, str]:
    """Return what has run monitoring end a sync that takes longer, and runs that would fight over its lock queue up."""
    limit = f"{TIME_LIMIT.total_seconds():.0f}"
    return {**names.tags, dg.MAX_RUNTIME_SECONDS_TAG: limit, "flux/exclusive": names.scoped("sync")}


def _heavy_tags(names: Names) -> dict[str, str]:
    """Return what has long runs wait for one another, and never a sync for them (dagster.yaml)."""
    return {**names.tags, "flux/heavy": names.scoped("tables")}


def _setup_job(names: Names) -> dg.JobDefinition:
    @dg.op(
        name=names.named("make_dynamic_tables"),
        required_resource_keys={PostgisResource.key(names), WarehouseResource.key(names)},
    )
    def make_dynamic_tables(context: dg.OpExecutionContext) -> None:
        """Create tables that are missing, add missing columns and indexes, refuse a table that is another one."""
        from flux_assets.sync.setup import set_up_tables

        log, options = context.log.info, SyncOptions(run_id=context.run.run_id, stop=stop_of(context.run.run_id))
        with LayerFailure.translated():
            tables = WarehouseResource.of(context, names).family(names.catalogue.dynamic).tables
            found = set_up_tables(tables, PostgisResource.of(context, names).target(), options, log)
            for name, done in found.items():
                if not isinstance(done, FluxError):
                    log(f"{name}: {'changed to match its declaration' if done else 'matches its declaration'}")
            if refused := [done for done in found.values() if isinstance(done, FluxError)]:
                raise refused[0] if len(refused) == 1 else SyncError("\n".join(map(str, refused)))

    @dg.job(
        name=names.named("setup_dynamic_tables"),
        description="Creates the dynamic tables, or adds the columns and indexes they lack. Idempotent; syncs nothing.",
        executor_def=dg.in_process_executor,
        tags=_sync_tags(names),
    )
    def setup_dynamic_tables() -> None:
        make_dynamic_tables()

    return setup_dynamic_tables


def _sync_schedule(names: Names, cron: str) -> dg.ScheduleDefinition:
    job = names.named(Names.SYNC_JOB)

    @dg.schedule(
        name=names.named(Names.SYNC_SCHEDULE),
        job_name=job,
        cron_schedule=cron,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="A sync every five minutes, or as its schedule says, unless one is under way. Missed ticks are not"
        " made up for.",
    )
    def dynamic_sync_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        """Ask for a sync unless one is under way; a run whose process is gone is failed, and blocks nothing."""
        for run, age in _unfinished_runs(context.instance, names, job):
            if not _is_over(context.instance, names, run, age):
                return dg.SkipReason(
                    f"Run {run.run_id} of {run.job_name} is still under way. If its process is gone, the next tick"
                    " finds out and syncs."
                )
        # Of one tick comes one run, also when the daemon dies between asking for it and noting that it has.
        return dg.RunRequest(run_key=context.scheduled_execution_time.isoformat())

    return dynamic_sync_schedule


def _unfinished_runs(
    instance: dg.DagsterInstance, names: Names, job_name: str | None = None
) -> Iterator[tuple[dg.DagsterRun, timedelta]]:
    """Yield our runs of a job, or of all, that Dagster has not seen ending, the newest first, with their age."""
    for record in names.runs(instance, dg.RunsFilter(job_name=job_name, statuses=_UNFINISHED)):
        began = record.start_time or record.create_timestamp.timestamp()
        yield record.dagster_run, timedelta(seconds=time.time() - began)


def _is_over(instance: dg.DagsterInstance, names: Names, run: dg.DagsterRun, age: timedelta) -> bool:
    if run.status == dg.DagsterRunStatus.STARTED and _is_dead(instance, names, run.run_id, age):
        # Where the queue counts it as running, the next sync would wait for it.
        instance.report_run_failed(run, "The process of this run is gone: its sync has no session in PostGIS.")
        return True
    return age > TIME_LIMIT


def _is_dead(instance: dg.DagsterInstance, names: Names, run_id: str, age: timedelta) -> bool:
    """Return whether the database knows that the run's process is gone."""
    import psycopg

    from flux_assets.sync.gate import is_dead
    from flux_assets.wiring.target import postgis_target

    # Without a name of its own it may be the run of another code location, of another database.
    is_ours = names.utility is not None or len(names.schedule_states(instance)) <= 1
    try:
        return is_dead(postgis_target(names.settings()), run_id, age, is_ours=is_ours)
    except (FluxError, psycopg.Error):
        return False


def _at_night(job: str, cron: str, description: str, names: Names) -> dg.ScheduleDefinition:
    return dg.ScheduleDefinition(
        name=names.named(f"{job.removeprefix('check_')}_schedule"),
        job_name=names.named(job),
        cron_schedule=cron,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description=description,
    )


_PRUNING = "Every night. Start it together with dynamic_sync_schedule: without it the history grows for ever."
_LAYERS = "Every Sunday at 3:17 UTC: finds layers that somebody has edited by hand."
_DYNAMIC = "Every night at 2:33 UTC: finds dynamic tables that differ from Snowflake."


def schedules(defined: Sequence[Any], names: Names, cron: str | None = Names.SYNC_CRON) -> list[dg.ScheduleDefinition]:
    """Return the schedules of the jobs of a deployment, of the sync at the times of `cron`, if that is given."""
    made = [job.name for job in defined]
    every = [
        *([_sync_schedule(names, cron)] if cron else []),
        _at_night("prune_history", "40 3 * * *", _PRUNING, names),
        _at_night(_CHECK_LAYERS, "17 3 * * 0", _LAYERS, names),
        # Between two syncs, and late enough after one that it is done.
        _at_night(_CHECK_DYNAMIC, "33 2 * * *", _DYNAMIC, names),
    ]
    return [schedule for schedule in every if schedule.job_name in made]


def sensors(defined: Sequence[Any], names: Names) -> list[dg.SensorDefinition]:
    """Return the sensors that ask for what others left undone; `defined` are the jobs of the deployment."""
    declared = names.catalogue
    derived = [*names.keys(declared.computed), *names.keys(declared.views)]
    follow = dg.AutomationConditionSensorDefinition(
        names.named("automation_sensor"),
        target=dg.AssetSelection.assets(*derived),
        run_tags=_heavy_tags(names),
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Asks for what is computed from a layer after a load or rollback that did not bring it along.",
    )
    repeated = [job for job in defined if job.name in _repeated(names)]
    return [
        *([follow] if derived else []),
        *([_interrupted_sensor(repeated, names)] if repeated else []),
    ]


def _repeated(names: Names) -> set[str]:
    return {names.named(Names.LOAD_JOB), names.named(Names.SYNC_JOB)}


def _interrupted_sensor(repeated: Sequence[Any], names: Names) -> dg.SensorDefinition:
    @dg.sensor(
        name=names.named("interrupted_sensor"),
        jobs=repeated,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Repeats a load or sync that was interrupted, by a restart, a new version or a lost node, up to"
        f" {_MOST_REPEATS} times. What failed or was terminated by somebody is not repeated.",
    )
    def interrupted_sensor(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest]:
        """Ask again for runs whose process was told to stop, and not by somebody who terminated the run.

        Dagster's own retries give up where the code server is just being replaced, which is when they are needed.
        """
        filters = dg.RunsFilter(
            statuses=[dg.DagsterRunStatus.FAILURE],
            tags={"dagster/failure_reason": "UNEXPECTED_TERMINATION"},
            updated_after=datetime.now(UTC) - _REPEATED_WITHIN,
        )
        for record in names.runs(context.instance, filters):
            run = record.dagster_run
            times = int(run.tags.get(_REPEATS, "0"))
            if run.job_name in _repeated(names) and times < _MOST_REPEATS:
                yield dg.RunRequest(
                    run_key=run.run_id,  # which is asked for once, however often this finds it
                    job_name=run.job_name,
                    run_config=run.run_config,
                    asset_selection=list(run.asset_selection or ()) or None,
                    asset_check_keys=None if run.asset_check_selection is None else list(run.asset_check_selection),
                    tags={_REPEATS: str(times + 1), "flux/interrupted_run": run.run_id},
                )

    return interrupted_sensor


def _checks_of(asked: Collection[str], tables: Iterable[StaticTable], names: Names) -> list[dg.AssetCheckKey]:
    """Return the checks of those of the tables and views that have one of the names, but for those that cost."""
    of_layers = [spec.key for table in tables if table.name in asked for spec in check_specs(table, names)]
    return [*of_layers, *(view_check(view, names).key for view in names.catalogue.views if view.name in asked)]


def release_sensor(tables: Sequence[StaticTable], names: Names, job: str = Names.LOAD_JOB) -> dg.SensorDefinition:
    """Return the sensor that asks for the layers whose release file is new or changed, all of them in one run.

    What is new is decided in layers/whole_release/watch.py; `job` loads all of these layers.
    """
    job = names.named(job)

    @dg.sensor(
        name=names.named("release_sensor"),
        job_name=job,
        minimum_interval_seconds=300,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Asks for the layers whose release file is new or changed, once for each version, in one run."
        " Started, it publishes a new release without asking: that is why it is created stopped.",
    )
    def release_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        try:
            news = _news(names, tables, context.cursor, _loaded(context.instance, tables, names))
        except TargetError as error:
            return dg.SkipReason(f"Cannot read which layers are pinned: {error}")
        except (FluxError, OSError) as error:
            return dg.SkipReason(f"The release cannot be read: {error}")
        if isinstance(news, str):
            return dg.SkipReason(news)
        if not news.wanted:
            reason = " ".join(news.told) or "Nothing has changed since it was loaded or asked for."
            return dg.SensorResult(skip_reason=reason, cursor=news.memory.text())
        if run_id := _under_way(
            context.instance, names, {job, Names.AD_HOC_JOB}, frozenset(map(names.key, news.wanted))
        ):
            # Two loads of a layer would wait for one another, and the later one might give up.
            return dg.SkipReason(f"Changed: {', '.join(news.wanted)}; requested once run {run_id} has finished.")
        declared = names.catalogue
        asked = [*news.wanted, *declared.following(news.wanted)]
        request = dg.RunRequest(
            run_key=news.memory.run_key,
            asset_selection=[*map(names.key, asked)],
            # Without them Dagster would plan the comparison with the release too, which the job leaves out.
            asset_check_keys=_checks_of(asked, {*tables, *declared.computed}, names),
            tags={"flux/changed": str(len(news.wanted))},
        )
        return dg.SensorResult(run_requests=[request], cursor=news.memory.text())

    return release_sensor


def _news(
    names: Names, tables: Sequence[StaticTable], cursor: str | None, loaded: Mapping[str, "Loaded"]
) -> "News | str":
    """Return what the release holds that is new, or why that is unknown.

    A silent host is given up only after minutes, so it is asked on a thread; one request at a time.
    """
    from flux_assets.layers.status import layer_pins
    from flux_assets.layers.whole_release.watch import Memory, check_release
    from flux_assets.wiring.source import layer_release
    from flux_assets.wiring.target import postgis_target

    settings = names.settings()
    if settings.release_is_sample:
        return "The sample city never changes. Set FLUX_RELEASE to the folder or prefix to watch."

    def check() -> "News":
        release, now = layer_release(settings), time.time()
        memory = Memory.read(cursor, release.address, now)
        return check_release(release, tables, memory, loaded, now, pinned=layer_pins(postgis_target(settings)))

    if (last := _asked.get(names.utility)) and not last.done():
        return "The last request to the release is still waiting for an answer."
    asked = _asked[names.utility] = Call(check)
    try:
        return asked.within(_SECONDS_FOR_A_CHECK)
    except GivenUpError:
        return f"The release has not answered for {_SECONDS_FOR_A_CHECK} s; the next tick tries again."


def _loaded(instance: dg.DagsterInstance, tables: Iterable[StaticTable], names: Names) -> dict[str, "Loaded"]:
    """Return what Dagster last recorded of each layer, from a run or a rollback."""
    from flux_assets.layers.whole_release.watch import Loaded

    keys = {names.key(table.name): table.name for table in tables}
    found: dict[str, Loaded] = {}
    for key, event in instance.event_log_storage.get_latest_materialization_events(list(keys)).items():
        if event is not None and event.asset_materialization is not None:
            stored = event.asset_materialization.metadata
            sha256, mapping = (str(stored[name].value) if name in stored else "" for name in ("sha256", "mapping"))
            found[keys[key]] = Loaded(sha256=sha256, mapping=mapping, at=event.timestamp)
    return found


def _under_way(
    instance: dg.DagsterInstance, names: Names, jobs: set[str], wanted: frozenset[dg.AssetKey]
) -> str | None:
    """Return an unfinished run that loads one of these layers, unless it is too old to be alive."""
    for run, age in _unfinished_runs(instance, names):
        loads = wanted & run.asset_selection if run.asset_selection else run.job_name in jobs
        if loads and age < _RUNS_END:
            return run.run_id
    return None
