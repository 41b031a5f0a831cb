"""A load that publishes nothing because its layer is pinned.

Here: what such a load says and leaves, and when it fails instead. Not here: the refusal inside the publish transaction
(postgis/pins.py), pinning (pinning.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from flux_assets.errors import PinnedError
from flux_assets.layers import pins
from flux_assets.layers.context import LoadContext
from flux_assets.layers.pins import Pin
from flux_assets.layers.versions import Version
from flux_assets.ledger.entries import Entry


@dataclass(frozen=True, kw_only=True)
class HeldLoad:
    """What a load left unpublished: the release's version, its file and release, and whether it is staged already."""

    version: str
    sha256: str
    release_tag: str
    staged: bool

    def __str__(self) -> str:
        kept = "staged and audited already" if self.staged else "not staged"
        return f"version {self.version[:12]} of release {self.release_tag} was not published ({kept})"


def hold(shop: LoadContext, live: Version | None, entry: Entry, pin: Pin, held: HeldLoad) -> Version:
    """End a load of a pinned layer well; returns the version that stays, which is the `live` one.

    Raises PinnedError when the version that the layer is pinned to is not what readers see: that calls for a person.
    """
    layer = shop.layer
    if live is None or live.version != pin.version:
        raise PinnedError(
            f"{layer.title} is {pin}, but readers do not see that version any more.",
            f"Run `flux-assets unpin {layer.name}` and load again.",
        )
    pins.record_held(shop.control, entry, live.version, held.version)
    forced = "; force: true does not override a pin" if shop.options.force else ""
    shop.log(f"{layer.title} is {pin}: {held}{forced}. `flux-assets unpin {layer.name}` lets the next load publish it.")
    return live
