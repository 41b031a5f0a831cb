"""What lies upstream of the tables: a release's files, which can be observed, and the tables in Snowflake.

Annotations are evaluated here: Dagster reads resources from them.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence

import dagster as dg

from flux_assets.errors import FluxError, SettingError
from flux_assets.orchestration.dagster_internals import DATA_VERSION_TAG, get_input_data_version_tag
from flux_assets.orchestration.executor import stop_of
from flux_assets.orchestration.names import Names
from flux_assets.orchestration.resources import ReleaseResource
from flux_assets.orchestration.shown.metadata import origin_metadata
from flux_assets.release.files import MissingError
from flux_assets.release.stopping import stoppable
from flux_assets.settings import STAND_IN
from flux_assets.spec import DynamicTable, StaticTable
from flux_assets.tables import unsimulated

_RELEASE, _SNOWFLAKE = "release", "snowflake"
_ORIGIN_TAGS = ("dagster/code_version", "dagster/input_data_version", "dagster/input_event_pointer")
_LOOKED_BACK = 200


def release_sources(layers: Sequence[StaticTable], names: Names) -> dg.AssetsDefinition:
    """Return the files of the layers; observing them reads digests (SHA-256, the data version), never rows."""
    tables = {names.origin(table): table for table in layers}

    def observe_release(context: dg.AssetExecutionContext) -> Iterator[dg.ObserveResult]:
        release = ReleaseResource.of(context, names)
        problems = []
        for key in sorted(context.selected_asset_keys):
            table = tables[key]
            try:
                with stoppable(stop_of(context.run.run_id).check):
                    sha256 = release.release(context.log.info).resolve(table.file_name, table.name).sha256
                yield dg.ObserveResult(asset_key=key, data_version=dg.DataVersion(sha256), metadata={"sha256": sha256})
            except MissingError as error:
                if table.file == "required":
                    problems.append(str(error))
            except FluxError as error:
                problems.append(str(error))
        if problems:
            raise dg.Failure("\n".join(problems), allow_retries=False)

    specs = [
        dg.AssetSpec(
            key,
            description=f"The release's file {table.file_name}, or the same in another format: {table.description}",
            group_name=names.group(_RELEASE),
            owners=[table.owner],
            kinds={"file"},
            metadata=origin_metadata(table, names),
        )
        for key, table in tables.items()
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        observed_sources: dg.AssetsDefinition = dg.multi_observable_source_asset(
            name=names.named("observe_release"),
            specs=specs,
            can_subset=True,
            required_resource_keys={ReleaseResource.key(names)},
        )(observe_release)
    return observed_sources


def record_file(context: dg.AssetExecutionContext, key: dg.AssetKey, sha256: str) -> Iterator[dg.AssetObservation]:
    """Record within a step which file (`key`) it has read, so that the materialisation that follows points at it.

    Dagster reads the versions of a step's inputs before the step begins; reading again replaces them.
    """
    step = context.get_step_execution_context()
    known = step.maybe_fetch_and_get_input_asset_version_info(key)
    if known is None or known.data_version != dg.DataVersion(sha256):
        yield dg.AssetObservation(key, tags={DATA_VERSION_TAG: sha256}, metadata={"sha256": sha256})
        step.wipe_input_asset_version_info(key)
        step.maybe_fetch_and_get_input_asset_version_info(key)


def origin_tags(
    instance: dg.DagsterInstance, layer: dg.AssetKey, version: str, origin: dg.AssetKey, sha256: str
) -> dict[str, str]:
    """Return the tags of a version in the history that name what it was made of, and that of its file."""
    found = find_materialization(instance, layer, lambda known: known == version)
    tags = {name: value for name, value in ((found and found.tags) or {}).items() if name.startswith(_ORIGIN_TAGS)}
    return {**tags, get_input_data_version_tag(origin): sha256}


def find_materialization(
    instance: dg.DagsterInstance, layer: dg.AssetKey, fits: Callable[[str], bool]
) -> dg.AssetMaterialization | None:
    """Return the newest materialisation whose version `fits`; None without a recent one."""
    for record in instance.fetch_materializations(layer, limit=_LOOKED_BACK).records:
        materialization = record.asset_materialization
        if materialization and fits((materialization.tags or {}).get(DATA_VERSION_TAG, "")):
            return materialization
    return None


def snowflake_sources(tables: Sequence[DynamicTable], names: Names) -> list[dg.AssetSpec]:
    """Return the source of every declared dynamic table; no run materialises it."""
    specs = []
    for table in tables:
        read_from, place = _place(table, names)
        spec = dg.AssetSpec(
            names.origin(table),
            description=f"The table {table.source} in Snowflake: {table.description}\n\n{read_from}",
            group_name=names.group(_SNOWFLAKE),
            owners=[table.owner],
            kinds={"snowflake"},
            metadata={**place, **origin_metadata(table, names)},
        )
        specs.append(spec)
    return specs


def _place(table: DynamicTable, names: Names) -> tuple[str, dict[str, str]]:
    """Return which object of which account the settings name; nothing connects."""
    from flux_assets.snowflake.mapping import ObjectName
    from flux_assets.snowflake.overrides import Overrides

    try:
        settings = names.settings()
        override = Overrides.load(settings.flux_config).sources.get(table.source)
    except SettingError:
        return "Its origin is unknown: a setting is illegal. `flux-assets doctor` names it.", {}
    own = (override and override.object) or table.source
    parts = ObjectName.parts(own) or (own,)
    full = ".".join((settings.snowflake_database, settings.snowflake_schema)[: 3 - len(parts)] + tuple(parts))
    if settings.source_is_stand_in:
        account, of = STAND_IN, "the stand-in, which is simulated"
        if table in unsimulated(settings):
            of = "the stand-in, which has no rows of it"
    elif settings.snowflake_account not in {None, STAND_IN}:
        account, of = str(settings.snowflake_account), f"the Snowflake account {settings.snowflake_account}"
    else:
        return f"It is {full}, of no account yet: set SNOWFLAKE_ACCOUNT.", {"dagster/table_name": full}
    return f"It is read from {full} of {of}.", {"dagster/table_name": full, "account": account}
