"""A manifest's row count against what the register knows of the file: a file that is not read again is judged by that.

Not here: the count of a file that is being read, which is an audit of the version (postgis/blocking.py).
"""

from __future__ import annotations

from flux_assets.errors import ManifestError, counted
from flux_assets.layers.context import LoadContext
from flux_assets.layers.quarantine import records
from flux_assets.layers.versions import Version
from flux_assets.release.release import ReleaseFile


def refuse_contradiction(shop: LoadContext, file: ReleaseFile, version: Version, waiting: int | None = None) -> None:
    """Raise ManifestError when the manifest says another count than the file had when `version` was made of it.

    `waiting` records are missing in the version, as far as that is known.
    """
    if file.rows is None or version.rows is None:
        return
    aside = records.waiting(shop.control, shop.layer, version.lease) if waiting is None else waiting
    if version.rows + aside == file.rows:
        return
    parts = f" ({version.rows:,} in the table, {aside:,} in quarantine)" if aside else ""
    raise ManifestError(
        f"{file.address}: the manifest says {counted(file.rows, 'row')}, and the register says"
        f" {version.rows + aside:,}{parts}: the file has the very bytes that version {version.version[:12]} of"
        f" {shop.layer.title} was made of.",
        "Write the manifest anew with the count of this file, or deliver the file that the manifest speaks of."
        " What is published stays.",
    )
