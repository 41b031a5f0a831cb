"""Which releases a version belongs to: the file of a layer that did not change is in several.

Here: noting a further release of a version, and the question whether one is. Not here: choosing a version by it.
"""

from __future__ import annotations

import psycopg

from flux_assets.postgis.layer import Layer
from flux_assets.postgis.register import Version


def note_release(connection: psycopg.Connection, layer: Layer, version: Version, tag: str) -> None:
    """Note that release `tag` holds this version too; nothing is written when that is known."""
    if not is_of(version, tag):
        connection.execute(
            "UPDATE postgres_sync.layer_versions SET further_tags = further_tags || %s::text"
            " WHERE schema_name = %s AND layer_name = %s AND lease = %s AND %s::text <> ALL (further_tags)",
            [tag, layer.schema, layer.name, version.lease, tag],
        )


def is_of(version: Version, tag: str) -> bool:
    """Whether the version is one of release `tag`."""
    return tag == version.release_tag or tag in version.further_tags
