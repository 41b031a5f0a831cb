"""Which release to load: the configured one, or the sample city where none is configured and that is allowed.

Here: the decision, and making the sample release once. Not here: reading a release (release/) and how the
city is drawn up (city/).
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from flux_assets.errors import SettingError
from flux_assets.release.limits import Limits
from flux_assets.release.source import Release
from flux_assets.settings import Settings
from flux_assets.tables import static_tables

SAMPLE = "sample"
SCALE, SEED = 0.05, 7


def layer_release(settings: Settings, log: Callable[[str], None] = lambda _: None) -> Release:
    """The release that layers are loaded from; the sample city is made when none is configured.

    Raises SettingError where a configured release is demanded: in profile production, and for a database that
    the user named, into which sample rows go only when FLUX_RELEASE=sample asks for them.
    """
    address = settings.flux_release
    if address is not None and address != SAMPLE:
        return _opened(settings, address)
    if settings.flux_profile == "production":
        raise SettingError(
            "FLUX_RELEASE names no release, and profile production provides none.",
            "Set FLUX_RELEASE to a folder or to an https://, s3://, gs:// or abfs:// prefix with the layers' files.",
        )
    if address is None and settings.target_is_set:
        raise SettingError(
            "FLUX_RELEASE is not set, and the sample city does not go into a database of yours unasked.",
            "Set FLUX_RELEASE to the release's folder or URL prefix, or FLUX_RELEASE=sample to load the sample city.",
        )
    return _opened(settings, str(sample_release(settings.flux_home, log)))


def sample_release(home: Path, log: Callable[[str], None]) -> Path:
    """The folder of the sample release under `home`, made when it is not there; two at once make it once."""
    folder = home / "release" / f"sample-city-{SCALE:g}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone(folder.parent / ".lock"):
        if not folder.is_dir():
            log(f"Making the sample city of scale {SCALE:g} in {folder}; this happens once.")
            unfinished = folder.with_name(f"{folder.name}.unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            _make_city(unfinished)
            unfinished.rename(folder)
    return folder


def _make_city(folder: Path) -> None:
    from flux_assets.embedded.city.release_writer import write_release

    write_release(folder, static_tables(), scale=SCALE, seed=SEED)


def _opened(settings: Settings, address: str) -> Release:
    limits = Limits(largest=settings.flux_download_limit)
    return Release(address, settings.flux_release_tag, settings.flux_home / "releases", limits=limits)


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
