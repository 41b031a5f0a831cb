"""The layers of one run, loaded as a whole release: by the first step that asks, for all of them.

A step in another process that asks as well waits for the first, and finds its layer current.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, wait
from threading import Lock
from typing import TYPE_CHECKING

import dagster as dg

from flux_assets.errors import FluxError
from flux_assets.orchestration.layers.config import LayerConfig
from flux_assets.orchestration.resources import PostgisResource, ReleaseResource
from flux_assets.postgis.connect import Stop
from flux_assets.settings import load_settings
from flux_assets.spec import StaticTable

if TYPE_CHECKING:
    from flux_assets.layers.load import LoadResult

_LOOK_SECONDS = 0.2
_first = Lock()
_loads: dict[str, _WholeRelease] = {}


class _WholeRelease:
    """The outcome of each layer of a run."""

    def __init__(self) -> None:
        self._found: Future[dict[str, LoadResult | FluxError]] = Future()

    def of(self, table: StaticTable, stop: Stop) -> LoadResult:
        """Return the result of one layer; raises the error that it, or all of them, ended with."""
        while not wait([self._found], timeout=_LOOK_SECONDS).done:
            stop.check()
        result = self._found.result()[table.name]
        if isinstance(result, FluxError):
            raise result
        return result

    def load(
        self,
        context: dg.AssetExecutionContext,
        among: Sequence[StaticTable],
        release: ReleaseResource,
        postgis: PostgisResource,
    ) -> None:
        """Load all layers of the run."""
        from flux_assets.layers.whole_release.load import load_release

        log = context.log.info
        try:
            keys = context.job_def.asset_layer.executable_asset_keys
            tables = [table for table in among if dg.AssetKey(table.name) in keys]
            asked = {table: _config(context, table).options(context.run.run_id, table.name) for table in tables}
            parallel = load_settings().flux_parallel_layers
            found = load_release(
                asked, release.release(log), postgis.target(), log, parallel=parallel, strict=release.is_strict()
            )
            self._found.set_result(found)
        except BaseException as error:
            self._found.set_exception(error)
            raise


def whole_release(
    context: dg.AssetExecutionContext, among: Sequence[StaticTable], release: ReleaseResource, postgis: PostgisResource
) -> _WholeRelease:
    """Load the layers of this run that are `among` these, or return what the first step to ask has loaded."""
    run_id = context.run.run_id
    with _first:
        if known := _loads.get(run_id):
            return known
        _loads.clear()  # of runs that this process had before
        found = _loads[run_id] = _WholeRelease()
    found.load(context, among, release, postgis)
    return found


def _config(context: dg.AssetExecutionContext, table: StaticTable) -> LayerConfig:
    """Return the config of the layer's own op, as Dagster has resolved it: values may come from the environment."""
    resolved = context.get_step_execution_context().resolved_run_config.ops
    return LayerConfig(**(resolved[table.name].config or {}))
