"""What a download may cost in bytes, disk and time, and the watch over one that is under way."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from flux_assets.errors import ReleaseError
from flux_assets.words import megabytes

KEPT = "Try again later; what has been fetched is kept, and the next attempt resumes there."


class TooLargeError(ReleaseError):
    """A file exceeds the download limit; nothing of it is kept."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of one download, in bytes and seconds.

    `largest` holds for any file, and `spare` stays free on the disk. `silence` ends a connection, and a request for a
    file's state; `total` ends a download with all its attempts, and so does a `window` in which fewer than
    `least_speed` bytes a second came. `queue` is the longest wait for another process that fetches the same file.
    """

    largest: int = 20 * 10**9
    spare: int = 256 << 20
    silence: float = 30
    window: float = 60
    least_speed: int = 1000
    total: float = 6 * 3600
    queue: float = 6 * 3600
    redirects: int = 5


class Watch:
    """One download under way. Every method raises ReleaseError when a limit is passed."""

    def __init__(self, limits: Limits, shown: str, folder: Path) -> None:
        self._limits, self._shown, self._folder = limits, shown, folder
        self._began = self._since = time.monotonic()
        self._came = 0

    def needs(self, count: int) -> None:
        """Require room for `count` more bytes."""
        free = shutil.disk_usage(self._folder).free
        if free - count < self._limits.spare:
            raise ReleaseError(
                f"{self._shown}: {megabytes(free, 1)} are free under {self._folder}, and"
                f" {megabytes(count + self._limits.spare, 1)} are needed to fetch it and keep some free.",
                "Make room, or set FLUX_HOME to another disk.",
            )

    def reached(self, size: int) -> None:
        """Note that the file has at least `size` bytes."""
        if size > self._limits.largest:
            raise TooLargeError(
                f"{self._shown} is larger than {megabytes(self._limits.largest, 1)}, the most that is fetched.",
                "Check the file; raise FLUX_DOWNLOAD_LIMIT if it really is that large.",
            )

    def came(self, count: int) -> None:
        """Note that `count` more bytes came; 0 means that the download is still waiting."""
        self._came += count
        if count:
            self.needs(0)
        now = time.monotonic()
        if now - self._began > self._limits.total:
            raise ReleaseError(f"{self._shown} has not come within {self._limits.total:,.0f} seconds.", KEPT)
        elapsed = now - self._since
        if elapsed < self._limits.window:
            return
        if self._came < elapsed * self._limits.least_speed:
            raise ReleaseError(
                f"{self._shown} comes too slowly: {self._came:,} bytes in {elapsed:,.0f} seconds, where"
                f" {self._limits.least_speed:,} a second are the least.",
                KEPT,
            )
        self._since, self._came = now, 0
