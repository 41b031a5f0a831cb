"""What commands are about: the target database, a table by its name, the options of a load.

Here: finding each in settings and declarations. Not here: the commands.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from flux_assets.errors import LayerError, SyncError

if TYPE_CHECKING:
    from flux_assets.loading.options import LoadOptions
    from flux_assets.postgis.connect import Target
    from flux_assets.settings import Settings
    from flux_assets.spec import DynamicTable, StaticTable


def the_target() -> Target:
    """The database of the published tables."""
    from flux_assets.embedded.target import postgis_target
    from flux_assets.settings import load_settings

    return postgis_target(load_settings())


def the_layer(name: str) -> StaticTable:
    """The declared layer of that name. Raises LayerError naming what was meant, and all, when there is none."""
    from flux_assets.tables import dynamic_tables, static_tables

    layers = {table.name: table for table in static_tables()}
    if name in {table.name for table in dynamic_tables()}:
        raise LayerError(
            f"{name} is no layer: it is synced from Snowflake, by `flux-assets sync {name}`.",
            f"The layers are {', '.join(layers)}.",
        )
    if name not in layers:
        raise LayerError(
            f"There is no layer {name!r}.{did_you_mean(name, layers)}", f"The layers are {', '.join(layers)}."
        )
    return layers[name]


def the_synced_table(name: str) -> DynamicTable:
    """The declared synced table of that name. Raises SyncError naming what was meant, and all, when there is none."""
    from flux_assets.tables import dynamic_tables, static_tables

    tables = {table.name: table for table in dynamic_tables()}
    if name in {table.name for table in static_tables()}:
        raise SyncError(
            f"{name} is not synced: it is loaded from a release, by `flux-assets load {name}`.",
            f"The synced tables are {', '.join(tables)}.",
        )
    if name not in tables:
        raise SyncError(
            f"There is no synced table {name!r}.{did_you_mean(name, tables)}",
            f"The synced tables are {', '.join(tables)}.",
        )
    return tables[name]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence with the names that are close to one that does not exist, with a blank before it; else nothing."""
    plain = name.strip().lower().replace("-", "_").replace(" ", "_")
    close = difflib.get_close_matches(plain, list(known), n=3, cutoff=0.6)
    return f" Did you mean {' or '.join(close)}?" if close else ""


def load_options(settings: Settings) -> LoadOptions:
    """What a load or rollback is asked by the settings."""
    from flux_assets.loading.options import LoadOptions

    return LoadOptions(
        publish_wait=settings.flux_publish_wait,
        keep_versions=settings.flux_keep_versions,
        keep_bytes=settings.flux_keep_bytes,
        disk_limit=settings.flux_disk_limit,
    )
