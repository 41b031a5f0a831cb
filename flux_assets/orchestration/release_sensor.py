"""The sensor that asks for the layers that a new or changed release file changes, all of them in one run.

The decision is made in layers/whole_release/watch.py.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import dagster as dg

from flux_assets.errors import FluxError, TargetError
from flux_assets.orchestration.automation import AD_HOC_JOB, load_static_layers, unfinished_runs
from flux_assets.orchestration.checks import check_specs
from flux_assets.retry import Call, GivenUpError
from flux_assets.settings import Settings, load_settings
from flux_assets.spec import StaticTable
from flux_assets.tables import static_tables

if TYPE_CHECKING:
    from flux_assets.layers.whole_release.watch import Loaded, News

# Dagster gives up on a sensor after 60 s, and counts that as its failure.
_SECONDS_FOR_A_CHECK = 45
_RUNS_END = timedelta(hours=4)  # as run monitoring has it in dagster.yaml: what is older is a ghost
_asked: list[Call[News]] = []


def sensor_of(tables: Sequence[StaticTable], job: str) -> dg.SensorDefinition:
    """Return the sensor for these layers and the job that loads them."""

    @dg.sensor(
        name="release_sensor",
        job_name=job,
        minimum_interval_seconds=300,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Asks for the layers whose release file is new or changed, once for each version, in one run."
        " Started, it publishes a new release without asking: that is why it is created stopped.",
    )
    def release_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        try:
            news = _news(load_settings(), tables, context.cursor, _loaded(context.instance, tables))
        except TargetError as error:
            return dg.SkipReason(f"Cannot read which layers are pinned: {error}")
        except (FluxError, OSError) as error:
            return dg.SkipReason(f"The release cannot be read: {error}")
        if isinstance(news, str):
            return dg.SkipReason(news)
        if not news.wanted:
            reason = " ".join(news.told) or "Nothing has changed since it was loaded or asked for."
            return dg.SensorResult(skip_reason=reason, cursor=news.memory.text())
        if run_id := _under_way(context.instance, {job, AD_HOC_JOB}, frozenset(map(dg.AssetKey, news.wanted))):
            # Two loads of a layer would wait for one another, and the later one might give up.
            return dg.SkipReason(f"Changed: {', '.join(news.wanted)}; requested once run {run_id} has finished.")
        request = dg.RunRequest(
            run_key=news.memory.run_key,
            asset_selection=[dg.AssetKey(name) for name in news.wanted],
            # Without them Dagster would plan the comparison with the release too, which the job leaves out.
            asset_check_keys=[spec.key for table in tables if table.name in news.wanted for spec in check_specs(table)],
            tags={"flux/changed": str(len(news.wanted))},
        )
        return dg.SensorResult(run_requests=[request], cursor=news.memory.text())

    return release_sensor


def _news(
    settings: Settings, tables: Sequence[StaticTable], cursor: str | None, loaded: Mapping[str, Loaded]
) -> News | str:
    """Return what the release holds that is new, or why that is unknown.

    A silent host is given up only after minutes, so it is asked on a thread; one request at a time.
    """
    from flux_assets.layers.status import layer_pins
    from flux_assets.layers.whole_release.watch import Memory, check_release
    from flux_assets.wiring.source import layer_release
    from flux_assets.wiring.target import postgis_target

    if settings.release_is_sample:
        return "The sample city never changes. Set FLUX_RELEASE to the folder or prefix to watch."

    def check() -> News:
        release, now = layer_release(settings), time.time()
        memory = Memory.read(cursor, release.address, now)
        return check_release(release, tables, memory, loaded, now, pinned=layer_pins(postgis_target(settings)))

    if _asked and not _asked[0].done():
        return "The last request to the release is still waiting for an answer."
    _asked[:] = [Call(check)]
    try:
        return _asked[0].within(_SECONDS_FOR_A_CHECK)
    except GivenUpError:
        return f"The release has not answered for {_SECONDS_FOR_A_CHECK} s; the next tick tries again."


def _loaded(instance: dg.DagsterInstance, tables: Iterable[StaticTable]) -> dict[str, Loaded]:
    """Return what Dagster last recorded of each layer, from a run or a rollback."""
    from flux_assets.layers.whole_release.watch import Loaded

    keys = [dg.AssetKey(table.name) for table in tables]
    found: dict[str, Loaded] = {}
    for key, event in instance.event_log_storage.get_latest_materialization_events(keys).items():
        if event is not None and event.asset_materialization is not None:
            sha256 = event.asset_materialization.metadata.get("sha256")
            found[key.to_user_string()] = Loaded(sha256=str(sha256 and sha256.value), at=event.timestamp)
    return found


def _under_way(instance: dg.DagsterInstance, jobs: set[str], wanted: frozenset[dg.AssetKey]) -> str | None:
    """Return an unfinished run that loads one of these layers, unless it is too old to be alive."""
    for run, age in unfinished_runs(instance):
        loads = wanted & run.asset_selection if run.asset_selection else run.job_name in jobs
        if loads and age < _RUNS_END:
            return run.run_id
    return None


release_sensor = sensor_of(static_tables(), load_static_layers.name)
