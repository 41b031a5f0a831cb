"""Which releases a version belongs to: the file of a layer that did not change is in several.

Here: noting the release that publishes a version, and further ones; the question whether it is of one. Not here:
choosing a version by it.
"""

from __future__ import annotations

from dataclasses import replace

import psycopg
from psycopg import sql

from flux_assets.layers.versions import Version
from flux_assets.postgis.names import Layer
from flux_assets.sqlfiles import query


def note_release(connection: psycopg.Connection, layer: Layer, version: Version, tag: str) -> None:
    """Note that release `tag` holds this version too; nothing is written when that is known."""
    for statement in noting_release(layer, version, tag):
        connection.execute(statement)


def noting_release(layer: Layer, version: Version, tag: str) -> list[sql.Composed]:
    """Make the statement that notes release `tag` for this version; none when that is known."""
    return [] if is_of(version, tag) else [_statement("further_tag", layer, version, tag)]


def retag(connection: psycopg.Connection, layer: Layer, version: Version, tag: str) -> Version:
    """Have a version that was staged and never published be of release `tag`; any other stays as it is."""
    if version.state != "staged" or version.release_tag == tag:
        return version
    connection.execute(_statement("release_tag", layer, version, tag))
    return replace(version, release_tag=tag)


def is_of(version: Version, tag: str) -> bool:
    """Tell whether the version is one of release `tag`."""
    return tag == version.release_tag or tag in version.further_tags


def _statement(name: str, layer: Layer, version: Version, tag: str) -> sql.Composed:
    return query("versions", name).format(
        schema=sql.Literal(layer.schema), name=sql.Literal(layer.name), lease=sql.Literal(version.lease),
        tag=sql.Literal(tag),
    )  # fmt: skip
