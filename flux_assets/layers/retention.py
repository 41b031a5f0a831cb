"""How many earlier versions of a layer are kept, by number and by bytes.

Here: the choice. Not here: dropping the others (publish.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import psycopg

from flux_assets.layers import pins
from flux_assets.layers import versions as register
from flux_assets.layers.versions import Version
from flux_assets.postgis import catalog
from flux_assets.postgis.names import VERSIONS, Layer


@dataclass(frozen=True, kw_only=True)
class Retention:
    """The most earlier versions of a layer to keep, and the most bytes that they may take together."""

    versions: int = 1
    bytes: int | None = None

    def newest(self, versions: Iterable[Version]) -> Iterator[Version]:
        """Those of `versions`, the newest first, that may stay: none behind the first that there is no room for."""
        taken = 0
        for count, version in enumerate(versions, 1):
            taken += version.bytes or 0
            if count > self.versions or (self.bytes is not None and taken > self.bytes):
                return
            yield version


def worth_keeping(
    connection: psycopg.Connection, layer: Layer, found: Iterable[Version], retention: Retention
) -> set[int]:
    """Leases of the earlier versions to keep: published ones with their tables, and a pinned one in any case.

    Another copy of the current version is no earlier version.
    """
    current = {version.version for version in register.versions(connection, layer) if version.current}
    earlier = [v for v in found if v.state == "published" and v.version not in current]
    earlier.sort(key=lambda version: version.published_at or version.staged_at, reverse=True)
    standing = [version for version in earlier if catalog.find(connection, VERSIONS, version.relation)]
    pin = pins.pin_of(connection, layer)
    pinned = {version.lease for version in standing if pin is not None and version.version == pin.version}
    return {version.lease for version in retention.newest(standing)} | pinned
