"""A whole release: all of its layers are staged and audited, and then published in one transaction, or none is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import psycopg

from flux_assets.errors import FluxError
from flux_assets.load import LoadResult, load_layer
from flux_assets.loading.options import LoadOptions
from flux_assets.loading.together import Together
from flux_assets.postgis import leases
from flux_assets.postgis.connect import Stop, Target
from flux_assets.postgis.faults import ours
from flux_assets.postgis.prerequisites import prepare
from flux_assets.release.source import Release
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
    wait = max(options.publish_wait for options in tables.values())
    stop = next(iter(tables.values())).stop
    try:
        return _loaded(tables, release, target, log, wait, stop, parallel=parallel, strict=strict)
    except psycopg.Error as error:
        raise ours(f"Release {release.tag}", error, stop) from error


def _loaded(  # noqa: PLR0913 - what load_release was given, and what it made of it
    tables: Mapping[StaticTable, LoadOptions],
    release: Release,
    target: Target,
    log: Callable[[str], None],
    wait: timedelta,
    stop: Stop,
    *,
    parallel: int,
    strict: bool,
) -> dict[str, LoadResult | FluxError]:
    together = Together(target=target, expected={table.name for table in tables}, parallel=parallel, strict=strict)

    def load(table: StaticTable, options: LoadOptions) -> LoadResult | FluxError:
        try:
            with together.part(table.name):
                asked = replace(options, together=together, stop=stop)
                result = load_layer(table, release, target, asked, log)
                if result.outcome == "pinned":
                    together.hold(table.name)
                return result
        except FluxError as error:
            return error

    largest_first = sorted(tables, key=lambda table: -table.release_rows)
    with target.session("release", stop) as session:
        prepare(session, target.schema)
        with (
            leases.release_leased(session, target, wait, stop),
            # A thread each, for those that wait for the others take none of the places of those that work.
            ThreadPoolExecutor(len(tables), thread_name_prefix="release") as pool,
        ):
            found = pool.map(lambda table: load(table, tables[table]), largest_first)
            try:
                return dict(zip([table.name for table in largest_first], found, strict=True))
            except BaseException:  # Ctrl-C: the pool waits for its threads
                stop.request()
                raise
