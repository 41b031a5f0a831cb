"""What exists: one module per table, each exporting TABLE, and one per view, exporting VIEW.

A new one is a new module here, or in a folder or package that FLUX_TABLES or an entry point of the group
`flux_assets.tables` names, with a file of SQL beside it where it is computed, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.metadata import entry_points

from flux_assets.settings import DefinitionSettings
from flux_assets.spec import DynamicTable, StaticTable, View
from flux_assets.spec.catalogue import Catalogue


def catalogue(settings: DefinitionSettings | None = None) -> Catalogue:
    """Return what is declared, as these settings say, else those of the process.

    Raises SettingError for one that is illegal, FluxError for a declaration that is wrong, with its file and line.
    """
    chosen = settings or DefinitionSettings.load()
    return _catalogue(chosen.flux_tables, chosen.flux_without)


@cache
def _catalogue(places: tuple[str, ...], without: tuple[str, ...]) -> Catalogue:
    named = [entry.value for entry in entry_points(group=__name__)]
    return Catalogue.read(__name__, (*places, *named), without)


@cache
def built_in() -> Catalogue:
    """Return what flux_assets itself declares, whatever the settings say."""
    return Catalogue.read(__name__)


def declarations() -> tuple[StaticTable | DynamicTable, ...]:
    """Every declared table: layers of a release, computed layers, each after its inputs, and synced tables."""
    return catalogue().tables


def layers() -> tuple[StaticTable, ...]:
    """Every declared layer, also the computed ones."""
    return catalogue().layers


def static_tables() -> tuple[StaticTable, ...]:
    """The layers that a release has a file of."""
    return catalogue().static


def views() -> tuple[View, ...]:
    """The declared views, each after those that it reads."""
    return catalogue().views


def following(names: Iterable[str]) -> list[str]:
    """Return what is computed from these tables, or reads them, each after its inputs."""
    return catalogue().following(names)


def dynamic_tables() -> tuple[DynamicTable, ...]:
    """The declared synced tables."""
    return catalogue().dynamic


def unsimulated(settings: DefinitionSettings) -> list[DynamicTable]:
    """Return the synced tables whose source the stand-in has without rows: those that are not flux_assets' own."""
    simulated = {table.source for table in built_in().dynamic}
    return [table for table in catalogue(settings).dynamic if table.source not in simulated]
