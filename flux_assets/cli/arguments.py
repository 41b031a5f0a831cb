"""What the arguments and settings of a command mean: the target database, a table by name, the options of a load."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from flux_assets.errors import FluxError, LayerError, SyncError

if TYPE_CHECKING:
    from flux_assets.layers.context import LoadOptions
    from flux_assets.postgis.session import Target
    from flux_assets.settings import Settings
    from flux_assets.spec import Declaration, DynamicTable, StaticTable

_T = TypeVar("_T", bound="Declaration")


def the_target() -> Target:
    """Return the database of the published tables."""
    from flux_assets.settings import load_settings
    from flux_assets.wiring.target import postgis_target

    return postgis_target(load_settings())


def the_layer(name: str) -> StaticTable:
    """Return the declared layer of that name. Raises LayerError, which names close matches and all layers."""
    from flux_assets.tables import dynamic_tables, static_tables

    synced = f"{name} is not a layer: it is synced from Snowflake, by `flux-assets sync {name}`."
    elsewhere = synced if name in {table.name for table in dynamic_tables()} else None
    return one_of(static_tables(), "layer", name, elsewhere)


def the_synced_table(name: str) -> DynamicTable:
    """Return the declared synced table of that name. Raises SyncError, which names close matches and all of them."""
    from flux_assets.tables import dynamic_tables, static_tables

    loaded = f"{name} is not synced: it is loaded from a release, by `flux-assets load {name}`."
    elsewhere = loaded if name in {table.name for table in static_tables()} else None
    return one_of(dynamic_tables(), "synced table", name, elsewhere, SyncError)


def one_of(
    tables: Sequence[_T], what: str, name: str, problem: str | None = None, error: type[FluxError] = LayerError
) -> _T:
    """Return the table of that name. Raises `error` with the problem, or with close matches, and all of their names."""
    named = {table.name: table for table in tables}
    if name not in named:
        plain = name.strip().lower().replace("-", "_").replace(" ", "_")
        close = difflib.get_close_matches(plain, list(named), n=3, cutoff=0.6)
        meant = f" Did you mean {' or '.join(close)}?" if close else ""
        raise error(problem or f"There is no {what} {name!r}.{meant}", f"The {what}s are {', '.join(named)}.")
    return named[name]


def load_options(settings: Settings) -> LoadOptions:
    """Return the options of a load or rollback that the settings hold."""
    from flux_assets.layers.context import LoadOptions

    return LoadOptions(
        publish_wait=settings.flux_publish_wait,
        keep_versions=settings.flux_keep_versions,
        keep_bytes=settings.flux_keep_bytes,
        disk_limit=settings.flux_disk_limit,
    )
