"""Which version of each layer belongs to a release."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

from flux_assets.errors import LayerError
from flux_assets.layers import indexes, versions
from flux_assets.layers.versions import Version, is_of
from flux_assets.postgis.names import Layer


@dataclass(frozen=True, kw_only=True)
class ReleaseVersions:
    """The version of a release that each layer has to go back to, and of those that are at it already."""

    moving: dict[Layer, Version]
    staying: dict[Layer, Version]


def versions_of(connection: psycopg.Connection, layers: Sequence[Layer], tag: str) -> ReleaseVersions:
    """Return the versions of release `tag`; layers that were never published are left out.

    Raises LayerError naming every layer of which no version of the release is kept, and what there is of it.
    """
    moving: dict[Layer, Version] = {}
    staying: dict[Layer, Version] = {}
    lacking: list[str] = []
    for layer in layers:
        published = [version for version in versions.versions(connection, layer) if version.state == "published"]
        if not published:
            continue
        fitting = [version for version in published if is_of(version, tag)]
        current = next((version for version in fitting if version.current), None)
        if current is not None and versions.live_version(connection, layer) is not None:
            staying[layer] = current
        elif whole := [version for version in fitting if _can_be_published(connection, version)]:
            moving[layer] = max(whole, key=lambda version: version.published_at or version.staged_at)
        else:
            lacking.append(f"{layer.title} (has {_releases(published)})")
    if lacking or not (moving or staying):
        raise LayerError(
            f"No layer was rolled back: no whole version of release {tag} is kept of"
            f" {'; '.join(lacking) or 'any layer'}.",
            "See `flux-assets versions`; load that release instead (FLUX_RELEASE), or roll single layers back."
            " FLUX_KEEP_VERSIONS and FLUX_KEEP_BYTES say what is kept.",
        )
    return ReleaseVersions(moving=moving, staying=staying)


def _can_be_published(connection: psycopg.Connection, version: Version) -> bool:
    return not version.current and indexes.is_whole(connection, version.relation, version.rows)


def _releases(published: Sequence[Version]) -> str:
    tags = dict.fromkeys(tag for version in published for tag in (version.release_tag, *version.further_tags))
    return ", ".join(tags)
