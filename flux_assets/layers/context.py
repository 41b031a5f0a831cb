"""What may be asked of a load, and what its steps share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.locking import LockRetries
from flux_assets.steps import StepTimer

if TYPE_CHECKING:
    # They bring pyarrow, and definitions import this module.
    import psycopg

    from flux_assets.layers.versions import Version
    from flux_assets.postgis.relations import Layer
    from flux_assets.postgis.session import Target
    from flux_assets.release.release import Release


@dataclass(frozen=True, kw_only=True)
class Retention:
    """The most earlier versions of a layer to keep, and the most bytes that they may take together."""

    versions: int = 1
    bytes: int | None = None

    def newest(self, versions: Iterable[Version]) -> Iterator[Version]:
        """Yield those of `versions`, the newest first, that may stay: none behind the first that has no room."""
        taken = 0
        for count, version in enumerate(versions, 1):
            taken += version.bytes or 0
            if count > self.versions or (self.bytes is not None and taken > self.bytes):
                return
            yield version


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """What may be asked of a load. `disk_limit` is in bytes, `keep_bytes` bounds all kept earlier versions of a layer.

    `quarantine` is how many records may be refused without refusing the file. `run_id` is noted in ledger and register.
    """

    force: bool = False
    accept_fewer_rows: bool = False
    accept_schema_change: bool = False
    take_over: bool = False
    publish_wait: timedelta = timedelta(minutes=10)
    keep_versions: int = 1
    keep_bytes: int | None = None
    disk_limit: int | None = None
    quarantine: int = 0
    index_sessions: int = 2
    run_id: str | None = None
    stop: Stop = field(default_factory=Stop)

    @property
    def retention(self) -> Retention:
        """Which earlier versions stay."""
        return Retention(versions=self.keep_versions, bytes=self.keep_bytes)

    def patience(self, log: Callable[[str], None]) -> LockRetries:
        """Return how long a publish tries, with where to say so."""
        return LockRetries(seconds=self.publish_wait.total_seconds(), log=log, stop=self.stop)


@dataclass(frozen=True, kw_only=True)
class VersionContext:
    """What every step of making a version needs: the layer, where it goes to, and how to report.

    `joined` says that the version is published with those of other layers, or not at all.
    """

    layer: Layer
    target: Target
    control: psycopg.Connection
    options: LoadOptions
    log: Callable[[str], None]
    joined: bool = False
    clock: StepTimer = field(default_factory=StepTimer)


@dataclass(frozen=True, kw_only=True)
class LoadContext(VersionContext):
    """What every step of one load needs: besides what any version does, the release that it comes from."""

    release: Release
