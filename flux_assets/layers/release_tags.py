"""Which releases a version belongs to: the file of a layer that did not change is in several.

Here: noting the release that publishes a version, and further ones; the question whether it is of one. Not here:
choosing a version by it.
"""

from __future__ import annotations

from dataclasses import replace

import psycopg

from flux_assets.layers.versions import Version
from flux_assets.postgis.names import Layer


def note_release(connection: psycopg.Connection, layer: Layer, version: Version, tag: str) -> None:
    """Note that release `tag` holds this version too; nothing is written when that is known."""
    if not is_of(version, tag):
        connection.execute(
            "UPDATE postgres_sync.layer_versions SET further_tags = further_tags || %s::text"
            " WHERE schema_name = %s AND layer_name = %s AND lease = %s AND %s::text <> ALL (further_tags)",
            [tag, layer.schema, layer.name, version.lease, tag],
        )


def retag(connection: psycopg.Connection, layer: Layer, version: Version, tag: str) -> Version:
    """Have a version that was staged and never published be of release `tag`; any other stays as it is."""
    if version.state != "staged" or version.release_tag == tag:
        return version
    connection.execute(
        "UPDATE postgres_sync.layer_versions SET release_tag = %s"
        " WHERE schema_name = %s AND layer_name = %s AND lease = %s",
        [tag, layer.schema, layer.name, version.lease],
    )
    return replace(version, release_tag=tag)


def is_of(version: Version, tag: str) -> bool:
    """Whether the version is one of release `tag`."""
    return tag == version.release_tag or tag in version.further_tags
