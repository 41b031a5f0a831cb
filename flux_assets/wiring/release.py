"""Which release to load: the configured one, or the sample city where none is configured and that is allowed."""

from __future__ import annotations

from collections.abc import Callable

from flux_assets.errors import SettingError
from flux_assets.release.release import Release
from flux_assets.release.stores import Limits
from flux_assets.sample.release import SCALE as SAMPLE_SCALE
from flux_assets.sample.release import sample_release
from flux_assets.settings import SAMPLE, Settings

__all__ = ["SAMPLE_SCALE", "layer_release"]


def layer_release(settings: Settings, log: Callable[[str], None] = lambda _: None) -> Release:
    """Return the release that layers are loaded from; the sample city is written when none is configured.

    Raises SettingError where a release must be configured: in profile production, and for a target that the user set,
    which gets sample rows only with FLUX_RELEASE=sample.
    """
    address = settings.flux_release
    if address is not None and address != SAMPLE:
        return _opened(settings, address)
    if settings.flux_profile == "production":
        raise SettingError(
            "FLUX_RELEASE names no release, and profile production provides none.",
            "Set FLUX_RELEASE to a folder or to an https://, s3://, gs:// or abfs:// prefix with the layer files.",
        )
    if address is None and settings.target_is_set:
        raise SettingError(
            "FLUX_RELEASE is not set, and the sample city is loaded into your database only on request.",
            "Set FLUX_RELEASE to the release's folder or URL prefix, or FLUX_RELEASE=sample to load the sample city.",
        )
    return _opened(settings, str(sample_release(settings.flux_home, log)))


def _opened(settings: Settings, address: str) -> Release:
    limits = Limits(largest=settings.flux_download_limit)
    return Release(address, settings.flux_release_tag, settings.flux_home / "releases", limits=limits)
