"""What a step needs from outside: the database of the layers and the release they come from.

Here: Dagster resources that find both when a step first asks, so that definitions load without any database
and an error of one end stops only the steps that need that end. Not here: which end it is (embedded/).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING

import dagster as dg

from flux_assets.postgis.connect import Target
from flux_assets.settings import Settings, load_settings

if TYPE_CHECKING:
    from flux_assets.release.source import Release

_releases: dict[Settings, Release] = {}
_finding = Lock()  # steps of a run are threads; the first to ask starts the server or makes the sample, the others wait


class PostgisResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The PostGIS database that layers are published in; the embedded one is started when none is configured."""

    def target(self) -> Target:
        """The database; raises SettingError or EmbeddedError when there is none to be had."""
        with _finding:
            return _target(load_settings())


class ReleaseResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The release that layers are loaded from; the sample city where the contract allows it."""

    def release(self, log: Callable[[str], None]) -> Release:
        """The release; raises SettingError when one must be named and is not, ReleaseError when it cannot be had."""
        from flux_assets.embedded.release import layer_release

        settings = load_settings()
        with _finding:
            if settings not in _releases:
                _releases[settings] = layer_release(settings, log)
            return _releases[settings]


@cache
def _target(settings: Settings) -> Target:
    from flux_assets.embedded.target import postgis_target

    return postgis_target(settings)
