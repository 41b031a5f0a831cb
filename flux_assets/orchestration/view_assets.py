"""How a declared view becomes an asset: its step makes it what the declaration says.

Annotations are evaluated here: Dagster reads resources from them.
"""

import hashlib
from collections.abc import Iterator

import dagster as dg

from flux_assets.layers.context import LoadOptions
from flux_assets.orchestration.checks import without_outcome
from flux_assets.orchestration.dagster_internals import LayerFailure
from flux_assets.orchestration.executor import stop_of
from flux_assets.orchestration.layer_assets import DERIVED, WHEN_INPUTS_CHANGE, are_loaded_too
from flux_assets.orchestration.names import Names
from flux_assets.orchestration.resources import PostgisResource
from flux_assets.orchestration.shown.metadata import view_metadata
from flux_assets.spec import View

_CHECK = "as_declared"


def view_check(view: View, names: Names) -> dg.AssetCheckSpec:
    """Return the check that the view is what its declaration says."""
    claim = "The view exists, and its query is the declared one. WARN: the next load makes it anew."
    return dg.AssetCheckSpec(_CHECK, asset=names.key(view.name), description=claim)


def view_asset(view: View, names: Names) -> dg.AssetsDefinition:
    """Return the asset of a view with its check; either can be selected without the other."""
    digest = hashlib.sha256(view.query.encode()).hexdigest()
    key, inputs = names.key(view.name), [names.key(name) for name in view.inputs]
    spec = dg.AssetSpec(
        key,
        description=view.description,
        group_name=names.group(DERIVED),
        owners=[view.owner],
        kinds={"postgres", "postgis", "view"},
        code_version=digest[:12],
        deps=inputs,
        automation_condition=WHEN_INPUTS_CHANGE,
        metadata=view_metadata(view, names),
        skippable=True,
    )

    @dg.multi_asset(
        name=names.named(view.name),
        specs=[spec],
        check_specs=[view_check(view, names)],
        can_subset=True,
        required_resource_keys={PostgisResource.key(names)},
    )
    def made(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult | dg.Output[None]]:
        from flux_assets.layers.computing import MissingInputsError
        from flux_assets.layers.views import columns_of, is_as_declared, make_view

        target, log = PostgisResource.of(context, names).target(), context.log.info
        wait = names.settings().flux_publish_wait
        options = LoadOptions(run_id=context.run.run_id, stop=stop_of(context.run.run_id), publish_wait=wait)
        with LayerFailure.translated():
            try:
                is_made = make_view(view, target, options, log) if context.selected_asset_keys else False
            except MissingInputsError as error:
                if not are_loaded_too(context, inputs):
                    raise
                log(str(error))
                yield from without_outcome(context.job_def, context.selected_asset_check_keys)
                return
            if context.selected_asset_keys:
                outcome = "made" if is_made else "unchanged"
                # What readers see through it changes with its inputs, which are assets of their own.
                version = dg.DataVersion(digest)
                columns = dg.TableSchema([dg.TableColumn(*each) for each in columns_of(view, target, options)])
                yield dg.MaterializeResult(
                    asset_key=key,
                    data_version=version,
                    metadata={"outcome": outcome, "dagster/column_schema": columns},
                )
            if context.selected_asset_check_keys:
                passed = is_as_declared(view, target, options)
                severity = dg.AssetCheckSeverity.WARN
                yield dg.AssetCheckResult(asset_key=key, check_name=_CHECK, passed=passed, severity=severity)

    return made
