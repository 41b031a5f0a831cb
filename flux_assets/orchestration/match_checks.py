"""The checks `matches_release` and `matches_source`, which read every row again where it came from, and compare.

They leave out tables that their own run materialises. Dagster reads config and resources from the annotations.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import dagster as dg
from pydantic import Field

from flux_assets.compare.match import CLAIMS, MATCHES_RELEASE, MATCHES_SOURCE
from flux_assets.errors import FluxError, LayerError, SettingError
from flux_assets.orchestration.checks import check_results, log_outcomes, without_outcome
from flux_assets.orchestration.dagster_internals import LayerFailure
from flux_assets.orchestration.executor import stop_of
from flux_assets.orchestration.names import Names
from flux_assets.orchestration.resources import PostgisResource, ReleaseResource, WarehouseResource
from flux_assets.spec import Declaration, DynamicTable, StaticTable

if TYPE_CHECKING:
    from flux_assets.checks.audit import AuditResult

_Results = Iterator[dg.AssetCheckResult | dg.Output[None]]
_Table = TypeVar("_Table", bound=Declaration)
_Outcomes = Iterable[tuple[str, "AuditResult | FluxError"]]
_CONSEQUENCE = {
    MATCHES_RELEASE: "ERROR: somebody changed rows; WARN: the release holds another file by now. Reads the whole file"
    " and the whole table, so it runs weekly and when asked, not with a load:"
    " `dagster job execute -m flux_assets.definitions -j check_static_layers_match`.",
    MATCHES_SOURCE: "ERROR: do not trust the table; WARN: the next sync may explain the difference. Takes warehouse"
    " time, so it runs nightly and when asked, not with a sync:"
    " `dagster job execute -m flux_assets.definitions -j check_dynamic_tables_match`.",
}


class _MatchConfig(dg.Config):
    """What one run may ask of a comparison."""

    tables: list[str] = Field(default=[], description="Names of the tables to compare; all that are selected if empty.")


def match_keys(tables: Iterable[Declaration], name: str, names: Names) -> list[dg.AssetCheckKey]:
    """Return the keys of the check `name` of the tables."""
    return [names.check(table.name, name) for table in tables]


def _specs(tables: Iterable[Declaration], name: str, names: Names) -> list[dg.AssetCheckSpec]:
    description = f"{CLAIMS[name]} {_CONSEQUENCE[name]}"
    return [dg.AssetCheckSpec(name, asset=names.key(table.name), description=description) for table in tables]


def release_match(tables: Sequence[StaticTable], names: Names) -> dg.AssetChecksDefinition:
    """Return `matches_release` of every layer, as one step."""

    @dg.multi_asset_check(
        name=names.named("match_static_layers"),
        specs=_specs(tables, MATCHES_RELEASE, names),
        can_subset=True,
        required_resource_keys={PostgisResource.key(names), ReleaseResource.key(names)},
    )
    def match_static_layers(context: dg.AssetCheckExecutionContext, config: _MatchConfig) -> _Results:
        from flux_assets.compare.release import match_release

        postgis, release = PostgisResource.of(context, names), ReleaseResource.of(context, names)

        def compare(asked: dict[str, StaticTable]) -> _Outcomes:
            log, stop = context.log.info, stop_of(context.run.run_id)
            return match_release([*asked.values()], release.release(log), postgis.target(), stop, log)

        yield from _compared(context, config, {names.key(table.name): table for table in tables}, compare)

    return match_static_layers


def source_match(tables: Sequence[DynamicTable], names: Names) -> dg.AssetChecksDefinition:
    """Return `matches_source` of every dynamic table, as one step."""

    @dg.multi_asset_check(
        name=names.named("match_dynamic_tables"),
        specs=_specs(tables, MATCHES_SOURCE, names),
        can_subset=True,
        required_resource_keys={PostgisResource.key(names), WarehouseResource.key(names)},
    )
    def match_dynamic_tables(context: dg.AssetCheckExecutionContext, config: _MatchConfig) -> _Results:
        from flux_assets.compare.source import match_source

        postgis, snowflake = PostgisResource.of(context, names), WarehouseResource.of(context, names)

        def compare(asked: dict[str, DynamicTable]) -> _Outcomes:
            log, stop = context.log.info, stop_of(context.run.run_id)
            opening = snowflake.opening(context.run.run_id, asked, log)
            return match_source(asked, snowflake.family(tables), opening, postgis.target(), stop, log)

        yield from _compared(context, config, {names.key(table.name): table for table in tables}, compare)

    return match_dynamic_tables


def _compared(
    context: dg.AssetCheckExecutionContext,
    config: _MatchConfig,
    tables: Mapping[dg.AssetKey, _Table],
    compare: Callable[[dict[str, _Table]], _Outcomes],
) -> _Results:
    """Yield each outcome as it comes, and log it, which is all that a command line shows.

    Tables that could not be compared fail the step once the others are recorded.
    """
    failed: list[FluxError] = []
    with LayerFailure.translated():
        asked = _asked(context, config, tables)
        keys = {tables[key].name: key for key in asked}
        left = [key for key in context.selected_asset_check_keys if key.asset_key not in asked]
        yield from without_outcome(context.job_def, left)
        for name, outcome in compare({name: tables[key] for name, key in keys.items()}) if asked else ():
            if isinstance(outcome, FluxError):
                failed.append(outcome)
            else:
                log_outcomes(name, [outcome], context.log)
                yield from check_results(keys[name], [outcome], {outcome.name})
        if failed:
            raise failed[0] if len(failed) == 1 else LayerError("\n".join(map(str, failed)))


def _asked(
    context: dg.AssetCheckExecutionContext, config: _MatchConfig, tables: Mapping[dg.AssetKey, Declaration]
) -> list[dg.AssetKey]:
    """Return the tables to compare: selected, named by the config if that names any, not materialised."""
    known = {table.name: key for key, table in tables.items()}
    if unknown := set(config.tables) - known.keys():
        raise SettingError(f"No such table: {', '.join(sorted(unknown))}.", f"There are {', '.join(known)}.")
    materialised = context.job_def.asset_layer.selected_asset_keys
    selected = {key.asset_key for key in context.selected_asset_check_keys}
    if left_out := sorted(tables[key].name for key in selected & materialised):
        context.log.info(f"A run that materialises a table does not compare it: {', '.join(left_out)}.")
    return [known[name] for name in config.tables or known if known[name] in selected - materialised]
