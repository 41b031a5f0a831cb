"""Files of a remote release in a cache: fetched once, resumed after an interruption, whole or absent."""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from flux_assets.errors import ManifestError, ReleaseError
from flux_assets.release.files import Address
from flux_assets.release.files import opened as opened_file
from flux_assets.release.http import HttpStore
from flux_assets.release.stopping import check_stop
from flux_assets.release.stores import FsspecStore, Limits, Stamp, TemporaryError, TooLargeError
from flux_assets.retry import RetryPolicy
from flux_assets.words import megabytes

_FRUITLESS = 5  # attempts in a row that bring no byte
_LONGEST_PAUSE = 20.0
_QUEUE_SECONDS, _POLL_SECONDS = 0.1, 0.2
_READ = 1 << 20


@dataclass(frozen=True, slots=True)
class _Kept:
    """A whole file in the cache, with its stamp at the source and its digest."""

    path: Path
    stamp: Stamp
    sha256: str

    @property
    def bytes(self) -> int:
        return self.path.stat().st_size


class Download:
    """One remote file and its place in the cache. `pause` is the first wait between attempts, in seconds.

    No more bytes are fetched than are `promised`.
    """

    def __init__(
        self,
        store: FsspecStore | HttpStore,
        address: Address,
        cache: Path,
        limits: Limits,
        *,
        promised: int | None = None,
        pause: float = 0.5,
    ) -> None:
        self._store, self._address, self._pause = store, address, pause
        self._limits, self._promised = limits, promised
        folder = cache / hashlib.sha256(address.text.encode()).hexdigest()[:20]
        self._path = folder / (address.last_segment or "file")
        # Beside it: what has come so far, the mark of the file that this belongs to, what is known of the whole file.
        self._part, self._marker, self._notes, self._lock = (
            self._path.with_name(f"{self._path.name}.{suffix}") for suffix in ("part", "part.mark", "json", "lock")
        )

    def kept(self) -> _Kept | None:
        """Return the file as it is in the cache, whatever the store has by now."""
        try:
            notes = json.loads(self._notes.read_text())
            kept = _Kept(self._path, Stamp(**notes["stamp"]), notes["sha256"])
            return kept if kept.bytes == notes["bytes"] else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def current(self) -> _Kept:
        """Return the file as the store has it now, from the cache when that is the same.

        Raises ReleaseError when it is unavailable, or above a limit.
        """
        with self._alone():
            kept = self.kept()
            if (
                kept is not None
                and kept.stamp.mark is not None
                and self._patiently(lambda: self._store.stamp(self._address), None) == kept.stamp
            ):
                return kept
            return self._fetched()

    def having(self, sha256: str) -> _Kept:
        """Return the file from the cache when it has the digest `sha256`, else fetched, whatever its digest then is."""
        with self._alone():
            kept = self.kept()
            if kept is not None and kept.sha256 == sha256 and _digest(kept.path) == sha256:
                return kept
            return self._fetched()

    def drop(self) -> None:
        """Delete all that is kept of the file."""
        for path in (self._notes, self._path, self._part):
            path.unlink(missing_ok=True)

    def _fetched(self) -> _Kept:
        self._notes.unlink(missing_ok=True)
        watch = _Watch(self._limits, self._address.shown, self._part.parent)
        stamp = self._patiently(lambda: self._attempt(watch), watch)
        kept = _Kept(self._path, stamp, _digest(self._part))
        notes = {"from": self._address.shown, "stamp": asdict(stamp), "bytes": self._part.stat().st_size}
        self._part.replace(self._path)
        self._notes.write_text(json.dumps(notes | {"sha256": kept.sha256}))
        self._marker.unlink(missing_ok=True)
        return kept

    def _attempt(self, watch: _Watch) -> Stamp:
        """Fetch what is missing, from the first byte on when the file has changed."""
        have = self._part.stat().st_size if self._part.is_file() and self._marker.is_file() else 0
        stamp, start, chunks = self._store.open(self._address, have, self._marker.read_text() if have else None)
        if not start:
            self._part.unlink(missing_ok=True)
            self._marker.unlink(missing_ok=True)
        try:
            with closing(chunks):
                size = self._written(stamp, start, chunks, watch)
        except (TooLargeError, ManifestError):
            self.drop()
            raise
        if stamp.size is not None and size != stamp.size:
            raise TemporaryError(f"{self._address.shown}: the connection broke off after {size} of {stamp.size} bytes.")
        return stamp

    def _written(self, stamp: Stamp, start: int, chunks: Iterable[bytes], watch: _Watch) -> int:
        """Put `chunks` into the part from byte `start` on, and return its size."""
        if stamp.size is not None:
            self._check_size(stamp.size, watch, found=str(stamp.size))
            watch.needs(stamp.size - start)
        with self._part.open("r+b" if start else "wb") as file:
            file.seek(start)
            if stamp.mark is not None:
                self._marker.write_text(stamp.mark)
            for chunk in chunks:
                check_stop()
                self._check_size(file.tell() + len(chunk), watch, found=f"more than {self._promised}")
                file.write(chunk)
                watch.came(len(chunk))
            file.truncate()
            return file.tell()

    def _check_size(self, size: int, watch: _Watch, found: str) -> None:
        if self._promised is not None and size > self._promised:
            raise self._address.mismatch("bytes", self._promised, found)
        watch.reached(size)

    def _patiently(self, work: Callable[[], Stamp], watch: _Watch | None) -> Stamp:
        """Return what `work` returns, tried again for as long as every few attempts bring some bytes."""

        def fetched() -> int:
            if watch is not None:
                watch.came(0)
            return self._part.stat().st_size if self._part.exists() else 0

        policy = RetryPolicy(attempts=_FRUITLESS, pause=self._pause, longest_pause=_LONGEST_PAUSE, total=math.inf)
        return policy.spend(work, progress=fetched, sleep=_pause)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let one process in at a time; the second one finds what the first one fetched."""
        try:
            self._lock.parent.mkdir(parents=True, exist_ok=True)
            with self._lock.open("w") as file:
                self._wait_for(file)
                yield
        except OSError as error:
            raise ReleaseError(
                f"{self._path.parent}: cannot keep fetched files: {error.strerror or error}.",
                "Free space, let this user write to the folder, or set FLUX_HOME to another one.",
            ) from error

    def _wait_for(self, lock: IO[str]) -> None:
        end = time.monotonic() + self._limits.queue
        while time.monotonic() < end:
            try:
                return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                _pause(_QUEUE_SECONDS)
        raise ReleaseError(
            f"{self._address.shown}: another process has been fetching it for {self._limits.queue:,.0f} seconds.",
            f"End the process that holds {self._lock}, then run again.",
        )


class _Watch:
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
            raise ReleaseError(
                f"{self._shown} has not come within {self._limits.total:,.0f} seconds.", TemporaryError.KEPT
            )
        elapsed = now - self._since
        if elapsed < self._limits.window:
            return
        if self._came < elapsed * self._limits.least_speed:
            raise ReleaseError(
                f"{self._shown} comes too slowly: {self._came:,} bytes in {elapsed:,.0f} seconds, where"
                f" {self._limits.least_speed:,} a second are the least.",
                TemporaryError.KEPT,
            )
        self._since, self._came = now, 0


def _digest(path: Path) -> str:
    """Return the SHA-256 (hex) of a regular file. Raises ReleaseError for another, OSError for an unreadable one."""
    found = hashlib.sha256()
    with opened_file(path, str(path)) as file:
        while data := file.read(_READ):
            check_stop()
            found.update(data)
    return found.hexdigest()


def remembered_digest(path: Path, cache: Path) -> str:
    """Return the SHA-256 (hex) of a file, from `cache` while the file's size, times and inode are the same.

    The digest of a file that was written in the last seconds is not kept: its next change might not show in its times.
    """
    state = path.stat()
    shape = [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino, state.st_dev]
    note = cache / "digests" / f"{hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:20]}.json"
    try:
        known = json.loads(note.read_text())
        if known["shape"] == shape:
            return str(known["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    found = _digest(path)
    if time.time() - max(state.st_mtime, state.st_ctime) > 3:
        _write(note, json.dumps({"file": str(path), "shape": shape, "sha256": found}))
    return found


def _write(path: Path, text: str) -> None:
    """Write a note that other processes read whole or not at all; without rights to do so, write none."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(text)
        unfinished.replace(path)
    except OSError:
        unfinished.unlink(missing_ok=True)


def _pause(seconds: float) -> None:
    """Sleep, and wake for a request to stop."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        check_stop()
        time.sleep(min(_POLL_SECONDS, left))
    check_stop()
