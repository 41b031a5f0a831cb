"""What a step needs from outside: the database of the layers and the release they come from.

Here: Dagster resources that find both when a step first asks, so that definitions load without any database
and an error of one end stops only the steps that need that end. Not here: which end it is (embedded/).
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Any, cast

import dagster as dg
from pydantic import PrivateAttr

from flux_assets.postgis.connect import Target
from flux_assets.settings import load_settings

if TYPE_CHECKING:
    from flux_assets.release.source import Release

_finding = Lock()  # steps of a run are threads; the first to ask starts the server or makes the sample, the others wait


class PostgisResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The PostGIS database that layers are published in; the embedded one is started when none is configured."""

    _target: Target | None = PrivateAttr(default=None)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002
        """Every run looks anew: the server of the last may have been stopped."""
        self._target = None

    def target(self) -> Target:
        """The database; raises SettingError or EmbeddedError when there is none to be had."""
        from flux_assets.embedded.target import postgis_target

        with _finding:
            self._target = self._target or postgis_target(load_settings())
            return self._target


class ReleaseResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The release that layers are loaded from; the sample city where none is set and that is allowed."""

    _release: Any = PrivateAttr(default=None)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002
        """Every run reads the manifest anew."""
        self._release = None

    def release(self, log: Callable[[str], None]) -> Release:
        """The release; raises SettingError when one must be named and is not, ReleaseError when it cannot be had."""
        from flux_assets.embedded.release import layer_release

        with _finding:
            self._release = self._release or layer_release(load_settings(), log)
            return cast("Release", self._release)
