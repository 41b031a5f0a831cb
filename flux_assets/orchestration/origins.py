"""What lies upstream of the tables: a release's files, which can be observed, and the tables in Snowflake.

Annotations are evaluated here: Dagster reads resources from them.
"""

import warnings
from collections.abc import Iterator, Sequence

import dagster as dg

from flux_assets.errors import FluxError, SettingError
from flux_assets.orchestration.executor import stop_of
from flux_assets.orchestration.metadata import column_schema, file_links, source_links
from flux_assets.orchestration.resources import ReleaseResource
from flux_assets.release.stopping import stoppable
from flux_assets.settings import STAND_IN, load_settings
from flux_assets.spec import DynamicTable, StaticTable, type_ddl
from flux_assets.spec.facts import SourceColumn
from flux_assets.tables import static_tables

_RELEASE = "release"


def file_key(table: StaticTable) -> dg.AssetKey:
    """Return the key of the asset that stands for the layer's file."""
    return dg.AssetKey([_RELEASE, table.name])


def release_sources() -> dg.AssetsDefinition:
    """Return the files of all declared layers; observing them reads digests, never rows."""
    tables = {file_key(table): table for table in static_tables()}

    def observe_release(context: dg.AssetExecutionContext, release: ReleaseResource) -> Iterator[dg.ObserveResult]:
        problems = []
        for key in sorted(context.selected_asset_keys):
            try:
                with stoppable(stop_of(context.run.run_id).check):
                    observation = _observation(context, tables[key], release)
                yield observation
            except FluxError as error:
                problems.append(str(error))
        if problems:
            raise dg.Failure("\n".join(problems), allow_retries=False)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        observable = dg.multi_observable_source_asset(specs=[_file_spec(t) for t in tables.values()], can_subset=True)
        observed_sources: dg.AssetsDefinition = observable(observe_release)
    return observed_sources


def record_file(context: dg.AssetExecutionContext, table: StaticTable, sha256: str) -> Iterator[dg.AssetObservation]:
    """Record within a step which file it has read, so that the materialisation that follows points at it.

    Dagster reads the versions of a step's inputs before the step begins; reading again replaces them.
    """
    key, step = file_key(table), context.get_step_execution_context()
    known = step.maybe_fetch_and_get_input_asset_version_info(key)
    if known is None or known.data_version != dg.DataVersion(sha256):
        yield dg.AssetObservation(key, tags={"dagster/data_version": sha256}, metadata={"sha256": sha256})
        step.wipe_input_asset_version_info(key)
        step.maybe_fetch_and_get_input_asset_version_info(key)


def _file_spec(table: StaticTable) -> dg.AssetSpec:
    return dg.AssetSpec(
        file_key(table),
        description=f"The file {table.file_name} of the release: {table.description}",
        group_name=_RELEASE,
        owners=[table.owner],
        kinds={"csv"},
        metadata={"dagster/column_schema": column_schema(table), **file_links(table)},
    )


def _observation(context: dg.AssetExecutionContext, table: StaticTable, release: ReleaseResource) -> dg.ObserveResult:
    file = release.release(context.log.info).resolve(table.file_name, table.name)
    return dg.ObserveResult(
        asset_key=file_key(table), data_version=dg.DataVersion(file.sha256), metadata={"sha256": file.sha256}
    )


_SNOWFLAKE = "snowflake"


def source_key(table: DynamicTable) -> dg.AssetKey:
    """Return the key of the asset that stands for the table's source."""
    return dg.AssetKey([_SNOWFLAKE, table.source.lower()])


def snowflake_sources(tables: Sequence[DynamicTable]) -> list[dg.AssetSpec]:
    """Return the source of every declared dynamic table; no run materialises it."""
    return [_source_spec(table) for table in tables]


def _source_spec(table: DynamicTable) -> dg.AssetSpec:
    read_from, place = _place(table)
    return dg.AssetSpec(
        source_key(table),
        description=f"The table {table.source} in Snowflake: {table.description}\n\n{read_from}",
        group_name=_SNOWFLAKE,
        owners=[table.owner],
        kinds={"snowflake"},
        metadata={"dagster/column_schema": _columns(table), **place, **source_links(table)},
    )


def _place(table: DynamicTable) -> tuple[str, dict[str, str]]:
    """Return which object of which account the settings name; nothing connects."""
    from flux_assets.snowflake.mapping import parts
    from flux_assets.snowflake.overrides import load_overrides

    try:
        settings = load_settings()
        override = load_overrides(settings.flux_config).sources.get(table.source)
    except SettingError:
        return "Its origin is unknown: a setting is illegal. `flux-assets doctor` names it.", {}
    own = (override and override.object) or table.source
    names = parts(own) or (own,)
    full = ".".join((settings.snowflake_database, settings.snowflake_schema)[: 3 - len(names)] + tuple(names))
    if settings.source_is_stand_in:
        account, of = STAND_IN, "the stand-in, which is simulated"
    elif settings.snowflake_account not in {None, STAND_IN}:
        account, of = str(settings.snowflake_account), f"the Snowflake account {settings.snowflake_account}"
    else:
        return f"It is {full}, of no account yet: set SNOWFLAKE_ACCOUNT.", {"dagster/table_name": full}
    return f"It is read from {full} of {of}.", {"dagster/table_name": full, "account": account}


def _columns(table: DynamicTable) -> dg.TableSchema:
    """Return the columns that are read, with what each feeds.

    Their types are those that they become: the source's own may be any that can be read as such.
    """
    types = {column.name: type_ddl(column) for column in table.columns}
    return dg.TableSchema(
        [
            dg.TableColumn(
                column.names[0],
                types[column.target],
                description=_description(column),
                constraints=dg.TableColumnConstraints(other=["required"] if column.required else []),
            )
            for column in table.source_columns
        ]
    )


def _description(column: SourceColumn) -> str:
    others = " or ".join(column.names[1:])
    return f"Feeds {column.target}" + (f"; where there is none of this name, {others} does." if others else ".")
