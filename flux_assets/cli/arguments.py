"""What the arguments and settings of a command mean: the target database, a table by name, the options of a load."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, TypeVar

from flux_assets.errors import LayerError, SyncError

if TYPE_CHECKING:
    from flux_assets.layers.context import LoadOptions
    from flux_assets.postgis.session import Target
    from flux_assets.settings import Settings
    from flux_assets.spec import DynamicTable, StaticTable

_T = TypeVar("_T")


def the_target() -> Target:
    """Return the database of the published tables."""
    from flux_assets.settings import load_settings
    from flux_assets.wiring.target import postgis_target

    return postgis_target(load_settings())


def the_layer(name: str) -> StaticTable:
    """Return the declared layer of that name. Raises LayerError, which names close matches and all layers."""
    from flux_assets.tables import dynamic_tables, static_tables

    layers = {table.name: table for table in static_tables()}
    if name in {table.name for table in dynamic_tables()}:
        problem = f"{name} is not a layer: it is synced from Snowflake, by `flux-assets sync {name}`."
        raise LayerError(problem, _all("layers", layers))
    return _known(name, layers, "layer", LayerError)


def the_synced_table(name: str) -> DynamicTable:
    """Return the declared synced table of that name. Raises SyncError, which names close matches and all of them."""
    from flux_assets.tables import dynamic_tables, static_tables

    tables = {table.name: table for table in dynamic_tables()}
    if name in {table.name for table in static_tables()}:
        problem = f"{name} is not synced: it is loaded from a release, by `flux-assets load {name}`."
        raise SyncError(problem, _all("synced tables", tables))
    return _known(name, tables, "synced table", SyncError)


def _known(name: str, tables: Mapping[str, _T], what: str, kind: type[LayerError] | type[SyncError]) -> _T:
    if name not in tables:
        raise kind(f"There is no {what} {name!r}.{did_you_mean(name, tables)}", _all(f"{what}s", tables))
    return tables[name]


def _all(what: str, names: Iterable[str]) -> str:
    return f"The {what} are {', '.join(names)}."


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a space and a sentence with the names close to an unknown one; an empty string where none is close."""
    plain = name.strip().lower().replace("-", "_").replace(" ", "_")
    close = difflib.get_close_matches(plain, list(known), n=3, cutoff=0.6)
    return f" Did you mean {' or '.join(close)}?" if close else ""


def load_options(settings: Settings) -> LoadOptions:
    """Return the options of a load or rollback that the settings hold."""
    from flux_assets.layers.context import LoadOptions

    return LoadOptions(
        publish_wait=settings.flux_publish_wait,
        keep_versions=settings.flux_keep_versions,
        keep_bytes=settings.flux_keep_bytes,
        disk_limit=settings.flux_disk_limit,
    )
