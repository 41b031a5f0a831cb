"""A whole release: all of its layers are staged and audited, and then published in one transaction, or none is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psycopg

from flux_assets.errors import FluxError, reported
from flux_assets.layers import versions
from flux_assets.layers.context import LoadOptions
from flux_assets.layers.load import LoadResult, load_layer
from flux_assets.layers.versions import note_release
from flux_assets.layers.whole_release.together import Together
from flux_assets.ledger import leases
from flux_assets.postgis.bootstrap import prepare
from flux_assets.postgis.connect import Target
from flux_assets.postgis.errors import translate_error
from flux_assets.postgis.locking import LockRetries
from flux_assets.postgis.names import Layer
from flux_assets.release.release import Release
from flux_assets.spec import StaticTable


def load_release(
    tables: Mapping[StaticTable, LoadOptions],
    release: Release,
    target: Target,
    log: Callable[[str], None],
    *,
    parallel: int,
    strict: bool,
) -> dict[str, LoadResult | FluxError]:
    """Load these layers of a release as one; by name what became of each.

    At most `parallel` of them are staged at a time. With `strict`, references between layers that lead nowhere keep
    all of them from being published. Raises BusyError while another process loads a whole release for longer than
    the layers may wait, TargetError when there is no database.
    """
    if not tables:
        return {}
    stop = next(iter(tables.values())).stop
    patience = LockRetries(
        seconds=max(options.publish_wait.total_seconds() for options in tables.values()), log=log, stop=stop
    )
    try:
        return _loaded(tables, release, target, patience, parallel=parallel, strict=strict)
    except psycopg.Error as error:
        raise translate_error(f"Release {release.tag}", error, stop) from error


def _loaded(
    tables: Mapping[StaticTable, LoadOptions],
    release: Release,
    target: Target,
    patience: LockRetries,
    *,
    parallel: int,
    strict: bool,
) -> dict[str, LoadResult | FluxError]:
    together = Together(target=target, expected={table.name for table in tables}, parallel=parallel, strict=strict)

    def load(table: StaticTable, options: LoadOptions) -> LoadResult | FluxError:
        try:
            with together.part(table.name):
                asked = replace(options, stop=patience.stop)
                result = load_layer(table, release, target, asked, patience.log, together)
                if result.outcome == "pinned":
                    together.hold(table.name)
                return result
        except FluxError as error:
            return error

    largest_first = sorted(tables, key=lambda table: -table.release_rows)
    with target.session("release", patience.stop) as session:
        prepare(session, target.schema)
        with (
            leases.release_leased(session, target, patience),
            # A thread each, for those that wait for the others take none of the places of those that work.
            ThreadPoolExecutor(len(tables), thread_name_prefix="release") as pool,
        ):
            results = pool.map(lambda table: load(table, tables[table]), largest_first)
            try:
                found = dict(zip(largest_first, results, strict=True))
            except BaseException:  # Ctrl-C: the pool waits for its threads
                patience.stop.request()
                raise
        try:
            _note_unchanged(session, target, release.tag, found)
        except psycopg.Error as error:
            patience.log(
                f"Release {release.tag} is published; which versions belong to it too is left to the next run, because"
                f" of: {reported(error)}"
            )
    return {table.name: result for table, result in found.items()}


def _note_unchanged(
    session: psycopg.Connection, target: Target, tag: str, found: Mapping[StaticTable, LoadResult | FluxError]
) -> None:
    """Note that versions that were live before belong to this release too, once all of it is published."""
    if any(isinstance(result, FluxError) or result.outcome == "pinned" for result in found.values()):
        return
    unchanged = {
        Layer(target.schema, table): result.version
        for table, result in found.items()
        if not isinstance(result, FluxError) and result.outcome == "unchanged"
    }
    for layer, met in unchanged.items():
        version = versions.live_version(session, layer)
        # Somebody may have published another one since this release met it.
        if version is not None and version.version == met:
            note_release(session, layer, version, tag)
