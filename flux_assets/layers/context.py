"""What may be asked of a load, and the clock and log that its steps share.

Here: LoadOptions. Not here: reading settings or run configuration (orchestration/resources.py and
orchestration/assets.py do).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from flux_assets.layers.retention import Retention
from flux_assets.postgis.connect import Stop
from flux_assets.postgis.locking import LockRetries

if TYPE_CHECKING:
    # It brings pyarrow, and definitions import this module.
    from flux_assets.layers.whole_release.together import Together


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """What may be asked of a load. `disk_limit` is in bytes, `keep_bytes` bounds all kept earlier versions of a layer.

    `quarantine` is how many records may be refused without refusing the file. With `together`, the version is published
    with those of other layers or not at all. `run_id` is noted in ledger and register.
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
    together: Together | None = None
    run_id: str | None = None
    stop: Stop = field(default_factory=Stop)

    @property
    def retention(self) -> Retention:
        """Which earlier versions stay."""
        return Retention(versions=self.keep_versions, bytes=self.keep_bytes)

    def patience(self, log: Callable[[str], None]) -> LockRetries:
        """How long a publish tries, with where to say so."""
        return LockRetries(seconds=self.publish_wait.total_seconds(), log=log, stop=self.stop)
