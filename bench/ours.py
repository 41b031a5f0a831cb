"""Our way: the engine as the assets call it.

Here: one layer, and ten in a pool as the executor runs them. Not here: Dagster (whole.py runs the real command).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from unittest.mock import patch

from flux_assets.checks import audits
from flux_assets.layers.context import LoadOptions
from flux_assets.layers.load import LoadResult, load_layer
from flux_assets.postgis.connect import Target
from flux_assets.release.release import Release
from flux_assets.spec import StaticTable


def quiet(_: str) -> None:
    """A log that nobody reads."""


def load(
    table: StaticTable,
    release: Release,
    target: Target,
    *,
    force: bool = True,
    log: Callable[[str], None] = quiet,
) -> LoadResult:
    """Load one layer into wherever it was published before."""
    return load_layer(table, release, target, LoadOptions(force=force, accept_fewer_rows=True), log)


def load_all(
    tables: Sequence[StaticTable], release: Release, target: Target, at_once: int, *, force: bool = False
) -> dict[str, LoadResult]:
    """Load layers side by side on threads, the longest first."""
    longest_first = sorted(tables, key=lambda table: -table.release_rows)
    with ThreadPoolExecutor(at_once) as pool:
        results = pool.map(lambda table: load(table, release, target, force=force), longest_first)
        return {table.name: result for table, result in zip(longest_first, results, strict=True)}


@contextmanager
def without_audits() -> Iterator[None]:
    """While the block runs, loads judge nothing but what decoding judges on its way."""
    with patch.object(audits, "run_audits", lambda *_, **__: ()):
        yield
