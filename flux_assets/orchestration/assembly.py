"""All that Dagster sees of a deployment, as definitions that a project has to itself or merges with its own."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import dagster as dg

from flux_assets.errors import SettingError
from flux_assets.orchestration.alerts.rounds import alert_sensor
from flux_assets.orchestration.automation import jobs, release_sensor, schedules, sensors
from flux_assets.orchestration.layer_assets import layer_asset
from flux_assets.orchestration.match_checks import release_match, source_match
from flux_assets.orchestration.names import Names
from flux_assets.orchestration.origins import release_sources, snowflake_sources
from flux_assets.orchestration.resources import PostgisResource, ReleaseResource, WarehouseResource
from flux_assets.orchestration.spread.steps import Steps
from flux_assets.orchestration.sync_assets import dynamic_assets
from flux_assets.orchestration.view_assets import view_asset
from flux_assets.settings import OwnSettings, Settings

_GROUPS = ("static_layers", "derived_layers", "dynamic_operations", "release", "snowflake")
_SENSORS = ("release_sensor", "automation_sensor", "interrupted_sensor", "alert_sensor")
# What a process has once, for all deployments in it.
_SHARED = frozenset({
    "dagster_postgres_url", "flux_celery_backend", "flux_celery_broker", "flux_celery_lost_after", "flux_home",
    "flux_log_format", "flux_parallel_layers", "flux_post_url", "flux_sync_runs",
})  # fmt: skip


def build_definitions(  # noqa: PLR0913 - what a project may choose, each by its name
    *,
    tables: Sequence[str] | None = None,
    without: Sequence[str] | None = None,
    key_prefix: str | None = None,
    postgres_schema: str | None = None,
    groups: Mapping[str, str] | None = None,
    executor: str | None = None,
    schedule: str | None = Names.SYNC_CRON,
    sensors: Collection[str] | None = None,
    **settings: object,
) -> dg.Definitions:
    """Return the definitions of a deployment: assets, checks, jobs, schedules, sensors and their resources.

    What is not given is as the environment says, so that without arguments these are `flux_assets.definitions.defs`.

    `tables` are folders, modules and packages with declarations (FLUX_TABLES), `without` names of built-in tables and
    views to leave out (FLUX_WITHOUT), `postgres_schema` is where tables are published (FLUX_POSTGRES_SCHEMA),
    `executor` where a load's steps run (FLUX_EXECUTOR). `settings` are others that this deployment alone has, under
    their names in lower case, such as `flux_release`; None is the default, whatever the environment has.

    `key_prefix` is the deployment's name (FLUX_UTILITY). Given here, it also begins the names of groups, jobs,
    schedules, sensors, ops and resources, so that nothing collides with the rest of a project or with another
    deployment in it; and the executor is that of the jobs alone, because a code location has only one.

    `groups` says how groups of assets are called instead. `schedule` is when the sync runs, as five fields of cron in
    UTC; None leaves that to others. `sensors` are those to have, all unless given.

    Raises SettingError for a name that there is not or a value that is illegal, FluxError for a wrong declaration.
    """
    _refuse_unknown("group", groups or (), _GROUPS)
    wanted = _SENSORS if sensors is None else sensors
    _refuse_unknown("sensor", wanted, _SENSORS)
    given = {
        **settings,
        "flux_tables": None if tables is None else ",".join(tables),
        "flux_without": None if without is None else ",".join(without),
        "flux_utility": key_prefix,
        "flux_postgres_schema": postgres_schema,
        "flux_executor": executor,
    }
    return _definitions(
        Names.configured(
            _own({name: value for name, value in given.items() if value is not None or name in settings}),
            is_lodger=key_prefix is not None,
            groups=tuple((groups or {}).items()),
        ),
        schedule,
        wanted,
    )


def _definitions(names: Names, schedule: str | None, wanted: Collection[str]) -> dg.Definitions:
    declared = names.catalogue
    defined = jobs(names)
    every_sensor = [
        *([release_sensor(declared.with_file, names)] if declared.with_file else []),
        *sensors(defined, names),
        alert_sensor(names),
    ]
    return dg.Definitions(
        assets=[
            *(layer_asset(table, names, declared.with_file) for table in declared.layers),
            *(view_asset(view, names) for view in declared.views),
            *([release_sources(declared.with_file, names)] if declared.with_file else []),
            *([dynamic_assets(declared.dynamic, names)] if declared.dynamic else []),
            *snowflake_sources(declared.dynamic, names),
        ],
        asset_checks=[
            *([release_match(declared.static, names)] if declared.static else []),
            *([source_match(declared.dynamic, names)] if declared.dynamic else []),
        ],
        jobs=defined,
        schedules=schedules(defined, names, schedule),
        sensors=[sensor for sensor in every_sensor if sensor.name in set(map(names.named, wanted))],
        resources={kind.key(names): kind() for kind in (PostgisResource, ReleaseResource, WarehouseResource)},
        executor=None if names.is_lodger else Steps.executor(names),
    )


def _own(given: Mapping[str, object]) -> OwnSettings:
    """Return settings as text, which they would be in the environment; None is the default, whatever is there."""
    fields = Settings.model_fields
    _refuse_unknown("setting", given, fields)
    if shared := sorted(given.keys() & _SHARED):
        raise SettingError(
            f"{', '.join(shared).upper()}: all deployments of a process share this setting.",
            "Leave it out here, and set it in the environment.",
        )
    return tuple((name, fields[name].get_default() if value is None else str(value)) for name, value in given.items())


def _refuse_unknown(what: str, named: Collection[str], known: Collection[str]) -> None:
    if unknown := sorted(set(named) - set(known)):
        problem = f"build_definitions was given {', '.join(unknown)}: there is no {what} of that name."
        raise SettingError(problem, f"There are {', '.join(sorted(known))}.")
