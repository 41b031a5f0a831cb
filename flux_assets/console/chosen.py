"""What commands are about: the target database, a layer by its name, the options of a load.

Here: finding each in settings and declarations. Not here: the commands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flux_assets.errors import LayerError

if TYPE_CHECKING:
    from flux_assets.loading.options import LoadOptions
    from flux_assets.postgis.connect import Target
    from flux_assets.settings import Settings
    from flux_assets.spec import StaticTable


def the_target() -> Target:
    """The database of the published tables."""
    from flux_assets.embedded.target import postgis_target
    from flux_assets.settings import load_settings

    return postgis_target(load_settings())


def the_layer(name: str) -> StaticTable:
    """The declared layer of that name. Raises LayerError naming all when there is none."""
    from flux_assets.tables import static_tables

    layers = {table.name: table for table in static_tables()}
    if name not in layers:
        raise LayerError(f"There is no layer {name!r}.", f"The layers are {', '.join(layers)}.")
    return layers[name]


def load_options(settings: Settings) -> LoadOptions:
    """What a load or rollback is asked by the settings."""
    from flux_assets.loading.options import LoadOptions

    return LoadOptions(
        publish_wait=settings.flux_publish_wait,
        keep_versions=settings.flux_keep_versions,
        keep_bytes=settings.flux_keep_bytes,
        disk_limit=settings.flux_disk_limit,
    )
